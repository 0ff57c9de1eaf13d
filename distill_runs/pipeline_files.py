"""A stock pipeline from a folder or the hub, whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from diffusers import DiffusionPipeline

LIBRARIES = {"diffusers": diffusers, "transformers": transformers}
UNREAD = ("safety_checker", "image_encoder")
"""Parts that training has no use for."""


def load_pipeline(source: str, revision: str | None) -> DiffusionPipeline:
    """The pipeline in float32, on the CPU.

    The libraries load a model that is not whole all the same, with random weights and empty vocabularies in
    the gaps: here that is an error.

    Args:
        source: a folder as it lies on the disk, or a hub id.

    Raises:
        OSError: the model or a part of it is not there, or a part's file lacks tensors. Others of the
            libraries: ``ValueError``, ``AttributeError``, ``SafetensorError``.
    """
    config = DiffusionPipeline.load_config(source, revision=revision)
    parts = {name: kind for name, kind in config.items() if isinstance(kind, list) and kind[0]}
    given: dict[str, Any] = {name: None for name in UNREAD if name in parts}
    lost = [name for name in parts if name not in given and not (Path(source) / name).is_dir()]
    if lost and Path(source).is_dir():
        raise OSError(f"the folder lacks {', '.join(lost)}, which its model_index.json names")
    for name, (library, kind) in parts.items():
        if name not in given and library in LIBRARIES:
            given |= _network(source, revision, name, getattr(LIBRARIES[library], kind))
    return DiffusionPipeline.from_pretrained(source, revision=revision, **given)


def _network(source: str, revision: str | None, name: str, kind: Any) -> dict[str, Any]:
    """The part by its name; nothing where it holds no weights (a tokenizer, a scheduler)."""
    place: dict[str, Any] = {"subfolder": name, "revision": revision, "output_loading_info": True}
    if issubclass(kind, diffusers.ModelMixin):
        found, told = kind.from_pretrained(source, **place)
    elif issubclass(kind, transformers.PreTrainedModel):
        # ignored here, named below: what transformers itself raises does not say which tensor it is
        place |= {"dtype": torch.float32, "ignore_mismatched_sizes": True}
        found, told = kind.from_pretrained(source, **place)
    else:
        return {}
    if missing := sorted(told["missing_keys"]):
        raise OSError(f"the weights of its {name} lack {len(missing)} tensors, such as {missing[0]}")
    if wrong := sorted(told["mismatched_keys"]):
        tensor, there, here = wrong[0]
        raise OSError(
            f"{len(wrong)} tensors of its {name} have other shapes than its config.json says: {tensor} has "
            f"{tuple(there)}, expected {tuple(here)}"
        )
    return {name: found}
