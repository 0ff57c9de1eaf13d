"""Stage ``text_in_image``: how much of what is left of the picture is lettering."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import pyarrow as pa

from stages.image.cropped import CROP, cropped
from stages.score.detector import Found, open_detector
from stages.score.image_probability import check_labels
from stages.stage import Batch, MapStage, View


@dataclass(frozen=True)
class TextInImage(MapStage):
    """``text_area``: share, 0 to 1, of the crop's area that lies in any text box; ``text_boxes``: how many.

    ``model`` is a ``transformers`` object detector (hub id or folder), ``labels`` those of its classes that
    are text; boxes under ``min_confidence`` do not count. There is no default model: without one both are
    null and no image is read, as they are without an image or a crop. Boxes that overlap count once. Cost:
    the detector's, one image at a time.
    """

    name: ClassVar[str] = "text_in_image"
    version: ClassVar[int] = 1
    writes: ClassVar[pa.Schema] = pa.schema([("text_area", pa.float32()), ("text_boxes", pa.int32())])
    models: ClassVar[tuple[tuple[str, str], ...]] = (("model", "revision"),)
    model: str = ""
    revision: str = "main"
    labels: tuple[str, ...] = ()
    min_confidence: float = 0.5

    @property
    def reads(self) -> tuple[str, ...]:  # type: ignore[override]  # the model decides
        return CROP if self.model else ()

    @property
    def view(self) -> View:  # type: ignore[override]
        return View.FULL if self.model else View.NONE

    def open(self) -> Callable[[Batch], dict[str, Sequence[Any]]]:
        if not self.model:
            return lambda batch: {name: [None] * batch.size for name in self.writes.names}
        setting = "text_in_image.model"
        look, has = open_detector(self.model, self.revision, self.min_confidence, setting)
        check_labels(self.labels, has, "text_in_image.labels", self.model)

        def run(batch: Batch) -> dict[str, Sequence[Any]]:
            rows = [self._row(look, cropped(batch, i)) for i in range(batch.size)]
            return {"text_area": [area for area, _ in rows], "text_boxes": [count for _, count in rows]}

        return run

    def _row(self, look: Callable[[Any], list[Found]], image: Any) -> tuple[float | None, int | None]:
        if image is None:
            return None, None
        boxes = [found.box for found in look(image) if found.label in self.labels]
        return covered(boxes, image.width, image.height), len(boxes)


def covered(boxes: Sequence[Sequence[float]], width: int, height: int) -> float:
    """Share (0 to 1) of a ``width`` x ``height`` image that lies in at least one box."""
    inside = [(max(x0, 0.0), max(y0, 0.0), min(x1, width), min(y1, height)) for x0, y0, x1, y1 in boxes]
    xs = sorted({x for left, _, right, _ in inside for x in (left, right)})
    area = 0.0
    for x0, x1 in pairwise(xs):
        reached = 0.0
        for _, top, _, bottom in sorted((box for box in inside if box[0] <= x0 and box[2] >= x1), key=_top):
            area += (x1 - x0) * max(0.0, bottom - max(top, reached))
            reached = max(reached, bottom)
    return min(area / (width * height), 1.0)


def _top(box: tuple[float, float, float, float]) -> float:
    return box[1]
