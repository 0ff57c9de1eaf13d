"""Writing trained models: half the bytes on disk, computed with as float32."""

from __future__ import annotations

from pathlib import Path

from diffusers import ModelMixin
from transformers import PreTrainedModel


def save_half(model: PreTrainedModel | ModelMixin, folder: Path) -> None:
    """Save weights as float16 safetensors under ``folder``; the stock ``from_pretrained`` reads them as
    float32, because the configuration says so (transformers) or by default (diffusers)."""
    if isinstance(model, PreTrainedModel):
        halves = {name: weights.half() for name, weights in model.state_dict().items()}
        model.save_pretrained(folder, state_dict=halves)
    else:
        model.half().save_pretrained(folder)
        model.float()
