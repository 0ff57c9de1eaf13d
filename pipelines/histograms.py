"""Counts for the report's drawings: bars and a map of sizes, as plain numbers for a template."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

BINS = 30
MAP_BINS = 32
_TICK_GAP = 14.0
"""Percent of the axis that two labels keep between them."""


@dataclass(frozen=True)
class Tick:
    """``at``: percent of the axis from its start."""

    at: float
    label: str


@dataclass(frozen=True)
class Bar:
    """One bin: counts of samples, and their heights in percent of the highest bar."""

    label: str
    kept: int
    dropped: int
    kept_height: float
    dropped_height: float


@dataclass(frozen=True)
class Histogram:
    """``count``: samples that have a value. ``guide``: a line the recipe draws, or None."""

    title: str
    note: str
    bars: tuple[Bar, ...]
    ticks: tuple[Tick, ...]
    count: int
    median: str
    guide: Tick | None = None


@dataclass(frozen=True)
class Cell:
    """One square of the map: column and row from the top left, samples, and opacity 0 to 1."""

    x: int
    y: int
    kept: int
    dropped: int
    opacity: float


@dataclass(frozen=True)
class SizeMap:
    """Width across and height up, both logarithmic, over the same range."""

    cells: tuple[Cell, ...]
    ticks: tuple[Tick, ...]
    guide: Tick | None
    bins: int


@dataclass(frozen=True)
class Axis:
    """What the bars count, and what the numbers are called."""

    title: str
    note: str
    unit: str = ""
    guide: tuple[float, str] | None = None


def counted(axis: Axis, values: np.ndarray, kept: np.ndarray) -> Histogram | None:
    """Bars of whole numbers from 0; the last takes the longest half percent. None without values.

    Args:
        values: float64 [n], NaN where a sample has none.
        kept: bool [n].
    """
    there = ~np.isnan(values)
    if not there.any():
        return None
    top = float(np.ceil(np.percentile(values[there], 99.5)))
    step = max(1, math.ceil((top + 1) / BINS))
    edges = np.arange(0, top + step + 1, step)
    clipped = np.minimum(values, edges[-1] - 0.5)
    last = len(edges) - 2
    labels = [_range(low, low + step - 1, axis.unit) for low in edges[:-1]]
    labels[last] = f"{_number(edges[last])} and more{axis.unit}"
    spread = edges[-1] - edges[0]
    ticks = [(v / spread * 100, _number(v)) for v in _round_steps(float(edges[-1]))]
    return _histogram(axis, values, kept, (clipped, edges), labels, ticks)


def logarithmic(
    axis: Axis, values: np.ndarray, kept: np.ndarray, marks: dict[float, str]
) -> Histogram | None:
    """Bars of equal ratio, over the middle 99 percent; the ends take the rest. None without values.

    Args:
        values: float64 [n], NaN where a sample has none; values of 0 and less count as the smallest.
        kept: bool [n].
        marks: values that get a label on the axis.
    """
    there = ~np.isnan(values)
    positive = values[there & (np.nan_to_num(values) > 0)]
    if not len(positive):
        return None
    low, high = np.log2(np.percentile(positive, [0.5, 99.5]))
    low, high = math.floor(low * 4) / 4, math.ceil(high * 4) / 4
    high = max(high, low + 1)
    edges = np.linspace(low, high, BINS + 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        clipped = np.clip(np.log2(np.maximum(values, 0)), low, high)
    labels = [_range(2.0**a, 2.0**b, axis.unit) for a, b in pairwise(edges)]
    ticks = [((math.log2(v) - low) / (high - low) * 100, label) for v, label in marks.items()]
    return _histogram(axis, values, kept, (clipped, edges), labels, ticks)


def _histogram(
    axis: Axis,
    values: np.ndarray,
    kept: np.ndarray,
    binned: tuple[np.ndarray, np.ndarray],
    labels: list[str],
    ticks: list[tuple[float, str]],
) -> Histogram:
    clipped, edges = binned
    there = ~np.isnan(values)
    kept_counts = np.histogram(clipped[there & kept], edges)[0]
    dropped_counts = np.histogram(clipped[there & ~kept], edges)[0]
    highest = max(int((kept_counts + dropped_counts).max()), 1)
    bars = [
        Bar(label, int(k), int(d), round(100 * int(k) / highest, 2), round(100 * int(d) / highest, 2))
        for label, k, d in zip(labels, kept_counts, dropped_counts, strict=True)
    ]
    median = _number(float(np.median(values[there]))) + axis.unit
    guide = None
    if axis.guide is not None and axis.guide[0] > 0:
        at = (math.log2(axis.guide[0]) - edges[0]) / (edges[-1] - edges[0]) * 100
        guide = Tick(round(at, 2), axis.guide[1]) if 0 <= at <= 100 else None
    return Histogram(axis.title, axis.note, tuple(bars), _apart(ticks), int(there.sum()), median, guide)


def size_map(
    width: np.ndarray, height: np.ndarray, kept: np.ndarray, min_side: float | None
) -> SizeMap | None:
    """Where the samples lie by width and height; None without sizes.

    Args:
        width, height: float64 [n] pixels, NaN where unknown.
        kept: bool [n].
        min_side: pixels; a line is drawn there.
    """
    there = (np.nan_to_num(width) > 0) & (np.nan_to_num(height) > 0)
    if not there.any():
        return None
    across, up = np.log2(width[there]), np.log2(height[there])
    both = np.concatenate([across, up])
    low, high = math.floor(both.min()), math.ceil(both.max() + 1e-9)
    high = max(high, low + 1)
    edges = np.linspace(low, high, MAP_BINS + 1)
    grids = []
    for chosen in (kept[there], ~kept[there]):
        grids.append(np.histogram2d(across[chosen], up[chosen], (edges, edges))[0].astype(np.int64))
    total = grids[0] + grids[1]
    strongest = math.log1p(int(total.max()))
    cells = tuple(
        Cell(
            int(x),
            MAP_BINS - 1 - int(y),
            int(grids[0][x, y]),
            int(grids[1][x, y]),
            round(0.25 + 0.75 * math.log1p(int(total[x, y])) / strongest, 3),
        )
        for x, y in np.argwhere(total)
    )
    ticks = [((math.log2(v) - low) / (high - low) * 100, label) for v, label in PIXELS.items()]
    guide = None
    if min_side and low <= math.log2(min_side) <= high:
        guide = Tick(round((math.log2(min_side) - low) / (high - low) * 100, 2), f"{min_side:g} px")
    return SizeMap(cells, _apart(ticks), guide, MAP_BINS)


PIXELS: dict[float, str] = {
    float(v): f"{v:,}" for v in (1, 4, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)
}
RATIOS: dict[float, str] = {1 / 4: "1:4", 9 / 16: "9:16", 1.0: "1:1", 16 / 9: "16:9", 4.0: "4:1"}
DECADES: dict[float, str] = {10.0**e: _label for e, _label in enumerate(("1", "10", "100", "1k", "10k"))}


def _apart(ticks: list[tuple[float, str]]) -> tuple[Tick, ...]:
    """Labels on the axis, the first of those that would touch."""
    chosen: list[Tick] = []
    for at, label in sorted(ticks):
        if 0 <= at <= 100 and (not chosen or at - chosen[-1].at >= _TICK_GAP):
            chosen.append(Tick(round(at, 2), label))
    return tuple(chosen)


def _round_steps(top: float) -> list[float]:
    """Round numbers from 0 to ``top``, three to six of them."""
    unit = 10.0 ** math.floor(math.log10(max(top, 1.0)))
    step = next((f * unit for f in (0.2, 0.5, 1.0) if top / (f * unit) <= 5.5), 2 * unit)
    step = max(step, 1.0)
    return [i * step for i in range(int(top // step) + 1)]


def _range(low: float, high: float, unit: str) -> str:
    if _number(low) == _number(high):
        return f"{_number(low)}{unit}"
    return f"{_number(low)} to {_number(high)}{unit}"


def _number(value: float) -> str:
    if value >= 100 or value == int(value):
        return f"{round(value):,}"
    return f"{value:.3g}"
