"""The second signal of a match: do two thumbnails show the same picture, cell for cell?

Two thumbnails are cut to the parts that are to match, brought to one small grid, fitted in brightness,
contrast and saturation, and compared. What remains in the worst cell is the difference, in gray levels.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from stages.image.perceptual_hash import CHROMA_SIDE, LUMA_SIDE, REGIONS, Region

LUMA_CELLS = 16
CHROMA_CELLS = 8
_SHIFTS = (0.0, -0.00625, 0.00625, -0.0125, 0.0125, -0.01875, 0.01875)
"""Shares of a side by which a crop may differ from the inset it was found by, nearest first."""
_EDGE_SHARE = 0.3
"""A cell beside an edge may differ by this share of the edge: crops never align to the cell."""
_GRAY = 6.0
"""Chroma below this everywhere: the picture is black and white."""


@dataclass(frozen=True)
class Comparison:
    """A part of the better image against a part of the worse one, mirrored or not."""

    better: str
    worse: str
    flipped: bool = False


def thumbnail_planes(thumbnails: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """float32 luma [n, 24, 24] and Cb, Cr around 0 [n, 2, 12, 12] of uint8 [n, 864]."""
    luma = thumbnails[:, : LUMA_SIDE**2].reshape(-1, LUMA_SIDE, LUMA_SIDE)
    chroma = thumbnails[:, LUMA_SIDE**2 :].reshape(-1, 2, CHROMA_SIDE, CHROMA_SIDE)
    return luma.astype(np.float32), chroma.astype(np.float32) - 128


def difference(better: np.ndarray, worse: np.ndarray, comparison: Comparison) -> np.ndarray:
    """float32 [n]: gray levels left in the worst cell between uint8 [n, 864] thumbnails.

    Tolerant of one gain (0.7 to 1.43) and offset over the picture, of saturation, of lost color, of
    clipped highlights and of anything in the outer eighths at top and bottom (captions, logos); not
    of a thing that is moved, removed or recolored.
    """
    least = _difference_at(better, worse, comparison, 0.0)
    for shift in _SHIFTS[1:]:
        unsure = np.flatnonzero(least > 2.0)
        if unsure.size:
            shifted = _difference_at(better[unsure], worse[unsure], comparison, shift)
            least[unsure] = np.minimum(least[unsure], shifted)
    return least


def _difference_at(
    better: np.ndarray, worse: np.ndarray, comparison: Comparison, shift: float
) -> np.ndarray:
    part, other = REGIONS[comparison.better], REGIONS[comparison.worse]
    more = part.sides - other.sides + shift
    luma, chroma = _cut(better, part, max(more, 0.0))
    luma_2, chroma_2 = _cut(worse, other, max(-more, 0.0))
    if comparison.flipped:
        luma_2, chroma_2 = luma_2[..., ::-1], chroma_2[..., ::-1]
    swap = _spread(luma) > _spread(luma_2)
    dim, bright = _exchange(luma, luma_2, swap)
    dim_chroma, bright_chroma = _exchange(chroma, chroma_2, swap)
    return _worst_cell(dim, bright, dim_chroma, bright_chroma)


def _cut(thumbnails: np.ndarray, region: Region, inset: float) -> tuple[np.ndarray, np.ndarray]:
    """[n, 16, 16] luma and [n, 2, 8, 8] chroma of ``inset`` of the picture, or of ``region``."""
    luma, chroma = thumbnail_planes(thumbnails)
    bottom = region.bottom if region.sides == 0 and region.bottom > 0 else inset
    parts = []
    for plane, cells in ((luma, LUMA_CELLS), (chroma, CHROMA_CELLS)):
        down = _interpolation(cells, plane.shape[-1], inset, 1 - bottom)
        across = _interpolation(cells, plane.shape[-1], inset, 1 - inset)
        parts.append(down @ plane @ across.T)
    return parts[0], parts[1]


@lru_cache(maxsize=256)
def _interpolation(cells: int, samples: int, start: float, stop: float) -> np.ndarray:
    """float32 [cells, samples]: triangle filter, one cell wide, over a part of an axis."""
    center = (start + (stop - start) * (np.arange(cells) + 0.5) / cells) * samples - 0.5
    reach = max(1.0, (stop - start) * samples / cells)
    weights = (1 - np.abs(np.arange(samples) - center[:, None]) / reach).clip(0)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)


def _spread(planes: np.ndarray) -> np.ndarray:
    return np.asarray(planes.std(axis=(1, 2)))


def _exchange(one: np.ndarray, two: np.ndarray, swap: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    where = swap.reshape(-1, *[1] * (one.ndim - 1))
    return np.where(where, two, one), np.where(where, one, two)


def _worst_cell(
    dim: np.ndarray, bright: np.ndarray, dim_chroma: np.ndarray, bright_chroma: np.ndarray
) -> np.ndarray:
    gain, offset = _fit(dim, bright)
    predicted = dim * gain + offset
    # An edit that brightens clips highlights, and a cell holds some clipped and some unclipped pixels.
    lost = (predicted - 190).clip(0, 80) * (0.4 * ((gain - 1.03) * 10).clip(0, 1))
    edge = np.minimum(_range_around(dim) * gain, _range_around(bright))
    luma = np.abs(predicted.clip(0, 255) - bright) - _EDGE_SHARE * edge - lost

    saturation = _saturation(dim_chroma, bright_chroma)
    edge = np.minimum(_range_around(dim_chroma).sum(1), _range_around(bright_chroma).sum(1))
    lost = lost.reshape(-1, CHROMA_CELLS, 2, CHROMA_CELLS, 2).max(axis=(2, 4))
    color = np.abs(dim_chroma * saturation - bright_chroma).max(axis=1) - _EDGE_SHARE * edge - lost
    gray = _is_gray(dim_chroma) | _is_gray(bright_chroma)
    color[gray] = 0
    return np.maximum(_worst_inside(luma), _worst_inside(color))


def _worst_inside(cells: np.ndarray) -> np.ndarray:
    border = cells.shape[1] // 8
    return np.asarray(cells[:, border:-border].max(axis=(1, 2)).clip(0))


def _fit(dim: np.ndarray, bright: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gain and offset [n, 1, 1] from dim to bright: least squares over unclipped cells, then once
    more over the 85 % of cells that fit best."""
    weight = (((dim > 8) & (bright > 8) & (dim < 238) & (bright < 238)) + 1e-3).astype(np.float32)
    gain, offset = _weighted_fit(dim, bright, weight)
    misfit = np.abs((dim * gain + offset).clip(0, 255) - bright)
    most = np.quantile(misfit, 0.85, axis=(1, 2), keepdims=True)
    return _weighted_fit(dim, bright, weight * (misfit <= np.maximum(most, 2)))


