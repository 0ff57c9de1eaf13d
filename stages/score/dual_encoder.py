"""Encoders of pictures and texts into one space: CLIP, SigLIP and their kin.

B batch, D width of the shared space.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stages.pretrained import device, load, load_image_processor, load_network
from store.errors import MashbillError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

OPEN_CLIP = "open_clip:"
"""What a model's name begins with that ``open_clip`` loads: ``open_clip:ViT-B-32/laion2b_s34b_b79k``."""


@dataclass(frozen=True)
class DualEncoder:
    """Two functions into one space; both give float32 [B, D] of length 1, on the CPU.

    ``embed_images`` takes ``PIL.Image`` in RGB and prepares them as the model was trained, which for CLIP
    means its middle square. ``embed_texts`` cuts texts on the right at the model's limit and also says
    which it cut (None where the library does not tell).
    """

    embed_images: Callable[[Sequence[Any]], Tensor]
    embed_texts: Callable[[Sequence[str]], tuple[Tensor, list[bool | None]]]


def open_dual_encoder(model: str, revision: str, setting: str) -> DualEncoder:
    """A hub id, folder or shipped name of ``transformers``, or ``open_clip:NAME/PRETRAINED``.

    Args:
        setting: path of the recipe's field that names the model, for the error.

    Raises:
        UsageError: no model is named, or ``open_clip`` is not installed.
        MashbillError: the model cannot be loaded, or does not encode both pictures and texts.
    """
    if model.startswith(OPEN_CLIP):
        return _open_clip(model, setting)
    return _transformers(model, revision, setting)


def _transformers(model: str, revision: str, setting: str) -> DualEncoder:
    import torch
    from transformers import AutoModel, AutoTokenizer

    prepare = load_image_processor(model, revision, setting)
    tokenizer = load(AutoTokenizer, model, revision, setting)
    network = load_network(AutoModel, model, revision, setting, dtype=torch.float32)
    if not (hasattr(network, "get_image_features") and hasattr(network, "get_text_features")):
        raise MashbillError(
            f"{setting}={model!r} is a {type(network).__name__}, which does not encode both pictures and "
            "texts: give a CLIP or SigLIP model, such as openai/clip-vit-large-patch14"
        )
    tokenizer.truncation_side = "right"
    # Neither limit can be trusted alone: some tokenizers know none, some tables have unused positions.
    limit = min(network.config.text_config.max_position_embeddings, tokenizer.model_max_length)
    # SigLIP learned from padded texts without a mask.
    padded = network.config.model_type.startswith("siglip")
    options = {"padding": "max_length" if padded else True, "return_attention_mask": not padded}
    options |= {"truncation": True, "max_length": limit, "return_tensors": "pt"}

    def embed_images(images: Sequence[Any]) -> Tensor:
        inputs = prepare(images=list(images), return_tensors="pt").to(network.device)
        with torch.inference_mode():
            return _unit(network.get_image_features(**inputs).pooler_output)

    def embed_texts(texts: Sequence[str]) -> tuple[Tensor, list[bool | None]]:
        counts = [len(ids) for ids in tokenizer(list(texts), verbose=False)["input_ids"]]
        inputs = tokenizer(list(texts), **options).to(network.device)
        with torch.inference_mode():
            return _unit(network.get_text_features(**inputs).pooler_output), [n > limit for n in counts]

    return DualEncoder(embed_images, embed_texts)


def _open_clip(model: str, setting: str) -> DualEncoder:
    import torch

    name, slash, pretrained = model.removeprefix(OPEN_CLIP).partition("/")
    if not (name and slash and pretrained):
        raise UsageError(
            f"{setting}={model!r}: expected open_clip:NAME/PRETRAINED, such as "
            "open_clip:ViT-B-32/laion2b_s34b_b79k"
        )
    try:
        import open_clip  # type: ignore[import-not-found]
    except ImportError as error:
        raise UsageError(
            f"{setting}={model!r} needs the package open_clip_torch, which is not installed ({error}): "
            "install it, or give a model of transformers"
        ) from error
    try:
        network, _, prepare = open_clip.create_model_and_transforms(name, pretrained, device=device())
        tokenize = open_clip.get_tokenizer(name)
    except Exception as error:  # the library raises whatever its parsers and the network raise
        raise MashbillError(
            f"{setting}={model!r} cannot be loaded: {type(error).__name__}: {error}"
        ) from error
    network.eval()

    def embed_images(images: Sequence[Any]) -> Tensor:
        with torch.inference_mode():
            return _unit(network.encode_image(torch.stack([prepare(image) for image in images]).to(device())))

    def embed_texts(texts: Sequence[str]) -> tuple[Tensor, list[bool | None]]:
        with torch.inference_mode():
            embeddings_BD = _unit(network.encode_text(tokenize(list(texts)).to(device())))
        return embeddings_BD, [None] * len(texts)

    return DualEncoder(embed_images, embed_texts)


def _unit(embeddings_BD: Tensor) -> Tensor:
    import torch

    return torch.nn.functional.normalize(embeddings_BD.float(), dim=-1).cpu()
