"""Rule ``readable``: the image can be decoded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from stages.stage import SelectStage


@dataclass(frozen=True)
class Readable(SelectStage):
    """Drops what ``size`` or ``decode`` could not read; the reason is theirs (``truncated``, ...)."""

    name: ClassVar[str] = "readable"
    version: ClassVar[int] = 1
    reads: ClassVar[tuple[str, ...]] = ("header_error", "decode_error")

    def decide(self, rows: pa.Table) -> pa.ChunkedArray:
        return pc.coalesce(rows["header_error"], rows["decode_error"])
