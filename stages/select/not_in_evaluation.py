"""Rule ``not_in_evaluation``: no copy of an image or caption that the model is to be tested on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from stages.stage import SelectStage


@dataclass(frozen=True)
class NotInEvaluation(SelectStage):
    """Drops what ``decontaminate`` found in an evaluation set; the reason of the image comes first."""

    name: ClassVar[str] = "not_in_evaluation"
    version: ClassVar[int] = 1
    reads: ClassVar[tuple[str, ...]] = ("evaluation_image", "evaluation_caption")
    reasons: ClassVar[tuple[str, ...]] = ("in_evaluation_image", "in_evaluation_caption")

    def decide(self, rows: pa.Table) -> pa.ChunkedArray:
        none = pa.scalar(None, pa.string())
        caption = pc.if_else(rows["evaluation_caption"].is_valid(), "in_evaluation_caption", none)
        return pc.if_else(rows["evaluation_image"].is_valid(), "in_evaluation_image", caption)
