"""Where each sample of a pack shard lies, and its bytes."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distill_runs.buckets import nearest_bucket
from distill_runs.packs import Pack, Shard, check_bytes
from store.aspects import Size
from store.errors import MashbillError
from store.location import Location
from store.parquet import read_table
from store.tar import Member, walk

IMAGES = ("jpg", "jpeg", "png", "webp")
INDEXES_KEPT = 32
"""Shard indexes held at once; one of 1,000 samples takes about 0.2 MB."""


@dataclass(frozen=True)
class ShardIndex:
    """The samples of one shard, in the order of the tar."""

    keys: list[str]
    members: dict[str, NDArray[np.int64]]
    """By extension: [samples, 2] offset and size; offset -1 where a sample has no such member."""
    rows: list[NDArray[np.int64]]
    """By bucket: which samples are of it."""


class PackReader:
    """Reads samples by their place in the pack's plan; local, or by byte ranges of a remote store.

    A shard is read through once in each process, before its first sample: what was changed since it was
    packed may still be a picture.
    """

    def __init__(self, pack: Pack, buckets: Sequence[Size], wanted: tuple[str, ...]) -> None:
        """``wanted``: members to read beside ``json``, where ``image`` stands for any kind of image."""
        self.pack = pack
        self.buckets = tuple(buckets)
        self.wanted = wanted
        self._indexes: OrderedDict[int, ShardIndex | MashbillError] = OrderedDict()

    def read(self, bucket: int, shard: int, row: int) -> tuple[str, dict[str, bytes]]:
        """The sample's id, and its members by extension: ``json`` and what is wanted.

        Raises:
            MashbillError: the shard or the sample is broken; the message names both.
        """
        entry = self.pack.shards[shard]
        location = self.pack.location / entry.name
        index = self._index(shard, entry, location)
        number = int(index.rows[bucket][row])
        key = index.keys[number]
        names = [self._member(index, number, kind, location) for kind in ("json", *self.wanted)]
        ranges = [(int(o), int(s)) for o, s in (index.members[name][number] for name in names)]
        try:
            data = location.read_ranges(ranges)
        except (OSError, MashbillError) as error:
            raise MashbillError(f"sample {key} of {location.url} cannot be read ({error}).") from error
        return key, dict(zip(("json", *self.wanted), data, strict=True))

    def _member(self, index: ShardIndex, number: int, kind: str, location: Location) -> str:
        choices = IMAGES if kind == "image" else (kind,)
        for name in choices:
            if name in index.members and index.members[name][number, 0] >= 0:
                return name
        there = ", ".join(sorted(n for n, places in index.members.items() if places[number, 0] >= 0))
        raise MashbillError(
            f"sample {index.keys[number]} of {location.url} has no .{choices[0]} (it has: {there})."
        )

    def _index(self, shard: int, entry: Shard, location: Location) -> ShardIndex:
        if shard not in self._indexes:
            try:
                self._indexes[shard] = read_index(location, entry, self.buckets)
            except MashbillError as error:  # kept too: where broken samples are skipped, it is asked again
                self._indexes[shard] = error
            if len(self._indexes) > INDEXES_KEPT:
                self._indexes.popitem(last=False)
        self._indexes.move_to_end(shard)
        index = self._indexes[shard]
        if isinstance(index, MashbillError):
            raise index
        return index


def read_index(location: Location, entry: Shard, buckets: Sequence[Size]) -> ShardIndex:
    """From the file beside the shard, or by walking its headers where there is none.

    Raises:
        MashbillError: it is missing, no tar, cut, changed, or holds other samples than ``pack.json`` says.
    """
    try:
        check_bytes(location, entry.sha256)
        if entry.places:
            check_bytes(location.parent / entry.places, entry.places_sha256)
        found = _listed(location.parent / entry.places) if entry.places else _walked(location, entry)
    except OSError as error:
        raise MashbillError(f"shard {location.url} cannot be read ({error}).") from error
    keys, places, sizes = found
    if len(keys) != entry.samples:
        raise MashbillError(
            f"shard {location.url} holds {len(keys)} samples; pack.json expects {entry.samples}."
        )
    chosen = {size: nearest_bucket(size, buckets) for size in set(sizes)}
    bucket_of = np.array([chosen[size] for size in sizes])
    rows = [np.flatnonzero(bucket_of == bucket) for bucket in range(len(buckets))]
    _check_rows(location, entry, buckets, rows)
    return ShardIndex(keys, places, rows)


Places = dict[str, NDArray[np.int64]]


def _listed(file: Location) -> tuple[list[str], Places, list[Size]]:
    table = read_table(file)
    numbers = {name: table[name].fill_null(-1).to_numpy() for name in table.column_names if name != "key"}
    kinds = [name.removesuffix("_offset") for name in numbers if name.endswith("_offset")]
    places = {kind: np.stack([numbers[f"{kind}_offset"], numbers[f"{kind}_size"]], axis=1) for kind in kinds}
    sizes = zip(numbers["width"].tolist(), numbers["height"].tolist(), strict=True)
    return table["key"].to_pylist(), places, list(sizes)


def _walked(location: Location, entry: Shard) -> tuple[list[str], Places, list[Size]]:
    keys, places = _grouped(_walk(location))
    if len(entry.sizes) == 1:
        return keys, places, [next(iter(entry.sizes))] * len(keys)
    return keys, places, _sizes(location, keys, places)


def _walk(location: Location) -> list[Member]:
    with location.open() as file:
        return list(walk(file, location.url, location.size()))


def _grouped(members: Sequence[Member]) -> tuple[list[str], dict[str, NDArray[np.int64]]]:
    """Samples by the part of the name before its first dot, as WebDataset groups them."""
    number_of: dict[str, int] = {}
    for member in members:
        number_of.setdefault(member.name.partition(".")[0], len(number_of))
    places: dict[str, NDArray[np.int64]] = {}
    for member in members:
        key, _, kind = member.name.partition(".")
        table = places.setdefault(kind, np.full((len(number_of), 2), -1, np.int64))
        table[number_of[key]] = member.offset, member.size
    return list(number_of), places


def _sizes(location: Location, keys: Sequence[str], places: dict[str, NDArray[np.int64]]) -> list[Size]:
    table = places.get("json", np.full((len(keys), 2), -1, np.int64))
    if (table[:, 0] < 0).any():
        key = keys[int(np.argmin(table[:, 0]))]
        raise MashbillError(f"sample {key} of {location.url} has no .json.")
    ranges = [(int(offset), int(size)) for offset, size in table]
    fields = zip(keys, location.read_ranges(ranges), strict=True)
    try:
        return [sidecar_size(sidecar(data, key, location)) for key, data in fields]
    except (KeyError, TypeError, ValueError) as error:
        raise MashbillError(
            f"shard {location.url} holds a .json that is not what a pack writes "
            f"({type(error).__name__}: {error})."
        ) from error


def sidecar(data: bytes, key: str, location: Location) -> dict[str, Any]:
    """The ``.json`` of a sample; raises MashbillError where it is none."""
    try:
        found = json.loads(data)
    except ValueError as error:
        raise MashbillError(
            f"the .json of sample {key} of {location.url} cannot be read ({error})."
        ) from error
    if not isinstance(found, dict):
        raise MashbillError(f"the .json of sample {key} of {location.url} is no object.")
    return found


def sidecar_size(fields: dict[str, Any]) -> Size:
    return int(fields["width"]), int(fields["height"])


def _check_rows(
    location: Location, entry: Shard, buckets: Sequence[Size], rows: Sequence[NDArray[np.int64]]
) -> None:
    expected = [0] * len(buckets)
    for size, count in entry.sizes.items():
        expected[nearest_bucket(size, buckets)] += count
    if expected != [len(found) for found in rows]:
        raise MashbillError(f"shard {location.url} holds images of other sizes than pack.json says.")
