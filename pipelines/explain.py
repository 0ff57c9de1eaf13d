"""One sample's whole story: where it came from, what was found, what was decided, where it went."""

from __future__ import annotations

from typing import Any

import pyarrow.compute as pc

from stages.pack.pack import Pack
from store.errors import MashbillError
from store.store import Store
from store.versions import Version


def explain(store: Store, version: Version, sample_id: str) -> dict[str, Any]:
    """Everything the store knows of one sample (its id or the first characters of it).

    Raises:
        MashbillError: no sample, or more than one, begins so.
    """
    samples = version.samples()
    found = samples.filter(pc.starts_with(samples["sample_id"], sample_id))
    if found.num_rows != 1:
        problem = "no sample of" if not found.num_rows else f"{found.num_rows} samples of"
        raise MashbillError(f"{problem} {version.dataset}@{version.version} begin with {sample_id!r}")
    columns = found.to_pylist()[0]
    manifest = version.manifest()
    story = {
        "sample_id": columns["sample_id"],
        "dataset": version.dataset,
        "version": version.version,
        "kept": columns["kept"],
        "reason": columns["reason"],
        "decided_by": _rule(manifest, columns["reason"]),
        "source": _source_row(store, manifest, columns["sample_id"]),
        "columns": columns,
        "packs": _packs(version, manifest, columns),
    }
    if columns.get("cluster_id"):
        cluster = samples.filter(pc.equal(samples["cluster_id"], columns["cluster_id"]))
        wanted = [n for n in ("sample_id", "url", "width", "height", "kept", "reason") if n in columns]
        story["cluster"] = cluster.select(wanted).to_pylist()
    return story


def _rule(manifest: dict[str, Any], reason: str | None) -> str | None:
    """The first rule that gives this reason; a reason belongs to one rule."""
    for step in manifest["selection"]:
        if reason in step["dropped"]:
            return str(step["name"])
    return None


def _source_row(store: Store, manifest: dict[str, Any], sample_id: str) -> dict[str, Any]:
    source = store.source(manifest["source"]["fingerprint"])
    for shard in source.shards():
        rows = source.rows(shard)
        found = rows.filter(pc.equal(rows["sample_id"], sample_id)).to_pylist()
        if found:
            return dict(found[0]) | {"shard": shard.index, "tar": source.tar(shard).url}
    raise MashbillError(f"source {source.fingerprint} has no sample {sample_id}; run mashbill verify")


def _packs(version: Version, manifest: dict[str, Any], columns: dict[str, Any]) -> list[dict[str, Any]]:
    """The pack shards that hold the sample, found by its place in the pack's own order."""
    if not columns["kept"]:
        return []
    fields = manifest["recipe"]["pack"]
    per_shard = fields["samples_per_shard"]
    pack = Pack(tuple(fields["resolutions"]), per_shard, fields["quality"], fields["seed"])
    samples = version.samples(["sample_id", "kept", "split"])
    mine = pc.and_(samples["kept"], pc.equal(samples["split"], columns["split"]))
    keys = samples.filter(mine)["sample_id"].to_pylist()
    own = pack.order(columns["sample_id"])
    shard = sum(pack.order(key) < own for key in keys) // per_shard
    tar = f"{columns['split']}-{shard:05d}.tar"
    return [
        {"pack": name, "tar": (version.pack(name) / tar).url, "key": columns["sample_id"]}
        for name in manifest["packs"]
        if columns["sample_id"] not in (version.pack(name) / "pack.json").read_json()["dropped_samples"]
    ]


def print_story(story: dict[str, Any]) -> None:
    print(f"{story['sample_id']} in {story['dataset']}@{story['version']}")
    verdict = "kept" if story["kept"] else f"dropped by {story['decided_by']}: {story['reason']}"
    print(f"  {verdict}")
    for title in ("source", "columns"):
        print(title)
        for name, value in story[title].items():
            if value is not None and name not in ("sample_id", "kept", "reason"):
                text = str(value)
                print(f"  {name:<18} {text if len(text) <= 160 else text[:157] + '...'}")
    for mate in story.get("cluster", []):
        state = "kept" if mate["kept"] else mate["reason"]
        print(f"cluster  {mate['sample_id']}  {mate['width']}x{mate['height']}  {state}  {mate['url'] or ''}")
    for place in story["packs"]:
        print(f"pack {place['pack']}  {place['tar']}  {place['key']}")
