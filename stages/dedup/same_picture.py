"""The second signal of a match: do two thumbnails show the same picture, cell for cell?

Both are cut to the parts that are to match and brought to one small grid; a small misplacement of the cut
is corrected (``alignment``); brightness, contrast and saturation are fitted. What then remains
in the worst cell is the difference, in gray levels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stages.dedup.alignment import CELLS, Window, cut, misplacement, weighted_fit
from stages.image.perceptual_hash import CHROMA_SIDE, LUMA_SIDE, REGIONS, Region

_CLEAR = 2.0
"""Below this difference the cut needs no correction."""
_EDGE_SHARE = 0.3
"""A cell beside an edge may differ by this share of the edge: crops and scalings never agree on it.
Half of it was tried: fewer copies were found and no fewer look-alikes joined."""
_STRIP = CELLS // 8
"""Rows at top and bottom where captions, logos and watermarks stand."""
_STRIP_LUMA = 0.125
_STRIP_CHROMA = 0.25
"""Weights of a difference in those rows."""
_GRAY = 6.0
"""Chroma below this everywhere: the picture is black and white."""
_CHANGE = 18.0
_CHANGE_RATIO = 12.0
"""One thing was changed: a cell differs by so many gray levels, and by so many times what nine cells of
ten stay under. Copies that were scaled, compressed or brightened reach 10 times on the tiny world."""


@dataclass(frozen=True)
class Comparison:
    """A part of the better image against a part of the worse one, mirrored or not."""

    better: str
    worse: str
    flipped: bool = False


@dataclass(frozen=True)
class Planes:
    """float32 luma [n, h, w] and Cb, Cr around 0 [n, 2, h, w]."""

    luma: np.ndarray
    chroma: np.ndarray


@dataclass(frozen=True)
class Edit:
    """A change of tone: gain and offset [n, 1, 1] of the luma, factor [n, 1, 1, 1] of the chroma."""

    gain: np.ndarray
    offset: np.ndarray
    saturation: np.ndarray


def difference(better: np.ndarray, worse: np.ndarray, comparison: Comparison) -> np.ndarray:
    """float32 [n]: gray levels left in the worst cell between uint8 [n, 864] thumbnails.

    Tolerant of one gain (0.7 to 1.43) and offset over the picture, of saturation, of lost color, of
    clipped highlights, of 3 % of misplacement, and mostly of what stands in the outer eighths at top
    and bottom (captions, logos); not of a thing that is moved, removed or recolored.
    """
    part, other = REGIONS[comparison.better], REGIONS[comparison.worse]
    first, second = _planes(better), _planes(worse)
    if comparison.flipped:
        second = Planes(second.luma[..., ::-1], second.chroma[..., ::-1])
    target = _cut(second, Window.of(other, len(worse)))
    window = Window.of(part, len(better))
    strips = _strips(part, other)
    least = _worst_cell(_cut(first, window), target, strips)
    unsure = np.flatnonzero(least > _CLEAR)
    if unsure.size:
        first, target = _take(first, unsure), _take(target, unsure)
        nominal = window = window.take(unsure)
        for _ in range(2):
            wrong = misplacement(cut(first.luma, window, CELLS), target.luma)
            window = window.moved(wrong).near(nominal)
        again = _worst_cell(_cut(first, window), target, strips)
        least[unsure] = np.minimum(least[unsure], again)
    return least


def changed_locally(better: np.ndarray, worse: np.ndarray, flipped: bool) -> np.ndarray:
    """bool [n]: uint8 [n, 864] thumbnails agree nearly everywhere, but not in a few cells.

    Looks at whole frames, so it says nothing (False) of pictures that were cropped or shifted: they
    differ everywhere. The outer eighths at top and bottom, where captions and logos stand, do not count.
    """
    first, second = _planes(better), _planes(worse)
    if flipped:
        second = Planes(second.luma[..., ::-1], second.chroma[..., ::-1])
    gain, offset = weighted_fit(first.luma, second.luma, np.ones_like(first.luma))
    misfit = np.abs(first.luma * gain + offset - second.luma)
    most = np.quantile(misfit, 0.85, axis=(1, 2), keepdims=True)
    gain, offset = weighted_fit(first.luma, second.luma, (misfit <= np.maximum(most, 2)).astype(np.float32))
    luma = np.abs(first.luma * gain + offset - second.luma)
    # Highlights that clip change locally too; that is brightness, not another thing.
    luma[np.maximum(first.luma * np.maximum(gain, 1), second.luma) > 225] = 0
    saturation = _saturation(first.chroma, second.chroma)
    color = np.abs(first.chroma * saturation - second.chroma).max(axis=1)
    return np.asarray(_stands_out(luma) | _stands_out(color))


def _stands_out(misfit: np.ndarray) -> np.ndarray:
    """bool [n] of [n, s, s]: a few cells inside differ much more than the others do."""
    strip = misfit.shape[-1] // 8
    inside = misfit[:, strip:-strip, strip:-strip]
    worst, usual = inside.max(axis=(1, 2)), np.quantile(inside, 0.9, axis=(1, 2))
    return np.asarray((worst >= _CHANGE) & (worst >= _CHANGE_RATIO * np.maximum(usual, 1.5)))


def _strips(part: Region, other: Region) -> tuple[int, int]:
    """Rows at the top and at the bottom that may show a caption or a logo."""
    # Where a bar is cut off, one row still touches it.
    above_bar = part.bottom + other.bottom > part.sides + other.sides
    return (_STRIP, 1) if above_bar else (_STRIP, _STRIP)


def _planes(thumbnails: np.ndarray) -> Planes:
    luma = thumbnails[:, : LUMA_SIDE**2].reshape(-1, LUMA_SIDE, LUMA_SIDE)
    chroma = thumbnails[:, LUMA_SIDE**2 :].reshape(-1, 2, CHROMA_SIDE, CHROMA_SIDE)
    return Planes(luma.astype(np.float32), chroma.astype(np.float32) - 128)


def _cut(planes: Planes, window: Window) -> Planes:
    return Planes(cut(planes.luma, window, CELLS), cut(planes.chroma, window, CELLS // 2))


def _take(planes: Planes, rows: np.ndarray) -> Planes:
    return Planes(planes.luma[rows], planes.chroma[rows])


def _worst_cell(one: Planes, two: Planes, strips: tuple[int, int]) -> np.ndarray:
    """float32 [n]: what the better of two explanations leaves over."""
    swap = one.luma.std(axis=(1, 2)) > two.luma.std(axis=(1, 2))
    dim, bright = _exchange(one, two, swap)
    least = _misfit(dim, bright, _contrast_and_saturation(dim, bright), strips)
    unsure = np.flatnonzero(least > _CLEAR)
    if unsure.size:
        dim, bright = _take(dim, unsure), _take(bright, unsure)
        multiplied = _misfit(dim, bright, _brightness(dim, bright), strips)
        least[unsure] = np.minimum(least[unsure], multiplied)
    return least


def _misfit(dim: Planes, bright: Planes, edit: Edit, strips: tuple[int, int]) -> np.ndarray:
    predicted, lost = _brightened(dim, edit)
    edge = np.minimum(_range_around(dim.luma) * edit.gain, _range_around(bright.luma))
    luma = np.abs(predicted.luma - bright.luma) - _EDGE_SHARE * edge - lost
    edge = np.minimum(_range_around(dim.chroma).sum(1), _range_around(bright.chroma).sum(1))
    color = np.abs(predicted.chroma - bright.chroma).max(axis=1) - _EDGE_SHARE * edge
    color -= lost.reshape(-1, CELLS // 2, 2, CELLS // 2, 2).max(axis=(2, 4))
    color[_is_gray(dim.chroma) | _is_gray(bright.chroma)] = 0
    top, bottom = strips
    _soften(luma, top, bottom, _STRIP_LUMA)
    _soften(color, top // 2, (bottom + 1) // 2, _STRIP_CHROMA)
    worst = np.maximum(luma.max(axis=(1, 2)), color.max(axis=(1, 2)))
    return np.asarray(worst.clip(0), np.float32)


def _exchange(one: Planes, two: Planes, swap: np.ndarray) -> tuple[Planes, Planes]:
    """The two with those exchanged where ``swap``: gain from dim to bright is then 1 or more."""
    luma, chroma = swap[:, None, None], swap[:, None, None, None]
    return (
        Planes(np.where(luma, two.luma, one.luma), np.where(chroma, two.chroma, one.chroma)),
        Planes(np.where(luma, one.luma, two.luma), np.where(chroma, one.chroma, two.chroma)),
    )


def _soften(cells: np.ndarray, top: int, bottom: int, weight: float) -> None:
    cells[:, :top] *= weight
    cells[:, cells.shape[1] - bottom :] *= weight


def _contrast_and_saturation(dim: Planes, bright: Planes) -> Edit:
    """Least squares over unclipped cells, then once more over the 85 % of cells that fit best."""
    weight = _unclipped(dim, bright)
    gain, offset = weighted_fit(dim.luma, bright.luma, weight)
    misfit = np.abs((dim.luma * gain + offset).clip(0, 255) - bright.luma)
    most = np.quantile(misfit, 0.85, axis=(1, 2), keepdims=True)
    gain, offset = weighted_fit(dim.luma, bright.luma, weight * (misfit <= np.maximum(most, 2)))
    return Edit(gain, offset, _saturation(dim.chroma, bright.chroma))


def _brightness(dim: Planes, bright: Planes) -> Edit:
    """Every channel times one factor: also right where few cells are left unclipped."""
    weight = _unclipped(dim, bright) * dim.luma
    together = (weight * bright.luma).sum(axis=(1, 2), keepdims=True)
    gain = together / ((weight * dim.luma).sum(axis=(1, 2), keepdims=True) + 1e-3)
    gain = gain.clip(0.7, 1.43)
    return Edit(gain, np.zeros_like(gain), gain[..., None])


def _unclipped(dim: Planes, bright: Planes) -> np.ndarray:
    inside = [(planes.luma > 8) & (planes.luma < 238) for planes in (dim, bright)]
    return ((inside[0] & inside[1]) + 1e-3).astype(np.float32)


def _brightened(dim: Planes, edit: Edit) -> tuple[Planes, np.ndarray]:
    """The edit applied to dim in RGB, where highlights clip, and how much more than that a cell may
    lose, because it holds some pixels that clip and some that do not."""
    chroma = np.repeat(np.repeat(dim.chroma, 2, axis=-1), 2, axis=-2) * edit.saturation
    luma = dim.luma * edit.gain + edit.offset
    blue, red = chroma[:, 0] / 0.564, chroma[:, 1] / 0.713
    green = -(0.114 * blue + 0.299 * red) / 0.587
    rgb = luma[:, None] + np.stack([red, green, blue], axis=1)
    lost = (rgb.max(axis=1) - 205).clip(0, 80) * (0.4 * ((edit.gain - 1.03) * 10).clip(0, 1))
    rgb = rgb.clip(0, 255)
    luma = np.tensordot(rgb, np.array([0.299, 0.587, 0.114], np.float32), axes=(1, 0))
    cb, cr = (rgb[:, 2] - luma) * 0.564, (rgb[:, 0] - luma) * 0.713
    fine = np.stack([cb, cr], axis=1)
    coarse = fine.reshape(len(fine), 2, CELLS // 2, 2, CELLS // 2, 2).mean(axis=(3, 5))
    return Planes(luma, coarse), lost


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
