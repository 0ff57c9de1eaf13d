"""Rule ``keep_best``: of each cluster of copies, the best one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stages.dedup.best_first import READS, best_first
from stages.stage import SelectStage


@dataclass(frozen=True)
class KeepBest(SelectStage):
    """Keeps one sample of each ``cluster_id``, the first of them in the order of ``best_first``.

    Only samples that every earlier rule kept compete: a copy is not lost with a keeper that another
    rule drops. The reason is ``duplicate_exact`` where the bytes are those of the kept one.
    """

    name: ClassVar[str] = "keep_best"
    version: ClassVar[int] = 1
    reads: ClassVar[tuple[str, ...]] = ("cluster_id", "sha256", *READS)
    reasons: ClassVar[tuple[str, ...]] = ("duplicate_exact", "duplicate_near")

    def decide(self, rows: pa.Table) -> pa.Array:
        keeper = best_of_each(rows, "cluster_id")
        sha256 = rows["sha256"].cast(pa.large_string())  # taking gathers them, and they may pass 2 GB
        same_bytes = pc.equal(sha256, sha256.take(pa.array(keeper)))
        reasons = pc.if_else(same_bytes, "duplicate_exact", "duplicate_near")
        is_keeper = pa.array(keeper == np.arange(len(keeper)))
        return pc.if_else(is_keeper, pa.scalar(None, pa.string()), reasons)


def best_of_each(rows: pa.Table, cluster: str) -> np.ndarray:
    """int64 [n]: the row of the best sample that has the same value of ``cluster``; null is alone."""
    order = best_first(rows)
    clusters = pc.coalesce(rows[cluster], rows["sample_id"]).combine_chunks()
    codes = clusters.dictionary_encode().indices.to_numpy()
    first = np.full(int(codes.max(initial=-1)) + 1, -1)
    first[codes[order[::-1]]] = order[::-1]  # the last to write is the best
    return np.asarray(first[codes])
