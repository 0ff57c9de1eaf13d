"""Exact and near duplicates: clusters around the best copy, each other copy matched to it directly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stages.dedup.best_first import READS, best_first
from stages.dedup.candidates import Candidates, candidate_pairs
from stages.dedup.same_picture import changed_locally, difference
from stages.image.perceptual_hash import HASH_COLUMNS, THUMBNAIL_BYTES
from stages.stage import Reduction

_PAIRS_AT_ONCE = 8192
"""Candidates verified together; few, so that a large cluster is settled before most of its pairs."""


@dataclass(frozen=True)
class NearDuplicates(Reduction):
    """Writes the cluster of every readable image; null where there is none.

    Samples are ordered best first (``best_first``). In this order each one joins the best earlier one
    that is not itself a copy and that it matches, or begins a cluster of its own. So every copy matches
    its representative directly; copies of copies never join strangers.

    ``radius``: largest Hamming distance of two hashes that are looked at (even numbers count).
    ``tolerance``: largest difference of two thumbnails of one picture, in gray levels, after brightness,
    contrast and cut are fitted (``same_picture.difference``). ``match_flips``: a mirror image is a copy.

    ``cluster_id``: ``sample_id`` of the representative. ``duplicate_kind``: "exact" for the same bytes,
    "near" for the same picture, null for the representative. ``duplicate_distance``: bits between the
    hashes of copy and representative, in the part of the picture in which they match; 0 when exact.
    """

    name: ClassVar[str] = "near_duplicates"
    version: ClassVar[int] = 1
    reads: ClassVar[tuple[str, ...]] = (
        "sha256",
        "thumbnail",
        *READS,
        *HASH_COLUMNS,
    )
    writes: ClassVar[pa.Schema] = pa.schema(
        [
            pa.field("cluster_id", pa.string()),
            pa.field("cluster_size", pa.int32()),
            pa.field("duplicate_kind", pa.string()),
            pa.field("duplicate_distance", pa.int32()),
        ]
    )

    radius: int = 6
    tolerance: float = 10.0
    match_flips: bool = True

    def reduce(self, rows: pa.Table, scratch: str) -> pa.Table:
        order = best_first(rows)
        ranked = rows.take(pa.array(order))
        file = _first_of_same_bytes(ranked["sha256"])
        readable = ranked["thumbnail"].is_valid().to_numpy()
        hashed = ranked[HASH_COLUMNS[0]].is_valid().to_numpy()
        nodes = np.flatnonzero(readable & hashed & (file == np.arange(len(file))))
        hashes = ranked.select(HASH_COLUMNS).take(pa.array(nodes))
        candidates = candidate_pairs(hashes, self.radius, self.match_flips, scratch)
        thumbnails = ranked["thumbnail"].take(pa.array(nodes))
        star, distance = _stars(candidates, thumbnails, len(nodes), self.tolerance)

        keeper, bits = np.arange(len(file)), np.zeros(len(file), np.int32)
        keeper[nodes], bits[nodes] = nodes[star], distance
        keeper, bits = keeper[file], bits[file]
        return _columns(ranked["sample_id"], keeper, bits, keeper == file, readable).take(
            pa.array(np.argsort(order))
        )


def _first_of_same_bytes(sha256: pa.ChunkedArray) -> np.ndarray:
    """int64 [n]: the first row with the same value; a row without value is its own."""
    own = np.arange(len(sha256))
    codes = sha256.combine_chunks().dictionary_encode().indices
    known = codes.is_valid().to_numpy(zero_copy_only=False)
    codes = codes.fill_null(0).to_numpy()
    first = np.full(int(codes.max(initial=-1)) + 1, len(own))
    np.minimum.at(first, codes[known], own[known])
    return np.where(known, first[codes], own) if len(own) else own


def _stars(
    candidates: Candidates, thumbnails: pa.ChunkedArray, count: int, tolerance: float
) -> tuple[np.ndarray, np.ndarray]:
    """For each of ``count`` images, best first: its representative and the bits between them."""
    star, distance = np.arange(count), np.zeros(count, np.int32)
    pixels = np.frombuffer(
        b"".join(thumbnails.take(pa.array(candidates.used)).to_pylist()), np.uint8
    ).reshape(-1, THUMBNAIL_BYTES)
    place = np.zeros(count, np.int64)
    place[candidates.used] = np.arange(len(candidates.used))
    free = np.ones(count, bool)
    for start in range(0, len(candidates.better), _PAIRS_AT_ONCE):
        some = candidates.rows(start, start + _PAIRS_AT_ONCE)
        # Pairs come by their better image, best first: whoever is a copy by now stays one.
        some = some.where(free[some.better] & free[some.worse])
        same = _verified(some, pixels, place, tolerance)
        found = (some.better[same], some.worse[same], some.distance[same])
        for better, worse, bits in zip(*(array.tolist() for array in found), strict=True):
            if free[better] and free[worse]:
                star[worse], distance[worse], free[worse] = better, bits, False
    return star, distance


def _verified(pairs: Candidates, pixels: np.ndarray, place: np.ndarray, tolerance: float) -> np.ndarray:
    same = np.zeros(len(pairs.better), bool)
    for number, comparison in enumerate(pairs.comparisons):
        rows = np.flatnonzero(pairs.comparison == number)
        if rows.size:
            better, worse = pixels[place[pairs.better[rows]]], pixels[place[pairs.worse[rows]]]
            same[rows] = difference(better, worse, comparison) <= tolerance
            same[rows] &= ~changed_locally(better, worse, comparison.flipped)
    return same


def _columns(
    sample_id: pa.ChunkedArray,
    keeper: np.ndarray,
    bits: np.ndarray,
    same_bytes: np.ndarray,
    readable: np.ndarray,
) -> pa.Table:
    own = keeper == np.arange(len(keeper))
    size = np.bincount(keeper[readable], minlength=len(keeper))[keeper]
    kind = np.where(same_bytes, "exact", "near").astype(object)
    copy = readable & ~own
    return pa.table(
        {
            "cluster_id": pc.if_else(pa.array(readable), sample_id.take(pa.array(keeper)), None),
            "cluster_size": pa.array(size.astype(np.int32), mask=~readable),
            "duplicate_kind": pa.array(kind, pa.string(), mask=~copy),
            "duplicate_distance": pa.array(bits, pa.int32(), mask=~copy),
        },
        schema=NearDuplicates.writes,
    )
