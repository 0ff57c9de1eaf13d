"""Text-to-image pipelines of diffusers: which class a model has, what that takes, loading it.

What a class takes is known before its weights are there: ``model_index.json`` names it.
"""

from __future__ import annotations

import inspect
import logging
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from stages.generate.schedulers import Scheduler
from stages.pretrained import load, on_device
from store.errors import UsageError

SETTING = "source.model"
DTYPES = ("float32", "bfloat16", "float16")
FIXED = {"clean_caption": False, "use_resolution_binning": False}
"""Arguments of some classes, always given: prompts stay as they are, whichever packages are installed,
and an image is made at the size that was asked for, not at another and scaled."""


@dataclass(frozen=True)
class Call:
    """What a pipeline is asked for beside prompts; None, 0 and "" leave it to the pipeline."""

    steps: int | None = None
    guidance_scale: float | None = None
    width: int = 0
    height: int = 0
    negative_prompt: str = ""
    max_sequence_length: int | None = None

    def arguments(self, kind: type) -> dict[str, Any]:
        """The arguments for one call of a pipeline of this class.

        Raises:
            UsageError: the class does not take one that is asked for, or would not use it.
        """
        asked = {
            "num_inference_steps": ("steps", self.steps),
            "guidance_scale": ("guidance_scale", self.guidance_scale),
            "width": ("width", self.width or None),
            "height": ("height", self.height or None),
            "negative_prompt": ("negative_prompt", self.negative_prompt or None),
            "max_sequence_length": ("max_sequence_length", self.max_sequence_length),
        }
        takes = _takes(kind)
        for name, (setting, value) in asked.items():
            if value is not None and name not in takes:
                raise UsageError(f"source.{setting}={value!r}: {kind.__name__} takes no {name}; leave it out")
        if self.negative_prompt and "true_cfg_scale" in takes:
            raise UsageError(
                f"source.negative_prompt={self.negative_prompt!r}: {kind.__name__} reads it only with "
                "true_cfg_scale, which is not offered here; leave it out"
            )
        given = {name: value for name, (_, value) in asked.items() if value is not None}
        return given | {name: value for name, value in FIXED.items() if name in takes}

    def made_with(self, kind: type) -> dict[str, Any]:
        """``steps`` and ``guidance_scale`` as they are in effect; null where the class has no such thing."""
        takes = _takes(kind)
        steps = takes.get("num_inference_steps") if self.steps is None else self.steps
        scale = takes.get("guidance_scale") if self.guidance_scale is None else self.guidance_scale
        return {"steps": steps, "guidance_scale": scale}


def _takes(kind: type) -> dict[str, Any]:
    """The arguments of a call of the class, with their defaults."""
    parameters = inspect.signature(kind.__call__).parameters
    return {name: parameter.default for name, parameter in parameters.items()}


class _Index:
    """``model_index.json``, by the protocol of ``pretrained.load``."""

    @staticmethod
    def from_pretrained(model: str, revision: str) -> dict[str, Any]:
        from diffusers import DiffusionPipeline

        return dict(DiffusionPipeline.load_config(model, revision=revision))


def pipeline_class(model: str, revision: str) -> type:
    """The class of the model's pipeline.

    Raises:
        UsageError: no model is named, or diffusers has no such class that makes images from texts.
        MashbillError: there is no such model.
    """
    return _class_of(load(_Index, model, revision, SETTING), model)


def _class_of(index: dict[str, Any], model: str) -> type:
    import diffusers

    name = index.get("_class_name", "")
    kind = getattr(diffusers, name, None)
    if not (inspect.isclass(kind) and {"prompt", "generator", "output_type"} <= set(_takes(kind))):
        raise UsageError(
            f"{SETTING}={model!r} is a {name or 'model without a pipeline class'}, which diffusers "
            f"{diffusers.__version__} does not have as a text-to-image pipeline. Give one that it has."
        )
    return kind


def check(model: str, revision: str, call: Call, scheduler: Scheduler) -> None:
    """See, before anything is planned, that the model is there and can do what is asked.

    Raises:
        UsageError: it cannot; says which setting is wrong.
        MashbillError: there is no such model.
    """
    index = load(_Index, model, revision, SETTING)
    call.arguments(_class_of(index, model))
    scheduler.check(index["scheduler"][1])
    if index.get("vae", [None, None])[1] == "AutoencoderKL" and (call.width or call.height):
        vae = load(_Part, model, revision, SETTING, part="vae")
        factor, patch = 2 ** (len(vae["block_out_channels"]) - 1), _patch(index, model, revision)
        for setting, size in (("width", call.width), ("height", call.height)):
            if size % (factor * patch):
                near = max(round(size / (factor * patch)), 1) * factor * patch
                cells = f", its transformer takes {patch} x {patch} at once" if patch > 1 else ""
                raise UsageError(
                    f"source.{setting}={size}: the VAE of {model} has a cell for {factor} pixels{cells}, "
                    f"so that sizes are multiples of {factor * patch}; such as {near}"
                )


PACKED = ("FluxTransformer2DModel", "Flux2Transformer2DModel", "QwenImageTransformer2DModel")
"""Transformers whose pipelines put 2 x 2 cells together themselves: their own patches are of one."""


def _patch(index: dict[str, Any], model: str, revision: str) -> int:
    """Side, in cells of the VAE, of what the pipeline's transformer takes as one token; 1 for a UNet."""
    kind = index.get("transformer", [None, None])[1]
    if kind is None:
        return 1
    side = load(_Part, model, revision, SETTING, part="transformer").get("patch_size", 1)
    return 2 if kind in PACKED else side if isinstance(side, int) else 1


class _Part:
    """The configuration of a part of a pipeline, by the protocol of ``pretrained.load``."""

    @staticmethod
    def from_pretrained(model: str, revision: str, part: str) -> dict[str, Any]:
        from diffusers import AutoencoderKL

        return dict(AutoencoderKL.load_config(model, subfolder=part, revision=revision))


@lru_cache(maxsize=1)
def opened(model: str, revision: str, dtype: str, scheduler: Scheduler) -> Any:
    """The pipeline, loaded once per process, on the GPU where there is one.

    By ``AutoPipelineForText2Image``; a class it does not know by ``DiffusionPipeline``.

    Raises:
        MashbillError: it cannot be loaded.
    """
    import torch
    from diffusers import AutoPipelineForText2Image, DiffusionPipeline
    from diffusers.pipelines.auto_pipeline import AUTO_TEXT2IMAGE_PIPELINES_MAPPING

    known = pipeline_class(model, revision) in AUTO_TEXT2IMAGE_PIPELINES_MAPPING.values()
    kind = AutoPipelineForText2Image if known else DiffusionPipeline
    pipeline = load(kind, model, revision, SETTING, dtype=getattr(torch, dtype))
    scheduler.put_into(pipeline)
    if getattr(pipeline, "watermark", None) is not None:
        pipeline.watermark = None  # SDXL's depends on a package that may or may not be installed
    pipeline.set_progress_bar_config(disable=True)
    # it has a line for every prompt that its encoder cuts
    logging.getLogger(type(pipeline).__module__).setLevel(logging.ERROR)
    return on_device(pipeline, model, SETTING)
