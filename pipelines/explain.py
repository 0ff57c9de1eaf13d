"""One sample's whole story: where it came from, what was found, what was decided, where it went."""

from __future__ import annotations

from bisect import bisect_right
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stages.pack.pack import Pack
from stages.source.curated import Curated
from store.decisions import find_decisions, list_decisions
from store.errors import MashbillError
from store.store import Store
from store.tables import SampleTable
from store.versions import Version

MATES = 100
"""Of a cluster, so many samples are told of."""


def explain(store: Store, version: Version, sample_id: str) -> dict[str, Any]:
    """Everything the store knows of one sample (its id or the first characters of it).

    Raises:
        MashbillError: no sample, or more than one, begins so.
    """
    table, found = version.table, version.table.find(sample_id)
    if len(found) != 1:
        problem = "no sample of" if not found else f"{len(found)} samples of"
        raise MashbillError(f"{problem} {version.dataset}@{version.version} begin with {sample_id!r}")
    reasons = version.reasons()
    [columns], [place] = table.rows(found), table.rows_of_places(found)
    decided = {"kept": not reasons[found[0]].is_valid, "reason": reasons[found[0]].as_py()}
    manifest = version.manifest()
    story = {
        "sample_id": columns["sample_id"],
        "dataset": version.dataset,
        "version": version.version,
        **decided,
        "decided_by": _rule(manifest, decided["reason"]),
        "source": _source_row(store, manifest, columns["sample_id"], place["shard"]),
        "columns": columns | decided,
        "packs": _packs(version, manifest, columns | decided),
    }
    if manifest["source"]["settings"]["kind"] == Curated.kind:
        story["decision"] = _decision(store, manifest["source"]["settings"], columns["source_key"])
    if columns.get("cluster_id"):
        story |= _cluster(table, reasons, columns["cluster_id"])
    return story


def _decision(store: Store, source: dict[str, Any], sample_id: str) -> dict[str, Any] | None:
    """What people decided of the sample that this one was; None where they did not, or in another store."""
    dataset = source["dataset"].partition("@")[0]
    if source["decisions"] not in list_decisions(store, dataset):
        return None
    table = find_decisions(store, dataset, source["decisions"]).table()
    found = table.filter(pc.equal(table["sample_id"], sample_id)).to_pylist()
    return dict(found[0]) | {"decided_at": str(found[0]["decided_at"])} if found else None


def _cluster(table: SampleTable, reasons: pa.ChunkedArray, cluster_id: str) -> dict[str, Any]:
    """The samples of one cluster, the first ``MATES`` of them, and how many there are."""
    everyone = table.read(["cluster_id"])["cluster_id"]
    numbers = np.flatnonzero(pc.fill_null(pc.equal(everyone, cluster_id), False).to_numpy())
    shown = numbers[:MATES]
    mates = table.rows(shown, ["sample_id", "url", "width", "height"])
    why = reasons.take(pa.array(shown)).to_pylist()
    for mate, reason in zip(mates, why, strict=True):
        mate |= {"kept": reason is None, "reason": reason}
    return {"cluster": mates, "cluster_size": len(numbers)}


def _rule(manifest: dict[str, Any], reason: str | None) -> str | None:
    """The first rule that gives this reason; a reason belongs to one rule."""
    for step in manifest["selection"]:
        if reason in step["dropped"]:
            return str(step["name"])
    return None


def _source_row(store: Store, manifest: dict[str, Any], sample_id: str, index: int) -> dict[str, Any]:
    source = store.source(manifest["source"]["fingerprint"])
    for shard in source.shards():
        if shard.index == index:
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
    pack = Pack(tuple(fields["resolutions"]), fields["samples_per_shard"], fields["quality"], fields["seed"])
    key, found = columns["sample_id"], []
    for name in manifest["packs"]:
        listed = (version.pack(name) / "pack.json").read_json()
        mine = [s for s in listed["shards"] if s["name"].rpartition("-")[0] == columns["split"]]
        mine.sort(key=lambda shard: str(shard["first"]))
        shard = mine[bisect_right([s["first"] for s in mine], pack.order(key)) - 1]
        if key not in listed["dropped_samples"]:
            found.append({"pack": name, "tar": (version.pack(name) / shard["name"]).url, "key": key})
    return found


def print_story(story: dict[str, Any]) -> None:
    print(f"{story['sample_id']} in {story['dataset']}@{story['version']}")
    verdict = "kept" if story["kept"] else f"dropped by {story['decided_by']}: {story['reason']}"
    print(f"  {verdict}")
    for title in ("decision", "source", "columns"):
        if story.get(title):
            print(title)
        for name, value in (story.get(title) or {}).items():
            if value is not None and name not in ("sample_id", "kept", "reason"):
                text = str(value)
                print(f"  {name:<18} {text if len(text) <= 160 else text[:157] + '...'}")
    for mate in story.get("cluster", []):
        state = "kept" if mate["kept"] else mate["reason"]
        print(f"cluster  {mate['sample_id']}  {mate['width']}x{mate['height']}  {state}  {mate['url'] or ''}")
    unseen = story.get("cluster_size", 0) - len(story.get("cluster", []))
    if unseen:
        print(f"cluster  and {unseen} more")
    for place in story["packs"]:
        print(f"pack {place['pack']}  {place['tar']}  {place['key']}")
