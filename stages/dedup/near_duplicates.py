"""Exact and near duplicates: clusters around the best copy, each other copy matched to it directly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stages.dedup.best_first import READS, best_first
from stages.dedup.candidates import candidate_pairs
from stages.dedup.stars import stars
from stages.dedup.thumbnails import Thumbnails, check_match, same_pictures
from stages.image.perceptual_hash import HASH_COLUMNS
from stages.stage import Reduction
from store.tables import wide


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

    def __post_init__(self) -> None:
        check_match(self.radius, self.tolerance)

    def reduce(self, rows: pa.Table, scratch: str) -> pa.Table:
        order = best_first(rows)
        ranked = wide(rows).take(pa.array(order))
        file = _first_of_same_bytes(ranked["sha256"])
        readable = ranked["thumbnail"].is_valid().to_numpy()
        hashed = ranked[HASH_COLUMNS[0]].is_valid().to_numpy()
        nodes = np.flatnonzero(readable & hashed & (file == np.arange(len(file))))
        hashes = ranked.select(HASH_COLUMNS).take(pa.array(nodes))
        candidates = candidate_pairs(hashes, self.radius, self.match_flips, scratch)
        thumbnails = Thumbnails.of(ranked["thumbnail"].take(pa.array(nodes)), candidates.used)

        def matching(pairs: np.ndarray) -> np.ndarray:
            return same_pictures(candidates.where(pairs), thumbnails, thumbnails, self.tolerance)

        star, tie = stars(candidates.better, candidates.worse, len(nodes), matching)
        keeper, bits = np.arange(len(file)), np.zeros(len(file), np.int32)
        keeper[nodes], bits[nodes[tie >= 0]] = nodes[star], candidates.distance[tie[tie >= 0]]
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
