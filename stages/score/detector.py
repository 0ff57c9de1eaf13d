"""An object detector of ``transformers`` as a plain function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from stages.pretrained import load_image_processor, load_network


class Found(NamedTuple):
    """One thing a detector saw: left, top, right, bottom in pixels of the image, confidence 0 to 1."""

    box: list[float]
    confidence: float
    label: str


def open_detector(
    model: str, revision: str, min_confidence: float, setting: str
) -> tuple[Callable[[Any], list[Found]], set[str]]:
    """A function from one ``PIL.Image`` (RGB) to what is seen in it, and the labels the model knows.

    One image at a time: detectors pad the images of a batch to one size, and that moves boxes.

    Raises:
        UsageError: no model is named.
        MashbillError: it cannot be loaded.
    """
    import torch
    from transformers import AutoModelForObjectDetection

    prepare = load_image_processor(model, revision, setting)
    network = load_network(AutoModelForObjectDetection, model, revision, setting)
    labels = network.config.id2label

    def look(image: Any) -> list[Found]:
        with torch.inference_mode():
            output = network(**prepare(images=image, return_tensors="pt").to(network.device))
        size = torch.tensor([[image.height, image.width]])
        (found,) = prepare.post_process_object_detection(output, min_confidence, size)
        parts = (found[name].tolist() for name in ("boxes", "scores", "labels"))
        return [Found(box, score, labels[label]) for box, score, label in zip(*parts, strict=True)]

    return look, set(labels.values())
