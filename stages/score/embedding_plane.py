"""Reduction ``embedding_plane``: a map of a dataset, on which like pictures lie near each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from stages.dedup.unit_vectors import unit_vectors
from stages.stage import Reduction

ROWS = 1 << 16
"""Vectors that are float64 at once."""


@dataclass(frozen=True)
class EmbeddingPlane(Reduction):
    """``plane_x``, ``plane_y``: the two directions in which embeddings differ most (Pearson 1901).

    Of embeddings scaled to length 1, as they lie around their mean; each axis is scaled to a standard
    deviation of 1, and points to where its largest weight is positive. Null where there is no embedding.
    Memory: two bytes a number of each embedding.
    """

    name: ClassVar[str] = "embedding_plane"
    version: ClassVar[int] = 1
    writes: ClassVar[pa.Schema] = pa.schema([("plane_x", pa.float32()), ("plane_y", pa.float32())])
    column: str = "embedding"

    @property
    def reads(self) -> tuple[str, ...]:  # type: ignore[override]  # the column is a field
        return (self.column,)

    def reduce(self, rows: pa.Table, scratch: str) -> pa.Table:
        there = np.asarray(rows[self.column].is_valid().to_numpy(zero_copy_only=False), bool)
        ids = np.array(rows["sample_id"].to_pylist(), "S24")
        order = np.argsort(ids[there], kind="stable")  # sums come out alike however the source was cut
        places = np.full(len(rows), -1, np.int64)
        places[np.flatnonzero(there)[order]] = np.arange(len(order))
        points = _plane(unit_vectors(rows, self.column, places).numbers)
        columns = {}
        for axis, name in enumerate(self.writes.names):
            values = np.zeros(len(rows), np.float32)
            values[there] = points[places[there], axis]
            columns[name] = pa.array(values, pa.float32(), mask=~there)
        return pa.table(columns)


def _plane(vectors: np.ndarray) -> np.ndarray:
    """float64 [n, 2] of int16 [n, d]."""
    count, width = vectors.shape
    points = np.zeros((count, 2))
    if count < 2:
        return points
    mean = vectors.mean(axis=0, dtype=np.float64)
    spread: Any = np.zeros((width, width))
    for start in range(0, count, ROWS):
        some = vectors[start : start + ROWS] - mean
        spread += some.T @ some
    _, axes = np.linalg.eigh(spread)
    axes = axes[:, ::-1][:, :2]
    axes *= np.sign(axes[np.abs(axes).argmax(axis=0), range(axes.shape[1])])
    for start in range(0, count, ROWS):
        points[start : start + ROWS, : axes.shape[1]] = (vectors[start : start + ROWS] - mean) @ axes
    deviation = points.std(axis=0)
    points /= np.where(deviation > 1e-9 * np.abs(vectors).max(initial=1), deviation, 1.0)
    return points
