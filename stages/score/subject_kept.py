"""Stage ``subject_kept``: how much of the known subjects the chosen crop keeps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa

from stages.image.crop_scorers import boxes_in, mean_kept
from stages.stage import Batch, MapStage

CROP = ("crop_left", "crop_top", "crop_right", "crop_bottom")


@dataclass(frozen=True)
class SubjectKept(MapStage):
    """Mean share (0 to 1) of each box of ``meta[field]`` that lies in the crop; null without boxes."""

    name: ClassVar[str] = "subject_kept"
    version: ClassVar[int] = 1
    reads: ClassVar[tuple[str, ...]] = ("meta", *CROP)
    writes: ClassVar[pa.Schema] = pa.schema([("subject_kept", pa.float32())])
    field: str = "truth_boxes"

    def open(self) -> Callable[[Batch], dict[str, Sequence[Any]]]:
        def run(batch: Batch) -> dict[str, Sequence[Any]]:
            windows = zip(*(batch.columns[name] for name in CROP), strict=True)
            pairs = zip(batch.columns["meta"], windows, strict=True)
            return {"subject_kept": [self._kept(meta, window) for meta, window in pairs]}

        return run

    def _kept(self, meta: str | None, window: tuple[int, int, int, int]) -> float | None:
        boxes = boxes_in(meta, self.field)
        return mean_kept(boxes, window) if boxes and window[0] is not None else None
