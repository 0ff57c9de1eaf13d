"""What speaks for a probability of an image: a number that came with it, else a classifier."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from stages.image.cropped import CROP, cropped
from stages.pretrained import load_image_processor, load_network, named
from stages.score.batching import Batching
from stages.stage import Batch, View
from store.errors import UsageError


@dataclass(frozen=True)
class Asked:
    """Where one stage looks: ``field`` of ``meta``, then ``model``, whose ``labels`` count."""

    stage: str
    field: str
    model: str
    revision: str
    labels: tuple[str, ...]
    batch_size: int

    @property
    def reads(self) -> tuple[str, ...]:
        return ("meta", *CROP) if self.model else ("meta",)

    @property
    def view(self) -> View:
        return View.FULL if self.model else View.NONE

    def open(self) -> Callable[[Batch], dict[str, Sequence[Any]]]:
        """Writes ``stage`` and ``stage_evidence``."""
        classify = open_classifier(self) if self.model else None
        batching = Batching(self.stage, self.batch_size)

        def run(batch: Batch) -> dict[str, Sequence[Any]]:
            values = [known(meta, self.field) for meta in batch.columns["meta"]]
            evidence = [None if value is None else f"meta:{self.field}" for value in values]
            if classify is not None:
                images: list[Any] = [cropped(batch, i) for i in range(batch.size)]
                rows = [i for i in range(batch.size) if values[i] is None and images[i] is not None]
                told = batching.scored(classify, [images[i] for i in rows])
                for i, value in zip(rows, told, strict=True):
                    values[i], evidence[i] = value, f"classifier:{named(self.model, self.revision)}"
            return {self.stage: values, f"{self.stage}_evidence": evidence}

        return run


def known(meta: str | None, field: str) -> float | None:
    """The probability a ``meta`` object holds under ``field``; None for anything but a number 0 to 1."""
    value = json.loads(meta).get(field) if meta else None
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        number = float(value)  # a CSV brings text
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) and 0 <= number <= 1 else None


def open_classifier(asked: Asked) -> Callable[[Sequence[Any]], list[float]]:
    """A function from ``PIL.Image`` (RGB) to the probability of each that any of the labels holds.

    The sum of the labels' softmax; for a multi-label model the largest of their sigmoids.

    Raises:
        UsageError: no label is named, or one the model does not have.
    """
    import torch
    from transformers import AutoModelForImageClassification

    name = (asked.model, asked.revision, f"{asked.stage}.model")
    prepare = load_image_processor(*name)
    network = load_network(AutoModelForImageClassification, *name)
    places = {label: place for place, label in network.config.id2label.items()}
    check_labels(asked.labels, set(places), f"{asked.stage}.labels", asked.model)
    counted = [places[label] for label in asked.labels]
    several = network.config.problem_type == "multi_label_classification"

    def classify(images: Sequence[Any]) -> list[float]:
        with torch.inference_mode():
            inputs = prepare(images=list(images), return_tensors="pt").to(network.device)
            logits_BC = network(**inputs).logits.float()
            if several:
                return [float(p) for p in logits_BC.sigmoid()[:, counted].amax(dim=1)]
            return [min(float(p), 1.0) for p in logits_BC.softmax(dim=1)[:, counted].sum(dim=1)]

    return classify


def check_labels(labels: tuple[str, ...], has: set[str], setting: str, model: str) -> None:
    """Raises ``UsageError`` unless every label is one of the model's, and there is one."""
    unknown = [label for label in labels if label not in has]
    if unknown or not labels:
        what = f"{unknown[0]!r} is no label of {model}" if unknown else "is empty"
        raise UsageError(f"{setting}: {what}; give some of: {', '.join(sorted(has)[:40])}")
