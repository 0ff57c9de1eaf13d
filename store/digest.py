"""Names made from content: the fingerprint of a setting, the digest of a file or a table."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from store.location import Location

FILES = "files:"
"""What a revision begins with that is the hash of a model's files: then it names the model alone."""


def fingerprint(value: Any) -> str:
    """12 hex digits of the SHA-256 of ``value`` as canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def settings(value: Any) -> Any:
    """A frozen value and everything in it as plain JSON: ``{"name", "version", field: value}``.

    Fields with ``compare=False`` are left out: where something lies makes no other value. So is the folder
    of a model (``models`` of its class: pairs of the fields for a model and its revision) whose revision is
    the hash of its files.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        places = {m for m, by in getattr(value, "models", ()) if getattr(value, by).startswith(FILES)}
        compared = (f.name for f in dataclasses.fields(value) if f.compare and f.name not in places)
        fields = {name: settings(getattr(value, name)) for name in compared}
        own = getattr(value, "name", getattr(value, "kind", type(value).__name__))
        return {"name": own, "version": getattr(value, "version", 1)} | fields
    if isinstance(value, tuple | list):
        return [settings(item) for item in value]
    return value


def file_sha256(location: Location) -> str:
    """SHA-256 of a whole file, hex, read in pieces."""
    with location.open() as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class TableDigest:
    """SHA-256 of a table's values, the same however its rows are cut into batches.

    Per column it hashes the nulls, the values (zero where null) and for strings and lists their
    lengths, each apart from the others, so two tables agree exactly when their column names, types,
    values and row order agree.
    """

    def __init__(self, schema: pa.Schema) -> None:
        self.schema = schema
        self._hashes = {f.name: [hashlib.sha256() for _ in range(_count(f.type))] for f in schema}

    def update(self, batches: Iterable[pa.RecordBatch]) -> TableDigest:
        for batch in batches:
            for name in self.schema.names:
                streams = _streams(batch.column(name))
                for part, chosen in zip(streams, self._hashes[name], strict=True):
                    chosen.update(part)
        return self

    def hexdigest(self) -> str:
        columns = [
            [field.name, str(field.type), [h.hexdigest() for h in self._hashes[field.name]]]
            for field in self.schema
        ]
        return hashlib.sha256(json.dumps(columns).encode()).hexdigest()


def table_digest(table: pa.Table) -> str:
    """SHA-256 of a table's values; see ``TableDigest``."""
    return TableDigest(table.schema).update(table.to_batches()).hexdigest()


def _count(kind: pa.DataType) -> int:
    """How many streams ``_streams`` gives for a type."""
    return 2 + _count(kind.value_type) if _is_list(kind) else 3


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind))


def _streams(column: pa.Array) -> list[bytes]:
    """Nulls, lengths and values of one column piece; of a list its nulls, lengths and its items' streams."""
    nulls = np.asarray(column.is_null().to_numpy(zero_copy_only=False), np.uint8).tobytes()
    if not _is_list(column.type):
        return [nulls, *_parts(column)]
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
    return [nulls, lengths.astype("<i8").tobytes(), *_streams(column.flatten())]


def _parts(column: pa.Array) -> tuple[bytes, bytes]:
    """Lengths (empty for fixed-width types) and values of one column piece, as bytes."""
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        filled = pc.fill_null(column.cast(pa.large_binary()), b"")
        offsets = np.frombuffer(filled.buffers()[1], "<i8")[filled.offset :][: len(filled) + 1]
        values = filled.buffers()[2]
        text = values[int(offsets[0]) : int(offsets[-1])].to_pybytes() if values else b""
        return np.diff(offsets).tobytes(), text
    if pa.types.is_fixed_size_binary(kind):
        return b"", b"".join(item or b"" for item in column.to_pylist())
    if pa.types.is_boolean(kind):
        column = column.cast(pa.uint8())
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        raise TypeError(f"no digest for columns of type {kind}")
    values = pc.fill_null(column, pa.scalar(0, column.type)).to_numpy(zero_copy_only=False)
    return b"", np.ascontiguousarray(values).tobytes()
