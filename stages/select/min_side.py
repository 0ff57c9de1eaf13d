"""Rule ``min_side``: no image with a side under so many pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from stages.stage import SelectStage


@dataclass(frozen=True)
class MinSide(SelectStage):
    """Drops samples whose shorter side is under ``min_px`` (EdgeFusion 2.2: 300)."""

    name: ClassVar[str] = "min_side"
    version: ClassVar[int] = 1
    reads: ClassVar[tuple[str, ...]] = ("width", "height")
    reasons: ClassVar[tuple[str, ...]] = ("too_small",)
    min_px: int = 300

    def decide(self, rows: pa.Table) -> pa.ChunkedArray:
        small = pc.less(pc.min_element_wise(rows["width"], rows["height"]), self.min_px)
        return pc.if_else(small, "too_small", pa.scalar(None, pa.string()))
