"""Text encodings of packed samples: what a denoiser reads of its pipeline's text encoders.

L tokens, D channels, P channels of a pooled embedding. torch and transformers are imported only when
encodings are asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from stages.pack.arrays import npy
from stages.pack.latents import exact
from stages.pack.text_shapes import (
    INDEX,
    Encoder,
    files_fingerprint,
    read_json,
    text_encoders,
    text_folder,
)
from stages.pretrained import device
from store.errors import MashbillError, UsageError
from store.location import Location
from store.text_encodings import vocabulary_digest, weights_digest

TEXTS_AT_ONCE = 32
EMPTY = "empty."
"""Before the names of a pack's files that hold the empty caption's encodings."""

Encoded = dict[str, np.ndarray[Any, Any]]
"""Of one text, float16, by encoder: tokens [L, D] under its name, pooled [P] under ``<name>.pooled``."""


@dataclass(frozen=True)
class Loaded:
    """One encoder with its tokenizer."""

    shape: Encoder
    net: Any
    tokenizer: Any

    def encode(self, texts: Sequence[str]) -> list[Encoded]:
        """The encodings of each text, as the stock pipeline computes them."""
        import torch

        ids, mask = self._tokens(texts)
        where = self.net.device
        with torch.inference_mode(), exact(where.type):
            given = mask.to(where) if self._attends_by_mask else None
            out = self.net(ids.to(where), attention_mask=given, output_hidden_states=True)
            penultimate = self.shape.reads == "penultimate"
            tokens_BLD = out.hidden_states[-2] if penultimate else out[0]
            pooled_BP = out[0] if penultimate else None
        found = []
        for i in range(len(texts)):
            length = int(mask[i].sum()) if self.shape.masked else self.shape.max_length
            one = {self.shape.name: _half(tokens_BLD[i, :length], self.shape.name)}
            if pooled_BP is not None:
                one[f"{self.shape.name}.pooled"] = _half(pooled_BP[i], self.shape.name)
            found.append(one)
        return found

    @property
    def _attends_by_mask(self) -> bool:
        return self.shape.masked or (
            self.shape.reads == "last" and bool(getattr(self.net.config, "use_attention_mask", False))
        )

    def _tokens(self, texts: Sequence[str]) -> tuple[Any, Any]:
        if self.shape.masked:  # PixArt's pipelines do so with every caption
            texts = [text.lower().strip() for text in texts]
        found = self.tokenizer(
            list(texts),
            padding="max_length",
            max_length=self.shape.max_length,
            truncation=True,
            return_tensors="pt",
        )
        return found.input_ids, found.attention_mask


@dataclass(frozen=True)
class TextEncoders:
    """The loaded text encoders of a pipeline, and what ``pack.json`` says of them."""

    loaded: tuple[Loaded, ...]
    about: dict[str, Any]

    def encode(self, texts: Sequence[str]) -> list[Encoded]:
        """The encodings of each text; of equal texts once.

        Computed in float32, on a CPU with one thread, as latents are.

        Raises:
            MashbillError: a value does not fit float16.
        """
        different = list(dict.fromkeys(texts))
        found: dict[str, Encoded] = {text: {} for text in different}
        for start in range(0, len(different), TEXTS_AT_ONCE):
            some = different[start : start + TEXTS_AT_ONCE]
            for encoder in self.loaded:
                for text, part in zip(some, encoder.encode(some), strict=True):
                    found[text] |= part
        return [found[text] for text in texts]

    def write_empty(self, folder: Location) -> None:
        """The encodings of the empty caption as files ``empty.<name>.npy``, where they are not there yet."""
        for name, array in self.encode([""])[0].items():
            file = folder / f"{EMPTY}{name}.npy"
            if not file.exists():
                file.write_bytes(npy(array))


def text_members(encoded: Sequence[Encoded]) -> dict[str, bytes]:
    """The files of a sample by extension: ``<encoder>.npy`` [sum of L, D], its captions one after the other,
    and ``<encoder>.pooled.npy`` [captions, P]."""
    joined = {
        name: np.stack([one[name] for one in encoded])
        if name.endswith(".pooled")
        else np.concatenate([one[name] for one in encoded])
        for name in encoded[0]
    }
    return {f"{name}.npy": npy(array) for name, array in joined.items()}


def text_lengths(encoded: Sequence[Encoded]) -> dict[str, list[int]]:
    """L of each caption, by encoder."""
    names = [name for name in encoded[0] if not name.endswith(".pooled")]
    return {name: [len(one[name]) for one in encoded] for name in names}


def text_arrays(about: Mapping[str, Any]) -> list[str]:
    """The names of the arrays that each sample of a pack has, by what ``pack.json`` says of them."""
    named = ((name, encoder["pooled"]) for name, encoder in about["encoders"].items())
    return [array for name, pooled in named for array in ([name, f"{name}.pooled"] if pooled else [name])]


@cache
def load_text_encoders(model: str, revision: str) -> TextEncoders:
    """Load the text encoders of a pipeline once per process, on the GPU where there is one.

    Args:
        model: hub id or folder of a pipeline, or one that is shipped.

    Raises:
        UsageError: there is no such pipeline, it is of no known family, or a part of it is not whole.
    """
    family, shapes = text_encoders(model, revision)
    loaded = tuple(_load(model, revision, shape) for shape in shapes)
    about = {
        "pipeline": model,
        "revision": revision,
        "family": family,
        "dtype": "float16",
        "files": files_fingerprint(model, revision),
        "encoders": {one.shape.name: _about(one) for one in loaded},
    }
    return TextEncoders(loaded, about)


def _about(loaded: Loaded) -> dict[str, Any]:
    shape, tensors = loaded.shape, (p.detach().cpu().numpy() for p in loaded.net.parameters())
    return {
        "class": shape.kind,
        "weights": weights_digest(tensors),
        "vocabulary": vocabulary_digest(loaded.tokenizer.get_vocab()),
        "max_length": shape.max_length,
        "width": shape.width,
        "pooled": shape.pooled,
        "masked": shape.masked,
    }


def _load(model: str, revision: str, shape: Encoder) -> Loaded:
    import torch
    import transformers

    folder = text_folder(model, revision)
    try:
        kind = getattr(transformers, shape.kind)
        options: Mapping[str, Any] = {"output_loading_info": True, "ignore_mismatched_sizes": True}
        net, told = kind.from_pretrained(folder / shape.name, dtype=torch.float32, **options)
        index = read_json(folder / INDEX)[shape.tokenizer]
        tokenizer = getattr(transformers, index[1]).from_pretrained(folder / shape.tokenizer)
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, AttributeError) as error:
        raise UsageError(f"pack.text={model!r}: its {shape.name} cannot be loaded ({error}).") from error
    if lacking := sorted(map(str, [*told["missing_keys"], *told["mismatched_keys"]])):
        raise UsageError(
            f"pack.text={model!r}: the weights of its {shape.name} lack {len(lacking)} tensors, or have them "
            f"in another shape, such as {lacking[0]}. Save or fetch the model again."
        )
    return Loaded(shape, net.eval().requires_grad_(False).to(device()), tokenizer)


def _half(tensor: Any, name: str) -> np.ndarray[Any, Any]:
    array = np.asarray(tensor.half().cpu().numpy())
    if not np.isfinite(array).all():
        raise MashbillError(
            f"the {name} gives encodings that float16 cannot hold. Its weights are damaged, or it "
            "needs a wider range; pack without pack.text and encode while training."
        )
    return array
