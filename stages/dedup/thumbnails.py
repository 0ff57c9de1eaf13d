"""Thumbnails by image number, and which candidate pairs are one picture by them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from stages.dedup.candidates import Candidates
from stages.dedup.hamming import MAX_RADIUS
from stages.dedup.same_picture import changed_locally, difference
from stages.image.perceptual_hash import THUMBNAIL_BYTES
from store.errors import UsageError


def check_match(radius: int, tolerance: float) -> None:
    """Refuse, before any work, what no comparison could use.

    Raises:
        UsageError: ``radius`` is outside 0 to 12 bits, or ``tolerance`` (gray levels) below 0.
    """
    if not 0 <= radius <= MAX_RADIUS:
        raise UsageError(f"radius={radius}: expected 0 to {MAX_RADIUS} bits of 64")
    if tolerance < 0:
        raise UsageError(f"tolerance={tolerance}: expected 0 gray levels or more")


@dataclass(frozen=True)
class Thumbnails:
    """uint8 [n, 864] of the image numbers ``used`` (sorted); holds no others."""

    pixels: np.ndarray
    used: np.ndarray

    @staticmethod
    def of(column: pa.ChunkedArray, used: np.ndarray) -> Thumbnails:
        joined = b"".join(column.take(pa.array(used)).to_pylist())
        return Thumbnails(np.frombuffer(joined, np.uint8).reshape(-1, THUMBNAIL_BYTES), used)

    def at(self, images: np.ndarray) -> np.ndarray:
        return np.asarray(self.pixels[np.searchsorted(self.used, images)])


def same_pictures(pairs: Candidates, better: Thumbnails, worse: Thumbnails, tolerance: float) -> np.ndarray:
    """bool [n]: the pairs that differ by at most ``tolerance`` gray levels, and not in one place only."""
    same = np.zeros(len(pairs.better), bool)
    for number, comparison in enumerate(pairs.comparisons):
        rows = np.flatnonzero(pairs.comparison == number)
        if rows.size:
            one, two = better.at(pairs.better[rows]), worse.at(pairs.worse[rows])
            same[rows] = difference(one, two, comparison) <= tolerance
            same[rows] &= ~changed_locally(one, two, comparison.flipped)
    return same
