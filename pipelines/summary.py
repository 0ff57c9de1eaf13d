"""What builds and versions look like in a terminal."""

from __future__ import annotations

import time
from typing import Any

from pipelines.decision_words import decisions_line
from pipelines.pack_sizes import ArrayBytes
from pipelines.progress import clock, shards_failed
from store.lineage import runs_of
from store.store import Store
from store.versions import Version, find_version, list_datasets, list_versions, version_at


def print_build(store: Store, result: dict[str, Any]) -> None:
    stages = result["stages"]
    width = max(len(stage["name"]) for stage in stages)
    for stage in stages:
        if "seconds" in stage:
            state = "reused" if stage["reused"] else f"{stage['seconds']:.1f} s"
        else:
            state = "is there" if stage["reused"] else "to make"
        print(f"  {stage['name']:<{width}}  {stage['fingerprint']}  {state}")
    if "version" not in result:
        _print_arrays(result)
        return
    _print_account(result)
    version = version_at(store, result["dataset"], result["version"])
    _print_decisions(version.manifest())
    print(f"{result['dataset']}@{result['version']} in {result['elapsed_s']:.1f} s")
    print(f"report: {(version.location / 'report' / 'index.html').url}")
    if runs := runs_of(store, f"{version.dataset}@{version.version}"):
        print(f"runs that read it: {', '.join(run.id for run in runs)}")


def _print_arrays(result: dict[str, Any]) -> None:
    for name, found in result.get("arrays", {}).items():
        words = ArrayBytes(found["latents"], found["text"], found["at_most"]).words()
        whole = f" for each of up to {found['samples']:,}" if "samples" in found else ""
        print(f"pack {name}: {words} a sample of {found['captions']} captions{whole}")


def print_activity(dataset: str, heard: dict[str, Any]) -> None:
    """What a build of the dataset says it is doing, and how long ago it said so."""
    ago = max(time.time() - heard["updated"], 0.0)
    speed = f", {heard['per_second']:,.1f}/s" if heard["per_second"] else ""
    left = f", {clock(heard['left_s'])} left" if heard["left_s"] else ""
    failed = f", {shards_failed(heard['failed'])}" if heard["failed"] else ""
    print(
        f"{dataset} is being built by process {heard['pid']} on {heard['host']}: {heard['what']}, "
        f"{heard['done']:,} of {heard['total']:,}{speed}{left}{failed} (heard {clock(ago)} ago)"
    )


def datasets_summary(store: Store) -> list[dict[str, Any]]:
    """The newest version of each dataset, and how many versions there are."""
    found = []
    for name in list_datasets(store):
        manifest = find_version(store, name).manifest()
        newest = {key: manifest[key] for key in ("dataset", "version", "samples_in", "kept")}
        found.append(newest | {"versions": list_versions(store, name)})
    return found


def print_datasets(found: list[dict[str, Any]]) -> None:
    if not found:
        print("no datasets yet")
    for entry in found:
        name = f"{entry['dataset']}@{entry['version']}"
        count = len(entry["versions"])
        versions = "1 version" if count == 1 else f"{count} versions"
        print(f"{name:<32} {entry['kept']:>9} of {entry['samples_in']:>9} kept   {versions}")


def print_version(store: Store, version: Version, manifest: dict[str, Any]) -> None:
    print(f"{version.dataset}@{version.version}")
    source = manifest["source"]
    print(f"source: {source['settings']['kind']} {source['fingerprint']}")
    for step in manifest["selection"]:
        dropped = ", ".join(f"{count} {reason}" for reason, count in step["dropped"].items())
        print(f"  {step['name']:<16} {step['samples_in']:>9} in {step['kept']:>9} kept   {dropped}")
    _print_account(manifest)
    _print_decisions(manifest)
    for name, pack in manifest["packs"].items():
        splits = ", ".join(f"{count} {split}" for split, count in pack["splits"].items())
        print(f"pack {name}: {splits}   {version.pack(name).url}")
    print(f"report: {(version.location / 'report' / 'index.html').url}")
    if runs := runs_of(store, f"{version.dataset}@{version.version}"):
        print(f"runs that read it: {', '.join(run.id for run in runs)}")


def _print_decisions(manifest: dict[str, Any]) -> None:
    for entry in manifest.get("decisions", []):  # versions of before have none
        print(f"decisions on {decisions_line(entry)}")


def _print_account(result: dict[str, Any]) -> None:
    dropped = sum(result["dropped"].values())
    print(f"{result['samples_in']} in = {result['kept']} kept + {dropped} dropped")
    for reason, count in sorted(result["dropped"].items(), key=lambda item: (-item[1], item[0])):
        print(f"  {count:>9} {reason}")
    for failed in result.get("set_aside", []):
        print(f"shard {failed['shard']} was set aside: {', '.join(failed['stages'])}: {failed['error']}")
    if result.get("set_aside"):
        print("the same build command tries the shards that were set aside again")
