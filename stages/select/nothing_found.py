"""Rule ``nothing_found``: no sample of which a column says that something is in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from stages.stage import SelectStage


@dataclass(frozen=True)
class NothingFound(SelectStage):
    """Drops samples whose text ``column`` (``caption_personal``, ``caption_boilerplate``) is not empty.

    Null, which says that nobody looked, stays. The reason is the column's name; which kinds they were
    stands in the column. The rule is named by its column, so that a recipe can have one for each.
    """

    version: ClassVar[int] = 1
    column: str

    @property
    def name(self) -> str:  # type: ignore[override]  # the column decides
        return f"no_{self.column}"

    @property
    def reads(self) -> tuple[str, ...]:  # type: ignore[override]
        return (self.column,)

    @property
    def reasons(self) -> tuple[str, ...]:  # type: ignore[override]
        return (self.column,)

    def decide(self, rows: pa.Table) -> pa.ChunkedArray:
        found = pc.greater(pc.utf8_length(rows[self.column]), 0)
        return pc.if_else(pc.fill_null(found, False), self.column, pa.scalar(None, pa.string()))
