"""Whether the models that made a pack's arrays are the run's: by what names their weights, and by making
some again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from distill_runs.families import Condition
from distill_runs.loader import Loader
from distill_runs.models import Model
from distill_runs.packs import Data, Pack
from distill_runs.texts import empty_caption
from store.errors import UsageError
from store.text_encodings import vocabulary_digest, weights_digest

LATENTS_APART = 0.3
"""Root mean square of the difference, in spreads of the latents. Measured: 0.02 to 0.06 for the VAE that made
them (the pack's images are JPEG once more), above 1 for any other."""
TEXT_APART = 0.02
"""The same of text encodings; float16's rounding alone makes 0.0003."""
FEW = 4
"""Samples that are made again."""
TEXT_FACTS = {
    "class": "class",
    "weights": "weights (SHA-256)",
    "vocabulary": "tokenizer's vocabulary",
    "max_length": "number of tokens that is read at most",
}
"""What must be equal in the text encoder that made a pack's encodings and the run's."""


def check_same_models(model: Model, pack: Pack, data: Data) -> None:
    """Refuse arrays that the run's own parts would not make of the same images and captions.

    Raises:
        UsageError: names the part that differs, and what to do.
    """
    if data.latents:
        _check_latents(model, pack, data)
    if data.text:
        _check_text(model, pack, data)
    vae = pack.captured.get("vae", {})
    if data.extras and vae["weights"] != weights_of(model.pipeline.vae, getattr(torch, vae["dtype"])):
        raise UsageError(
            f"the captured arrays of the pack {pack.location.url} are latents of the VAE of "
            f"{pack.captured['generator']!r}, whose weights are others than those of {model.source!r}. Train "
            "a student with that VAE, or generate with a teacher that has the student's."
        )


def weights_of(net: nn.Module, dtype: torch.dtype = torch.float32) -> str:
    """What names a network's parameters as they are in ``dtype``; see ``weights_digest``."""
    return weights_digest(p.detach().to(dtype).float().cpu().numpy() for p in net.parameters())


def text_facts(model: Model) -> dict[str, dict[str, Any]]:
    """What ``TEXT_FACTS`` names of each text encoder of the model, read through whole."""
    parts, found = model.pipeline.components, {}
    for name, length in model.family.lengths(model.pipeline).items():
        vocabulary = parts[name.replace("text_encoder", "tokenizer")].get_vocab()
        found[name] = {
            "class": type(parts[name]).__name__,
            "weights": weights_of(parts[name]),
            "vocabulary": vocabulary_digest(vocabulary),
            "max_length": length,
        }
    return found


def _few(pack: Pack, data: Data) -> Data:
    return replace(data, batch_size=min(FEW, pack.samples))


def _apart(ours: Tensor, theirs: Tensor) -> float:
    """Root mean square of the difference, in spreads of ``theirs``."""
    return float((ours - theirs).square().mean().sqrt() / theirs.std())


def _check_latents(model: Model, pack: Pack, data: Data) -> None:
    few = replace(_few(pack, data), text=False, extras=(), trajectory_times=())
    latents = next(Loader(pack, few, seed=0)).latents_BCHW
    images = next(Loader(pack, replace(few, latents=False), seed=0)).images_BCHW
    assert latents is not None
    assert images is not None
    apart = _apart(model.mean_latents(images), latents)
    if apart > LATENTS_APART:
        raise UsageError(
            f"the latents of the pack {pack.location.url} are not those of the VAE of {model.source!r}: on "
            f"the same images they are {apart:.2f} spreads apart. Build the pack with "
            f"pack.latents={model.source}."
        )


def _check_text(model: Model, pack: Pack, data: Data) -> None:
    """By family, by what names each encoder, and on a few captions: their own and the empty one."""
    told, theirs = f"the text encodings of the pack {pack.location.url}", pack.text
    again = f"Build the pack with pack.text={model.source}, or set data.text=False to encode while training."
    if theirs["family"] != model.family.name:
        raise UsageError(
            f"{told} are those of {theirs['pipeline']!r}, of family {theirs['family']}; the student "
            f"{model.source!r} is of family {model.family.name}. {again}"
        )
    ours = text_facts(model)
    for name in sorted(ours.keys() | theirs["encoders"].keys()):
        _check_encoder(f"{told} were made by another {name}", name, ours, theirs["encoders"], again)
    batch, empty = next(Loader(pack, _few(pack, data), seed=0)), empty_caption(pack)
    assert batch.text is not None
    for captions, texts in ((batch.captions, batch.text), ([""], empty)):
        wide = {name: text.to(torch.device("cpu"), torch.float32) for name, text in texts.items()}
        apart = _most_apart(model.encode(captions), model.condition(wide, empty))
        if apart > TEXT_APART:
            raise UsageError(
                f"{told} are not what the encoders of {model.source!r} make of the same captions: they are "
                f"{apart:.2f} spreads apart. {again}"
            )


def _check_encoder(
    told: str, name: str, ours: Mapping[str, Any], theirs: Mapping[str, Any], again: str
) -> None:
    for fact, called in TEXT_FACTS.items():
        mine, made_by = (found.get(name, {}).get(fact) for found in (ours, theirs))
        if mine != made_by:
            values = [str(value)[:40] if value is not None else "missing" for value in (made_by, mine)]
            raise UsageError(f"{told}: its {called} is {values[0]}, the run's is {values[1]}. {again}")


def _most_apart(ours: Condition, theirs: Condition) -> float:
    """Of tokens and pooled embeddings, whichever differs more; what is masked is not read."""
    if (ours.mask_BL is None) != (theirs.mask_BL is None) or ours.tokens_BLD.shape != theirs.tokens_BLD.shape:
        return float("inf")
    if ours.mask_BL is not None and theirs.mask_BL is not None:
        if not torch.equal(ours.mask_BL, theirs.mask_BL):
            return float("inf")
        read = ours.mask_BL.bool()
        return _apart(ours.tokens_BLD[read], theirs.tokens_BLD[read])
    found = [_apart(ours.tokens_BLD, theirs.tokens_BLD)]
    if ours.pooled_BD is not None and theirs.pooled_BD is not None:
        found.append(_apart(ours.pooled_BD, theirs.pooled_BD))
    return max(found)
