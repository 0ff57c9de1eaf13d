"""Writes the packs of a version: kept samples, in an order of their own, a unit per pack shard."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.attempts import Failed
from pipelines.executors import Executor
from pipelines.intake import Progress
from pipelines.pack_models import MADE, check_models
from pipelines.pack_sizes import ArrayBytes, bytes_of_rows
from pipelines.selection import Selection
from stages.pack.captured import check_same, member
from stages.pack.pack import SYNTHETIC, Pack, dropped_by_reason, pack_name, write_pack_shard
from stages.pack.places import places_of
from stages.pack.text import EMPTY, text_arrays
from stages.stage import Resources
from store.digest import file_sha256
from store.location import Location
from store.parquet import read_table, write_table
from store.sources import StoredSource
from store.tables import wide
from store.versions import Version

NEEDED = (
    "sample_id",
    "caption",
    "caption_original",
    "captions",
    "url",
    "source_key",
    "width",
    "height",
    "crop_left",
    "crop_top",
    "crop_right",
    "crop_bottom",
    "crop_aspect",
    "split",
    "sha256",
    *SYNTHETIC,
)


@dataclass(frozen=True)
class ShardUnit:
    """One pack shard to write, of the samples that ``order`` has for it. ``mark`` says what was written,
    once it was; it stays, since another build of the same version may be packing still."""

    location: Location
    mark: Location
    source: StoredSource
    order: PackOrder
    pack: Pack
    resolution: int


@dataclass(frozen=True)
class PackOrder:
    """The kept samples of a version as they are packed, with the places of their images: a file per pack
    shard. It holds for one source: another cut of the same samples has them in other places."""

    location: Location

    def shards(self) -> list[dict[str, Any]]:
        """``name, samples, first`` of each pack shard; ``first``: the sort key of its first sample."""
        return list(self._list.read_json())

    def rows(self, name: str, source: StoredSource) -> list[dict[str, Any]]:
        """What ``write_pack_shard`` needs of each sample of one pack shard."""
        rows = self.table(name).to_pylist()
        tars = {tar: source.tar_named(tar).url for tar in {row["tar"] for row in rows}}
        return [row | {"tar": tars[row["tar"]]} for row in rows]

    def table(self, name: str) -> pa.Table:
        """The samples of one pack shard, in their order."""
        return read_table(self._file(name))

    def write(self, source: StoredSource, version: Version, selection: Selection, pack: Pack) -> None:
        """Write the files where they are not there yet."""
        if self._list.exists():
            return
        rows = _kept(source, version, selection, (*NEEDED, *(("meta",) if pack.extras else ())))
        keys = np.array([pack.order(key) for key in rows["sample_id"].to_pylist()], "S64")
        splits = np.array(rows["split"].to_pylist(), str)
        order = np.lexsort((keys, splits))
        ordered, keys, splits = wide(rows).take(pa.array(order)), keys[order], splits[order]
        listed = []
        for split in np.unique(splits):
            start, end = np.searchsorted(splits, split), np.searchsorted(splits, split, side="right")
            for number, first in enumerate(range(start, end, pack.samples_per_shard)):
                part = ordered.slice(first, min(pack.samples_per_shard, end - first)).cast(rows.schema)
                name = f"{split}-{number:05d}.tar"
                write_table(self._file(name), part)
                listed.append({"name": name, "samples": len(part), "first": keys[first].decode()})
        self._list.write_json(listed)

    def _file(self, name: str) -> Location:
        return self.location / f"{name}.parquet"

    @property
    def _list(self) -> Location:
        return self.location / "order.json"


def _kept(source: StoredSource, version: Version, selection: Selection, needed: Sequence[str]) -> pa.Table:
    """Kept samples, each with the place of its image and what there is of ``needed``, sorted by id."""
    there = selection.table.names()
    kept = pc.is_null(selection.reasons)
    rows = selection.samples([name for name in needed if name in there]).filter(kept)
    places = selection.table.places(["shard", "image_offset", "image_size"]).filter(kept)
    tars = {shard.index: shard.tar for shard in source.shards()}
    numbers = pa.array(sorted(tars), pa.int32())
    names = pa.array([tars[index] for index in sorted(tars)], pa.string())
    tar = names.take(pc.index_in(places["shard"].combine_chunks(), numbers))
    rows = rows.append_column("tar", tar)
    for name in ("image_offset", "image_size"):
        rows = rows.append_column(name, places[name])
    for name in ("dataset", "version"):
        rows = rows.append_column(name, pa.array([getattr(version, name)] * len(rows), pa.string()))
    return rows


def write_shard(unit: ShardUnit) -> dict[str, Any]:
    """Write one pack shard, or find that an interrupted build did. Returns what is known of it."""
    if unit.mark.exists() and unit.location.exists() and places_of(unit.location).exists():
        return dict(unit.mark.read_json())
    written = write_pack_shard(
        unit.location, unit.order.rows(unit.location.name, unit.source), unit.pack, unit.resolution
    )
    unit.mark.write_json(written)
    return written


def write_packs(
    source: StoredSource,
    version: Version,
    selection: Selection,
    pack: Pack,
    executor: Executor,
    progress: Progress,
) -> dict[str, dict[str, Any]]:
    """Write every pack of a version that is not there. Returns ``pack.json`` of each, by name."""
    found = {}
    order = PackOrder(version.location / "marks" / f"order-{source.fingerprint}")
    for resolution in pack.resolutions:
        location = version.pack(pack_name(resolution))
        there = (location / "pack.json").exists()
        if not there:
            order.write(source, version, selection, pack)
            _write(version, source, order, pack, resolution, executor, progress)
        written = (location / "pack.json").read_json()
        if there:
            check_models(location, pack, [written])
        found[pack_name(resolution)] = written
    return found


def _write(
    version: Version,
    source: StoredSource,
    order: PackOrder,
    pack: Pack,
    resolution: int,
    executor: Executor,
    progress: Progress,
) -> None:
    location = version.pack(pack_name(resolution))
    marks = version.location / "marks" / location.name
    listed = order.shards()
    units = [
        ShardUnit(location / name, marks / f"{name}.json", source, order, pack, resolution)
        for name in (shard["name"] for shard in listed)
    ]
    _tell_sizes(order, pack, resolution)
    what, total = f"packing {location.name}", sum(shard["samples"] for shard in listed)
    done, shards = 0, []
    progress(what, done, total)
    for shard in executor.run(write_shard, units, executor.grant("pack", Resources())):
        if isinstance(shard, Failed):  # its samples were chosen: a pack without them would be a lie
            shard.stop(
                f"pack shard {shard.unit.location.url} failed {shard.tries} times: {shard.error} "
                "What was finished is kept. Mend the cause and run the same command again."
            )
        shards.append(shard)
        done += shard["samples"] + len(shard["dropped"])
        progress(what, done, total)
    shards.sort(key=lambda shard: shard["name"])
    first = {shard["name"]: shard["first"] for shard in listed}
    shards = [shard | {"first": first[shard["name"]]} for shard in shards]
    splits = {shard["name"].rsplit("-", 1)[0]: 0 for shard in listed}
    for shard in shards:
        splits[shard["name"].rsplit("-", 1)[0]] += shard["samples"]
    sizes = {(width, height) for shard in shards for width, height, _ in shard["sizes"]}
    width, height = next(iter(sizes)) if len(sizes) == 1 else (None, None)
    made_with = _made_with(location, pack, shards)
    (location / "pack.json").write_json(
        {
            "dataset": version.dataset,
            "version": version.version,
            "width": width,
            "height": height,
            "format": _format(resolution, made_with),
            "samples_in": total,
            "splits": splits,
            "dropped": dropped_by_reason(shards),
            "dropped_samples": {k: v for shard in shards for k, v in shard.pop("dropped").items()},
            "shards": shards,
        }
        | made_with
    )


def _tell_sizes(order: PackOrder, pack: Pack, resolution: int) -> None:
    """Say, before anything is written, how many bytes the arrays of a pack will take."""
    if pack.latents or pack.text:
        names = [shard["name"] for shard in order.shards()]
        total = sum((bytes_of_rows(pack, resolution, order.table(n)) for n in names), ArrayBytes())
        print(f"packing {pack_name(resolution)}: {total.words()}", file=sys.stderr, flush=True)


def _made_with(location: Location, pack: Pack, shards: list[dict[str, Any]]) -> dict[str, Any]:
    """What made the arrays of a pack, the same for all its shards: ``latents``, ``text``, ``captured``."""
    parts = [{name: shard.pop(name) for name in MADE if name in shard} for shard in shards]
    check_models(location, pack, parts)  # shards that an interrupted build left count too
    captured = [part["captured"] for part in parts if "captured" in part]
    for about in captured:
        check_same(captured[0], about)
    found = {name: about for part in parts for name, about in part.items()}
    if "text" in found:
        files = [f"{EMPTY}{name}.npy" for name in text_arrays(found["text"])]
        found["text"] |= {"empty": {file: file_sha256(location / file) for file in files}}
    return found


def _format(resolution: int, made_with: dict[str, Any]) -> str:
    members = ["jpg" if resolution else "original", "txt", "json"]
    members += ["latent.npy"] if "latents" in made_with else []
    members += [f"{name}.npy" for name in text_arrays(made_with.get("text", {"encoders": {}}))]
    members += [member(name) for name in made_with.get("captured", {}).get("arrays", ())]
    return f"webdataset: {', '.join(members)}"


def file_hashes(location: Location, name: str, pack: dict[str, Any]) -> dict[str, str]:
    """SHA-256 of every file of a pack, by its path in the version's folder."""
    hashes = {f"packs/{name}/{shard['name']}": shard["sha256"] for shard in pack["shards"]}
    hashes |= {f"packs/{name}/{shard['places']}": shard["places_sha256"] for shard in pack["shards"]}
    empty = pack.get("text", {}).get("empty", {})
    hashes |= {f"packs/{name}/{file}": sha256 for file, sha256 in empty.items()}
    return hashes | {f"packs/{name}/pack.json": file_sha256(location / "pack.json")}
