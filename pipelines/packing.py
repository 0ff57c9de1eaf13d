"""Writes the packs of a version: kept samples, in an order of their own, a unit per pack shard."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from pipelines.executors import Executor
from pipelines.intake import Progress
from stages.pack.pack import Pack, dropped_by_reason, pack_name, write_pack_shard
from store.digest import file_sha256
from store.location import Location
from store.sources import StoredSource
from store.versions import Version

NEEDED = (
    "sample_id",
    "caption",
    "caption_original",
    "url",
    "source_key",
    "width",
    "height",
    "crop_left",
    "crop_top",
    "crop_right",
    "crop_bottom",
    "split",
    "sha256",
)


@dataclass(frozen=True)
class ShardUnit:
    """One pack shard to write. ``mark`` says what was written, once it was; it stays, since another
    build of the same version may be packing still."""

    location: Location
    mark: Location
    rows: list[dict[str, Any]]
    pack: Pack
    resolution: int


def write_shard(unit: ShardUnit) -> dict[str, Any]:
    """Write one pack shard, or find that an interrupted build did. Returns what is known of it."""
    if unit.mark.exists() and unit.location.exists():
        return dict(unit.mark.read_json())
    written = write_pack_shard(unit.location, unit.rows, unit.pack, unit.resolution)
    unit.mark.write_json(written)
    return written


def write_packs(
    source: StoredSource,
    version: Version,
    samples: pa.Table,
    pack: Pack,
    executor: Executor,
    progress: Progress,
) -> dict[str, dict[str, Any]]:
    """Write every pack of a version that is not there. Returns ``pack.json`` of each, by name."""
    found = {}
    groups: dict[str, list[dict[str, Any]]] | None = None
    for resolution in pack.resolutions:
        location = version.pack(pack_name(resolution))
        if not (location / "pack.json").exists():
            if groups is None:
                groups = _groups(source, version, samples, pack)
            _write(version, groups, pack, resolution, executor, progress)
        found[pack_name(resolution)] = (location / "pack.json").read_json()
    return found


def _write(
    version: Version,
    groups: dict[str, list[dict[str, Any]]],
    pack: Pack,
    resolution: int,
    executor: Executor,
    progress: Progress,
) -> None:
    location = version.pack(pack_name(resolution))
    marks = version.location / "marks" / location.name
    units = []
    for split, rows in groups.items():
        for start in range(0, len(rows), pack.samples_per_shard):
            name = f"{split}-{start // pack.samples_per_shard:05d}.tar"
            part = rows[start : start + pack.samples_per_shard]
            units.append(ShardUnit(location / name, marks / f"{name}.json", part, pack, resolution))
    what, total = f"packing {location.name}", sum(len(unit.rows) for unit in units)
    done, shards = 0, []
    progress(what, done, total)
    for shard in executor.run(write_shard, units):
        shards.append(shard)
        done += shard["samples"] + len(shard["dropped"])
        progress(what, done, total)
    shards.sort(key=lambda shard: shard["name"])
    splits = dict.fromkeys(groups, 0)
    for shard in shards:
        splits[shard["name"].rsplit("-", 1)[0]] += shard["samples"]
    sizes = {size for shard in shards for size in map(tuple, shard.pop("sizes"))}
    width, height = next(iter(sizes)) if len(sizes) == 1 else (None, None)
    (location / "pack.json").write_json(
        {
            "dataset": version.dataset,
            "version": version.version,
            "width": width,
            "height": height,
            "format": "webdataset: jpg, txt, json" if resolution else "webdataset: original, txt, json",
            "samples_in": total,
            "splits": splits,
            "dropped": dropped_by_reason(shards),
            "dropped_samples": {k: v for shard in shards for k, v in shard.pop("dropped").items()},
            "shards": shards,
        }
    )


def _groups(
    source: StoredSource, version: Version, samples: pa.Table, pack: Pack
) -> dict[str, list[dict[str, Any]]]:
    """Kept samples by split, in pack order, each with the place of its image."""
    kept = samples.filter(samples["kept"])
    kept = kept.select([name for name in NEEDED if name in kept.column_names])
    places = _places(source)
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in kept.to_pylist():
        tar, offset, size = places[row["sample_id"]]
        row |= {"tar": tar, "image_offset": offset, "image_size": size}
        row |= {"dataset": version.dataset, "version": version.version}
        groups.setdefault(row["split"], []).append(row)
    for rows in groups.values():
        rows.sort(key=lambda row: pack.order(row["sample_id"]))
    return dict(sorted(groups.items()))


def _places(source: StoredSource) -> dict[str, tuple[str, int, int]]:
    places = {}
    for shard in source.shards():
        rows = source.rows(shard, ["sample_id", "image_offset", "image_size"]).to_pydict()
        url = source.tar(shard).url
        for key, offset, size in zip(*rows.values(), strict=True):
            if offset is not None:
                places[key] = (url, offset, size)
    return places


def file_hashes(location: Location, name: str, pack: dict[str, Any]) -> dict[str, str]:
    """SHA-256 of every file of a pack, by its path in the version's folder."""
    hashes = {f"packs/{name}/{shard['name']}": shard["sha256"] for shard in pack["shards"]}
    return hashes | {f"packs/{name}/pack.json": file_sha256(location / "pack.json")}