def _weighted_fit(
    dim: np.ndarray, bright: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    def mean(values: np.ndarray) -> np.ndarray:
        return np.asarray((weight * values).sum(axis=(1, 2), keepdims=True) / total)

    total = weight.sum(axis=(1, 2), keepdims=True) + 1e-6
    center, center_2 = mean(dim), mean(bright)
    # The 4 pulls the gain of flat pictures, which is undetermined, to 1.
    spread = mean((dim - center) ** 2) + 4
    together = mean((dim - center) * (bright - center_2)) + 4
    gain = (together / spread).clip(0.7, 1.43)
    return gain, center_2 - gain * center


def _range_around(planes: np.ndarray) -> np.ndarray:
    """Largest minus smallest value in the 3 x 3 cells around each cell."""
    edges = [(0, 0)] * (planes.ndim - 2) + [(1, 1), (1, 1)]
    padded = np.pad(planes, edges, mode="edge")
    high = np.maximum(np.maximum(padded[..., :-2], padded[..., 1:-1]), padded[..., 2:])
    low = np.minimum(np.minimum(padded[..., :-2], padded[..., 1:-1]), padded[..., 2:])
    high = np.maximum(np.maximum(high[..., :-2, :], high[..., 1:-1, :]), high[..., 2:, :])
    low = np.minimum(np.minimum(low[..., :-2, :], low[..., 1:-1, :]), low[..., 2:, :])
    return np.asarray(high - low)


def _saturation(dim: np.ndarray, bright: np.ndarray) -> np.ndarray:
    """Factor [n, 1, 1, 1] from the chroma of dim to that of bright; 1 where there is little."""
    together = (dim * bright).sum(axis=(1, 2, 3), keepdims=True) + 300
    return np.asarray((together / ((dim**2).sum(axis=(1, 2, 3), keepdims=True) + 300)).clip(0.6, 1.7))


def _is_gray(chroma: np.ndarray) -> np.ndarray:
    return np.asarray(np.abs(chroma).max(axis=(1, 2, 3)) < _GRAY)
