"""Whether an image can be decoded, and the reason where not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa

from stages.stage import Batch, MapStage, View


@dataclass(frozen=True)
class Decode(MapStage):
    """``decode_error``: the reason code of an image that cannot be decoded.

    Null where it can, and where there was no image at all (that sample has the source's reason).
    A JPEG counts as decoded when every block of it was read, at whatever scale.
    """

    name: ClassVar[str] = "decode"
    version: ClassVar[int] = 1
    writes: ClassVar[pa.Schema] = pa.schema([("decode_error", pa.string())])
    view: ClassVar[View] = View.SMALL

    def open(self) -> Callable[[Batch], dict[str, Sequence[Any]]]:
        return _errors


def _errors(batch: Batch) -> dict[str, Sequence[Any]]:
    return {"decode_error": list(batch.broken)}
