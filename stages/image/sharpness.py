"""How sharp an image is, by the Laplacian of its small view."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from stages.stage import Batch, MapStage, View

_LUMA_1000 = np.array([299, 587, 114], dtype=np.float32)
"""Weights of red, green and blue in thousandths: every sum below stays a whole number."""


@dataclass(frozen=True)
class Sharpness(MapStage):
    """``sharpness``: variance of the 4-neighbor Laplacian of the luma (0 to 255), border left out.

    Null where there is no view of at least 3 x 3 px. Larger is sharper; noise counts as sharp. Luma
    is 0.299 R + 0.587 G + 0.114 B, summed in whole numbers, so that every machine gives one value.

    It is taken on the small view as it is, which ranks copies of one image at one size: all of 88
    photographs fell with a blur of 1 px, again with 4 px, and when enlarged from half their size.
    Between sizes it is rougher: a copy at 0.35 to 0.9 of the size scores 0.74 to 1.61 times as much
    (5th to 95th percentile).
    """

    name: ClassVar[str] = "sharpness"
    version: ClassVar[int] = 1
    writes: ClassVar[pa.Schema] = pa.schema([("sharpness", pa.float32())])
    view: ClassVar[View] = View.SMALL

    def open(self) -> Callable[[Batch], dict[str, Sequence[Any]]]:
        return _scores


def _scores(batch: Batch) -> dict[str, Sequence[Any]]:
    return {"sharpness": [_laplacian_variance(small) for small in batch.images]}


def _laplacian_variance(small: np.ndarray | None) -> float | None:
    """Of a uint8 [h, w, 3] image."""
    if small is None or min(small.shape[:2]) < 3:
        return None
    luma = small.astype(np.float32) @ _LUMA_1000
    edges = luma[:-2, 1:-1] + luma[2:, 1:-1]
    edges += luma[1:-1, :-2]
    edges += luma[1:-1, 2:]
    edges -= 4 * luma[1:-1, 1:-1]
    mean = edges.sum(dtype=np.float64) / edges.size
    squares = edges.astype(np.float64)
    squares *= squares  # not a dot product: that wakes the threads of BLAS, and they cost more
    return float((squares.sum() / edges.size - mean * mean) / 1_000_000)
