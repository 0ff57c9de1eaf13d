"""How well a text-to-image model of the tiny world draws what it is asked for.

Scenes that no model was trained on are described to it, and the captioner reads its pictures back. What the
captioner itself reads wrongly counts against the model: its accuracy on drawn pictures, which is in its own
card, is the most that a model can reach.
"""

from __future__ import annotations

from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DiffusionPipeline
from numpy.typing import NDArray
from transformers import AutoModelForImageTextToText, AutoProcessor

from store.errors import UsageError
from store.shipped import shipped
from tinyworld.accuracy import attribute_accuracy
from tinyworld.caption import caption
from tinyworld.scene import Scene, random_scene
from tinyworld.train.captioner import read_images
from tinyworld.train.corpus import EVALUATION_SEED
from tinyworld.train.pipelines import MODELS

BATCH = 50


def judge(
    folder: str, scenes: int, steps: int, guidance_scale: float, models: Path = MODELS
) -> dict[str, float]:
    """``attribute_accuracy`` of a stock pipeline on ``scenes`` evaluation scenes, from long captions.

    ``models``: where the captioner lies.

    Raises:
        UsageError: there is no such pipeline, or a number that cannot be.
    """
    if scenes < 1 or steps < 1:
        raise UsageError(f"--scenes {scenes} --steps {steps}: expected 1 or more")
    asked = [random_scene(EVALUATION_SEED + i) for i in range(scenes)]
    try:
        pipeline = DiffusionPipeline.from_pretrained(shipped(folder))
    except (OSError, ValueError) as error:
        raise UsageError(f"{folder} holds no pipeline that diffusers loads: {error}") from error
    pictures = draw_scenes(pipeline, asked, steps, guidance_scale)
    captioner = AutoModelForImageTextToText.from_pretrained(models / "captioner").eval()
    processor = AutoProcessor.from_pretrained(models / "captioner")
    return attribute_accuracy(asked, read_images(captioner, processor, pictures))


def draw_scenes(
    pipeline: DiffusionPipeline, scenes: list[Scene], steps: int, guidance_scale: float
) -> NDArray[np.uint8]:
    """A picture of each scene's long caption by the stock pipeline: uint8 [N, H, W, 3].

    The noise of a picture is drawn from its number alone.
    """
    pipeline.set_progress_bar_config(disable=True)
    extra = _stated(pipeline)
    parts = []
    for first in range(0, len(scenes), BATCH):
        part = scenes[first : first + BATCH]
        drawn = pipeline(
            [caption(scene) for scene in part],
            num_inference_steps=steps,
            guidance_scale=guidance_scale,
            generator=[torch.Generator().manual_seed(first + i) for i in range(len(part))],
            output_type="np",
            **extra,
        ).images
        parts.append((drawn * 255).round().astype(np.uint8))
    return np.concatenate(parts)


def _stated(pipeline: DiffusionPipeline) -> dict[str, Any]:
    """What a call must say to a stock pipeline whose defaults are those of large models: SD3 pads texts to
    256 tokens, and PixArt takes only sizes of its tables."""
    tokenizer = getattr(pipeline, "tokenizer_3", None)
    said: dict[str, Any] = {"max_sequence_length": tokenizer.model_max_length} if tokenizer else {}
    if "use_resolution_binning" in signature(pipeline.__call__).parameters:
        said["use_resolution_binning"] = False
    return said
