"""Rule ``keep_best_semantic``: of each cluster of near embeddings, the best sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stages.dedup.best_first import READS
from stages.select.keep_best import best_of_each
from stages.stage import SelectStage


@dataclass(frozen=True)
class KeepBestSemantic(SelectStage):
    """Keeps one sample of each ``semantic_cluster_id``, as ``keep_best`` does of each ``cluster_id``.

    Samples without an embedding are in no cluster, and stay.
    """

    name: ClassVar[str] = "keep_best_semantic"
    version: ClassVar[int] = 1
    reads: ClassVar[tuple[str, ...]] = ("semantic_cluster_id", *READS)
    reasons: ClassVar[tuple[str, ...]] = ("duplicate_semantic",)

    def decide(self, rows: pa.Table) -> pa.Array:
        is_kept = pa.array(best_of_each(rows, "semantic_cluster_id") == np.arange(rows.num_rows))
        return pc.if_else(is_kept, pa.scalar(None, pa.string()), "duplicate_semantic")
