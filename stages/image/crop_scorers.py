"""What can speak for a crop: boxes that are known, a detector, or CLIP. Each names itself as evidence."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from stages.pretrained import named
from stages.score.detector import open_detector
from stages.score.dual_encoder import open_dual_encoder
from stages.stage import View

Window = tuple[int, int, int, int]
Score = Callable[[Any, dict[str, Any], list[Window]], list[float] | None]
"""(image at the scorer's view, its columns, windows) to a score per window, or None: no evidence."""


class CropScorer(ABC):
    """Scores candidate windows of one image; higher is better, in a unit of its own."""

    kind: ClassVar[str]
    version: ClassVar[int] = 1
    reads: ClassVar[tuple[str, ...]] = ()
    view: ClassVar[View] = View.NONE

    @property
    def evidence(self) -> str:
        """How the column ``crop_evidence`` calls this scorer."""
        return self.kind

    @abstractmethod
    def open(self) -> Score:
        """Load what is needed and return the scoring function."""


@dataclass(frozen=True)
class Center(CropScorer):
    """No model, no evidence: the centre stays."""

    kind: ClassVar[str] = "center"

    def open(self) -> Score:
        return lambda image, row, windows: None


@dataclass(frozen=True)
class KnownBoxes(CropScorer):
    """Subject boxes the source brought along: the score is the mean share of each box kept (0 to 1).

    ``field`` of ``meta`` holds ``[[left, top, right, bottom], ...]`` in pixels of the upright image.
    """

    kind: ClassVar[str] = "known_boxes"
    reads: ClassVar[tuple[str, ...]] = ("meta",)
    field: str = "boxes"

    def open(self) -> Score:
        def score(image: Any, row: dict[str, Any], windows: list[Window]) -> list[float] | None:
            boxes = boxes_in(row["meta"], self.field)
            return [mean_kept(boxes, window) for window in windows] if boxes else None

        return score


@dataclass(frozen=True)
class Detector(CropScorer):
    """A ``transformers`` object detector (hub id or folder): mean share kept of what it finds.

    Boxes count by their confidence; those under ``min_confidence`` are not looked at.
    """

    kind: ClassVar[str] = "detector"
    view: ClassVar[View] = View.FULL
    models: ClassVar[tuple[tuple[str, str], ...]] = (("model", "revision"),)
    model: str = ""
    revision: str = "main"
    min_confidence: float = 0.5

    @property
    def evidence(self) -> str:
        return f"detector:{named(self.model, self.revision)}"

    def open(self) -> Score:
        look, _ = open_detector(self.model, self.revision, self.min_confidence, "crop.scorer.model")

        def score(image: Any, row: dict[str, Any], windows: list[Window]) -> list[float] | None:
            found = [] if image is None else look(image)
            boxes, weights = [one.box for one in found], [one.confidence for one in found]
            return [mean_kept(boxes, window, weights) for window in windows] if boxes else None

        return score


@dataclass(frozen=True)
class Clip(CropScorer):
    """Cosine similarity of each window and the caption, by CLIP; see ``stages.score.clip_similarity``."""

    kind: ClassVar[str] = "clip"
    reads: ClassVar[tuple[str, ...]] = ("caption",)
    view: ClassVar[View] = View.FULL
    models: ClassVar[tuple[tuple[str, str], ...]] = (("model", "revision"),)
    model: str = "openai/clip-vit-large-patch14"
    revision: str = "main"

    @property
    def evidence(self) -> str:
        return f"clip:{named(self.model, self.revision)}"

    def open(self) -> Score:
        encoder = open_dual_encoder(self.model, self.revision, "crop.scorer.model")

        def score(image: Any, row: dict[str, Any], windows: list[Window]) -> list[float] | None:
            if image is None or not row["caption"]:
                return None
            windows_BD = encoder.embed_images([image.crop(window) for window in windows])
            (caption_D,), _ = encoder.embed_texts([row["caption"]])
            return [float(value) for value in windows_BD @ caption_D]

        return score


def boxes_in(meta: str | None, field: str) -> list[list[float]]:
    """The boxes a ``meta`` object holds under ``field``; a JSON text in it is read too.

    None where that is anything else than a list of boxes: the field is the source's, not ours.
    """
    value = json.loads(meta).get(field) if meta else None
    try:
        listed = json.loads(value) if isinstance(value, str) else value
        boxes = [[float(number) for number in box[:4]] for box in listed or []]
    except (TypeError, ValueError):
        return []
    return boxes if all(len(box) == 4 for box in boxes) else []


def mean_kept(
    boxes: Sequence[Sequence[float]], window: Window, weights: Sequence[float] | None = None
) -> float:
    """Mean over boxes of the share (0 to 1) of each box's area that lies in the window."""
    kept = [_share(box, window) for box in boxes]
    counted = list(weights) if weights is not None else [1.0] * len(kept)
    return sum(k * w for k, w in zip(kept, counted, strict=True)) / sum(counted)


def _share(box: Sequence[float], window: Window) -> float:
    left, top, right, bottom = box
    area = (right - left) * (bottom - top)
    if area <= 0:
        return 0.0
    wide = min(right, window[2]) - max(left, window[0])
    tall = min(bottom, window[3]) - max(top, window[1])
    return max(wide, 0.0) * max(tall, 0.0) / area
