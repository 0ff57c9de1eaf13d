"""Rule ``caption_length``: a caption that is there, and is not a whole page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from stages.stage import SelectStage


@dataclass(frozen=True)
class CaptionLength(SelectStage):
    """Drops captions with no characters, or with more than ``max_chars`` of them.

    CLIP reads 77 tokens and T5 300 at most in these families: a longer text is a page, not a caption.
    """

    name: ClassVar[str] = "caption_length"
    version: ClassVar[int] = 1
    reasons: ClassVar[tuple[str, ...]] = ("caption_missing", "caption_too_long")
    max_chars: int = 4000
    column: str = "caption"

    @property
    def reads(self) -> tuple[str, ...]:  # type: ignore[override]  # `column` decides
        return (self.column,)

    def decide(self, rows: pa.Table) -> pa.ChunkedArray:
        length = pc.fill_null(pc.utf8_length(rows[self.column]), 0)
        long = pc.if_else(
            pc.greater(length, self.max_chars), "caption_too_long", pa.scalar(None, pa.string())
        )
        return pc.if_else(pc.equal(length, 0), "caption_missing", long)
