"""What can speak for a crop: boxes that are known, a detector, or CLIP. Each names itself as evidence."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from stages.stage import View
from store.errors import MashbillError

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
    model: str = ""
    revision: str = "main"
    min_confidence: float = 0.5

    @property
    def evidence(self) -> str:
        return f"detector:{self.model}@{self.revision}"

    def open(self) -> Score:
        import torch
        from transformers import AutoImageProcessor, AutoModelForObjectDetection

        processor = _load(AutoImageProcessor, self.model, self.revision)
        network = _load(AutoModelForObjectDetection, self.model, self.revision).eval()

        def score(image: Any, row: dict[str, Any], windows: list[Window]) -> list[float] | None:
            if image is None:
                return None
            with torch.inference_mode():
                output = network(**processor(images=image, return_tensors="pt"))
            size = torch.tensor([[image.height, image.width]])
            (found,) = processor.post_process_object_detection(output, self.min_confidence, size)
            boxes, weights = found["boxes"].tolist(), found["scores"].tolist()
            return [mean_kept(boxes, window, weights) for window in windows] if boxes else None

        return score


@dataclass(frozen=True)
class Clip(CropScorer):
    """A ``transformers`` CLIP (hub id or folder): cosine similarity of each window and the caption."""

    kind: ClassVar[str] = "clip"
    reads: ClassVar[tuple[str, ...]] = ("caption",)
    view: ClassVar[View] = View.FULL
    model: str = "openai/clip-vit-large-patch14"
    revision: str = "main"

    @property
    def evidence(self) -> str:
        return f"clip:{self.model}@{self.revision}"

    def open(self) -> Score:
        import torch
        from transformers import AutoModel, AutoProcessor

        processor = _load(AutoProcessor, self.model, self.revision)
        network = _load(AutoModel, self.model, self.revision).eval()
        most_tokens = network.config.text_config.max_position_embeddings

        def score(image: Any, row: dict[str, Any], windows: list[Window]) -> list[float] | None:
            if image is None or not row["caption"]:
                return None
            crops = [image.crop(window) for window in windows]
            inputs = processor(
                text=[row["caption"]],
                images=crops,
                return_tensors="pt",
                padding=True,
                truncation=True,
                max_length=most_tokens,  # not every tokenizer on the hub knows its model's limit
            )
            with torch.inference_mode():
                output = network(**inputs)
            similarity = torch.nn.functional.cosine_similarity(output.image_embeds, output.text_embeds)
            return [float(value) for value in similarity]

        return score


def _load(kind: Any, model: str, revision: str) -> Any:
    try:
        return kind.from_pretrained(model, revision=revision)
    except (OSError, ValueError) as error:
        raise MashbillError(
            f"crop.scorer.model={model!r} at revision {revision!r} cannot be loaded ({error}). "
            "Give the id of a model that can be reached, or the folder it was saved to."
        ) from error


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
