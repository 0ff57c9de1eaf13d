"""Items on a plane: where their points lie, which of them an area holds, and what colors them.

A plane is a column of lists of two numbers, or a pair of columns of numbers ``NAME_x`` and ``NAME_y``.
"""

from __future__ import annotations

import struct
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curation_ui.access import Refused
from curation_ui.catalog import Catalog, kind_of

NOTHING = 255
"""The color of items without a value; the largest a byte has."""
MOST_LABELS = 20


def planes(catalog: Catalog) -> list[str]:
    """Names of the planes there are."""
    found = []
    for field in catalog.rows.schema:
        kind = field.type
        if (
            pa.types.is_fixed_size_list(kind)
            and kind.list_size == 2
            and pa.types.is_floating(kind.value_type)
        ):
            found.append(field.name)
        elif field.name.endswith("_x") and _is_number(catalog, f"{field.name[:-2]}_y"):
            found += [field.name[:-2]] if _is_number(catalog, field.name) else []
    return found


def plane(catalog: Catalog, name: str) -> tuple[np.ndarray, np.ndarray]:
    """x and y of every item, float32; NaN where there is none.

    Raises:
        Refused: there is no such plane.
    """
    if name not in planes(catalog):
        raise Refused(f"there is no map {name[:60]!r}", 404)
    if name in catalog.names:
        column = catalog.rows[name]
        axes = [pc.list_element(column, axis) for axis in (0, 1)]
    else:
        axes = [catalog.rows[f"{name}_{axis}"] for axis in "xy"]
    x, y = (pc.fill_null(pc.cast(axis, pa.float32()), np.nan).to_numpy() for axis in axes)
    return x, y


def points(catalog: Catalog, name: str) -> bytes:
    """uint32 n, n float32 x, n float32 y, little-endian, in the order of items.

    Raises:
        Refused: there is no such plane.
    """
    x, y = plane(catalog, name)
    return struct.pack("<I", len(catalog)) + x.astype("<f4").tobytes() + y.astype("<f4").tobytes()


def inside(catalog: Catalog, name: str, area: tuple[float, ...]) -> np.ndarray:
    """Which items lie in a polygon, by the even-odd rule: bool. ``area``: x, y, x, y, ... of its corners.

    Raises:
        Refused: there is no such plane, or the area is none.
    """
    if len(area) < 6 or len(area) % 2:
        raise Refused(f"an area of {len(area)} numbers: expected x and y of at least three corners", 400)
    x, y = plane(catalog, name)
    corners = np.array(area, np.float64).reshape(-1, 2)
    (left, top), (right, bottom) = corners.min(0), corners.max(0)
    near = np.flatnonzero((x >= left) & (x <= right) & (y >= top) & (y <= bottom))
    found = np.zeros(len(catalog), bool)
    found[near] = _in_polygon(x[near].astype(np.float64), y[near].astype(np.float64), corners)
    return found


def _in_polygon(x: np.ndarray, y: np.ndarray, corners: np.ndarray) -> np.ndarray:
    odd = np.zeros(len(x), bool)
    for (ax, ay), (bx, by) in pairwise([*corners.tolist(), corners[0].tolist()]):
        if ay == by:
            continue
        crosses = (ay > y) != (by > y)
        odd ^= crosses & (x < (bx - ax) * (y - ay) / (by - ay) + ax)
    return odd


def colors(catalog: Catalog, name: str) -> tuple[bytes, list[str]]:
    """One byte per item, the number of its label or ``NOTHING``, and the labels.

    Columns of numbers are cut into ranges of equal width.

    Raises:
        Refused: there is no such column, or it has too many values to tell apart.
    """
    kind = kind_of(catalog.rows[name].type) if name in catalog.names else None
    if kind == "number":
        return _ranges(catalog.rows[name])
    if kind not in ("text", "bool"):
        raise Refused(f"there is no column {name[:60]!r} to color by", 404)
    column = pc.cast(catalog.rows[name], pa.string())
    values = sorted(pc.unique(column).drop_null().to_pylist())
    if len(values) > MOST_LABELS:
        raise Refused(f"{name} has {len(values)} values: expected at most {MOST_LABELS} to color by", 400)
    numbers = pc.fill_null(pc.index_in(column, pa.array(values, pa.string())), NOTHING).to_numpy()
    return numbers.astype(np.uint8).tobytes(), values


def _ranges(column: pa.ChunkedArray) -> tuple[bytes, list[str]]:
    values = pc.cast(column, pa.float64(), safe=False).to_numpy()
    finite = np.isfinite(values)
    if not finite.any():
        return np.full(len(values), NOTHING, np.uint8).tobytes(), []
    low, high = float(values[finite].min()), float(values[finite].max())
    edges = np.linspace(low, high, 7)
    numbers = np.clip(np.searchsorted(edges, values, "right") - 1, 0, len(edges) - 2)
    labels = [f"{one:.4g} to {other:.4g}" for one, other in pairwise(edges.tolist())]
    return np.where(finite, numbers, NOTHING).astype(np.uint8).tobytes(), labels


def _is_number(catalog: Catalog, name: str) -> bool:
    return name in catalog.names and kind_of(catalog.rows[name].type) == "number"
