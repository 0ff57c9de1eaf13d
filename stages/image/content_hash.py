"""The hash and size of an image's source bytes: equal files have equal hashes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa

from stages.stage import Batch, MapStage, View


@dataclass(frozen=True)
class ContentHash(MapStage):
    """``sha256``: 64 hex digits of the source bytes; ``num_bytes`` of them. Null without an image."""

    name: ClassVar[str] = "content_hash"
    version: ClassVar[int] = 1
    writes: ClassVar[pa.Schema] = pa.schema([("sha256", pa.string()), ("num_bytes", pa.int64())])
    view: ClassVar[View] = View.BYTES

    def open(self) -> Callable[[Batch], dict[str, Sequence[Any]]]:
        return _hash


def _hash(batch: Batch) -> dict[str, Sequence[Any]]:
    return {
        "sha256": [None if data is None else hashlib.sha256(data).hexdigest() for data in batch.images],
        "num_bytes": [None if data is None else len(data) for data in batch.images],
    }
