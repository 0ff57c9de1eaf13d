"""What the grid and the cluster view ask of whole columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curation_ui.access import Refused
from curation_ui.catalog import Catalog, kind_of

MOST_VALUES = 30


def best_first(catalog: Catalog, items: Sequence[int], by: str) -> list[int]:
    """Items by a column's number, the largest first and those without one last; as they are without ``by``.

    Raises:
        Refused: there is no such column of numbers.
    """
    if not by:
        return list(items)
    if by not in numbers(catalog):
        raise Refused(
            f"there is no column of numbers {by[:60]!r}: expected {', '.join(numbers(catalog))}", 400
        )
    values = {item: catalog.value(by, item) for item in items}
    return sorted(items, key=lambda item: (values[item] is None, -(values[item] or 0), item))


def numbers(catalog: Catalog) -> list[str]:
    return [field.name for field in catalog.rows.schema if kind_of(field.type) == "number"]


def shared_clusters(catalog: Catalog) -> np.ndarray:
    """Codes of the clusters with more than one item, the largest first."""
    sizes = catalog.clusters.sizes
    order = np.argsort(-sizes, kind="stable")
    return np.asarray(order[sizes[order] > 1])


def columns(catalog: Catalog) -> list[dict[str, Any]]:
    """Every column a query may name: its type, its range, and its values where they are few."""
    found = []
    for field in catalog.rows.schema:
        kind = kind_of(field.type)
        if kind is not None:
            found.append({"name": field.name, "type": kind, **_range(catalog.rows[field.name], kind)})
    return found


def _range(column: pa.ChunkedArray, kind: str) -> dict[str, Any]:
    low = high = None
    values: list[Any] = []
    if kind == "number":
        found = pc.min_max(column).as_py()
        low, high = (float(found[end]) if found[end] is not None else None for end in ("min", "max"))
    elif kind == "text":
        few = pc.unique(column.slice(0, 10_000)).drop_null()
        if len(few) <= MOST_VALUES:
            unique = pc.unique(column).drop_null()
            values = sorted(unique.to_pylist()) if len(unique) <= MOST_VALUES else []
    return {"min": low, "max": high, "values": values}
