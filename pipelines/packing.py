"""Writes the packs of a version: kept samples, in an order of their own, a unit per pack shard."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.attempts import Failed
from pipelines.executors import Executor
from pipelines.intake import Progress
from pipelines.selection import Selection
from stages.pack.latents import weights_sha256
from stages.pack.pack import SYNTHETIC, Pack, dropped_by_reason, pack_name, write_pack_shard
from stages.pack.places import places_of
from stages.stage import Resources
from store.digest import file_sha256
from store.errors import MashbillError
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
        rows = read_table(self._file(name)).to_pylist()
        tars = {tar: source.tar_named(tar).url for tar in {row["tar"] for row in rows}}
        return [row | {"tar": tars[row["tar"]]} for row in rows]

    def write(self, source: StoredSource, version: Version, selection: Selection, pack: Pack) -> None:
        """Write the files where they are not there yet."""
        if self._list.exists():
            return
        rows = _kept(source, version, selection)
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


def _kept(source: StoredSource, version: Version, selection: Selection) -> pa.Table:
    """Kept samples, each with the place of its image, sorted by id."""
    there = selection.table.names()
    kept = pc.is_null(selection.reasons)
    rows = selection.samples([name for name in NEEDED if name in there]).filter(kept)
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
        if there and "latents" in written:
            _check_weights(location, pack, written["latents"]["sha256"])
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
    latents = _latents(location, pack, shards)
    (location / "pack.json").write_json(
        {
            "dataset": version.dataset,
            "version": version.version,
            "width": width,
            "height": height,
            "format": f"webdataset: {'jpg' if resolution else 'original'}, txt, json"
            + (", latent.npy" if latents else ""),
            "samples_in": total,
            "splits": splits,
            "dropped": dropped_by_reason(shards),
            "dropped_samples": {k: v for shard in shards for k, v in shard.pop("dropped").items()},
            "shards": shards,
        }
        | ({"latents": latents} if latents else {})
    )


def _latents(location: Location, pack: Pack, shards: list[dict[str, Any]]) -> dict[str, Any]:
    """What made the latents of a pack, the same for all its shards; empty where it has none."""
    found = [shard.pop("latents") for shard in shards if pack.latents]
    for made_by in {about["sha256"] for about in found}:  # shards that an interrupted build left count too
        _check_weights(location, pack, made_by)
    return found[0] if found else {}


def _check_weights(location: Location, pack: Pack, made_by: str) -> None:
    """Raises MashbillError where latents were made by other weights than the VAE has now."""
    weights = weights_sha256(pack.latents, pack.latents_revision)
    if made_by != weights:
        raise MashbillError(
            f"latents in {location.url} were made by other weights of {pack.latents} than are there now "
            f"(SHA-256 {made_by[:12]}, now {weights[:12]}): a version is never changed. Put the old ones "
            "back, or save the new ones to another folder and build with that."
        )


def file_hashes(location: Location, name: str, pack: dict[str, Any]) -> dict[str, str]:
    """SHA-256 of every file of a pack, by its path in the version's folder."""
    hashes = {f"packs/{name}/{shard['name']}": shard["sha256"] for shard in pack["shards"]}
    hashes |= {f"packs/{name}/{shard['places']}": shard["places_sha256"] for shard in pack["shards"]}
    return hashes | {f"packs/{name}/pack.json": file_sha256(location / "pack.json")}
