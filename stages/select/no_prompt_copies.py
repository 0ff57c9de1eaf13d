"""Rule ``no_prompt_copies``: each prompt once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from stages.stage import SelectStage


@dataclass(frozen=True)
class NoPromptCopies(SelectStage):
    """Drops as ``prompt_copy`` what ``prompt_copies`` found to be a copy."""

    name: ClassVar[str] = "no_prompt_copies"
    version: ClassVar[int] = 1
    reads: ClassVar[tuple[str, ...]] = ("prompt_copy_of",)
    reasons: ClassVar[tuple[str, ...]] = ("prompt_copy",)

    def decide(self, rows: pa.Table) -> pa.ChunkedArray:
        return pc.if_else(pc.is_valid(rows["prompt_copy_of"]), "prompt_copy", pa.scalar(None, pa.string()))
