"""Stage ``semantic_duplicates``: clusters of samples whose embeddings point the same way (SemDeDup)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa

from stages.dedup.best_first import READS, best_first
from stages.dedup.near_vectors import cells_for, near_vectors
from stages.dedup.stars import stars
from stages.dedup.unit_vectors import unit_vectors
from stages.stage import Reduction
from store.errors import UsageError


@dataclass(frozen=True)
class SemanticDuplicates(Reduction):
    """Writes the cluster of every sample with an embedding; null where there is none.

    ``column``: lists of floats, all of one length; their lengths as vectors do not matter.
    ``threshold``: smallest cosine (0 to 1) of two samples that are copies. Samples are ordered best first,
    and each joins the best earlier one that is not itself a copy and that it matches.

    Only samples that share one of their two nearest cells of k-means are compared (Abbas et al. 2023,
    arXiv 2303.09540, compare within one). ``cells``: how many; null for the square root of the samples,
    and one for fewer than 1000. ``seed`` draws other first centers.

    ``semantic_cluster_id``: ``sample_id`` of the representative. ``semantic_similarity``: cosine of copy
    and representative, null for the representative.
    """

    name: ClassVar[str] = "semantic_duplicates"
    version: ClassVar[int] = 1
    writes: ClassVar[pa.Schema] = pa.schema(
        [
            ("semantic_cluster_id", pa.string()),
            ("semantic_cluster_size", pa.int32()),
            ("semantic_similarity", pa.float32()),
        ]
    )

    column: str = "embedding"
    threshold: float = 0.95
    cells: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.threshold <= 1:
            raise UsageError(f"threshold={self.threshold}: expected a cosine over 0 and up to 1")
        if self.cells is not None and self.cells < 1:
            raise UsageError(f"cells={self.cells}: expected 1 or more, or none for the square root")

    @property
    def reads(self) -> tuple[str, ...]:  # type: ignore[override]  # the column is a setting
        return (self.column, *READS)

    def reduce(self, rows: pa.Table, scratch: str) -> pa.Table:
        order = best_first(rows)
        nodes = order[rows[self.column].is_valid().to_numpy()[order]]
        places = np.full(rows.num_rows, -1)
        places[nodes] = np.arange(len(nodes))
        vectors = unit_vectors(rows, self.column, places)
        cells = self.cells or cells_for(len(nodes))
        pairs = near_vectors(
            vectors, self.threshold, cells, self._drawn(rows["sample_id"].take(pa.array(nodes)))
        )
        star, tie = stars(pairs.better, pairs.worse, len(nodes), lambda some: np.ones(len(some), bool))

        keeper, similarity = np.full(rows.num_rows, -1), np.full(rows.num_rows, np.nan, np.float32)
        keeper[nodes] = nodes[star]
        similarity[nodes[tie >= 0]] = pairs.cosine[tie[tie >= 0]]
        return _columns(rows["sample_id"], keeper, similarity)

    def _drawn(self, sample_ids: pa.ChunkedArray) -> np.ndarray:
        """Rows in an order that only their ids and ``seed`` decide."""
        keys = [hashlib.sha256(f"{self.seed}:{key}".encode()).digest()[:8] for key in sample_ids.to_pylist()]
        return np.argsort(np.array(keys, "S8"), kind="stable")


def _columns(sample_id: pa.ChunkedArray, keeper: np.ndarray, similarity: np.ndarray) -> pa.Table:
    there = keeper >= 0
    size = np.bincount(keeper[there], minlength=len(keeper))[keeper].astype(np.int32)
    return pa.table(
        {
            "semantic_cluster_id": sample_id.take(pa.array(keeper, mask=~there)),
            "semantic_cluster_size": pa.array(size, mask=~there),
            "semantic_similarity": pa.array(similarity, mask=np.isnan(similarity)),
        },
        schema=SemanticDuplicates.writes,
    )
