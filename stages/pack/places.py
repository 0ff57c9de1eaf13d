"""Where each sample lies in its pack shard: a Parquet file beside it, so that readers need not walk it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from store.location import Location
from store.parquet import table_bytes
from store.tar import Member


def places_of(location: Location) -> Location:
    """The file beside a shard: ``train-00000.parquet`` of ``train-00000.tar``."""
    return location.parent / f"{location.name.removesuffix('.tar')}.parquet"


def place_row(key: str, size: tuple[int, int], members: Sequence[Member]) -> dict[str, Any]:
    """``key, width, height`` and, for each extension, ``<extension>_offset`` and ``<extension>_size``."""
    row: dict[str, Any] = {"key": key, "width": size[0], "height": size[1]}
    for member in members:
        extension = member.name.partition(".")[2]
        row |= {f"{extension}_offset": member.offset, f"{extension}_size": member.size}
    return row


def write_places(location: Location, rows: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Write the file beside the shard ``location``; returns its name and SHA-256 for ``pack.json``.

    A column is there when any sample has such a member, and null for the others.
    """
    names = list(dict.fromkeys(name for row in rows for name in row)) or ["key", "width", "height"]
    kinds = {name: pa.string() if name == "key" else pa.int64() for name in names}
    columns = {name: pa.array([row.get(name) for row in rows], kind) for name, kind in kinds.items()}
    data = table_bytes(pa.table(columns))
    places_of(location).write_bytes(data)
    return {"places": places_of(location).name, "places_sha256": hashlib.sha256(data).hexdigest()}
