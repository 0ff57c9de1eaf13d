"""Text encodings that a pack holds, from the bytes of a sample to batches.

B captions, L tokens (an encoder's most), D channels, P channels of a pooled embedding.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distill_runs.packs import Pack
from store.errors import MashbillError

Encoded = dict[str, NDArray[np.float16]]
"""Of one caption, by encoder: tokens [l, D] without padding that no network reads, under its name; pooled
[P] under ``<name>.pooled``."""


@dataclass(frozen=True)
class Text:
    """What one text encoder made of B captions."""

    tokens_BLD: Tensor
    """Padded with zeros."""
    mask_BL: Tensor | None
    """1 for tokens, 0 for padding; None where padding is part of what is read, and was stored."""
    pooled_BP: Tensor | None

    def to(self, device: torch.device, dtype: torch.dtype) -> Text:
        """On the device; the mask keeps its dtype."""
        mask = None if self.mask_BL is None else self.mask_BL.to(device)
        pooled = None if self.pooled_BP is None else self.pooled_BP.to(device, dtype)
        return Text(self.tokens_BLD.to(device, dtype), mask, pooled)

    def without(self, dropped: Sequence[bool], empty: Text) -> Text:
        """With the empty caption's encoding, a batch of one, in the place of every dropped one."""
        hidden = torch.tensor(dropped, device=self.tokens_BLD.device)

        def put(seen: Tensor | None, unseen: Tensor | None) -> Tensor | None:
            if seen is None or unseen is None:
                return None
            return torch.where(hidden.view(-1, *[1] * (seen.ndim - 1)), unseen, seen)

        tokens = put(self.tokens_BLD, empty.tokens_BLD)
        assert tokens is not None
        return Text(tokens, put(self.mask_BL, empty.mask_BL), put(self.pooled_BP, empty.pooled_BP))


def text_members(pack: Pack) -> tuple[str, ...]:
    """The files of a sample that hold its text encodings, by extension."""
    encoders = pack.text["encoders"].items()
    names = [[name, f"{name}.pooled"] if about["pooled"] else [name] for name, about in encoders]
    return tuple(f"{name}.npy" for some in names for name in some)


def encoded_caption(
    members: Mapping[str, bytes], lengths: Mapping[str, Sequence[int]], number: int, pack: Pack
) -> Encoded:
    """The encodings of a sample's caption ``number``, of its files and the ``text_lengths`` of its ``.json``.

    Raises:
        MashbillError: a file is not what the pack says; the message does not name the sample.
    """
    found: Encoded = {}
    for name, about in pack.text["encoders"].items():
        counts = [int(count) for count in lengths[name]]
        whole = _array(members[f"{name}.npy"], name, (sum(counts), about["width"]))
        start = sum(counts[:number])
        found[name] = whole[start : start + counts[number]]
        if about["pooled"]:
            shape = (len(counts), about["pooled"])
            found[f"{name}.pooled"] = _array(members[f"{name}.pooled.npy"], f"{name}.pooled", shape)[number]
    return found


def _array(data: bytes, name: str, shape: tuple[int, ...]) -> NDArray[np.float16]:
    try:
        found = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise MashbillError(f"has a {name}.npy that cannot be read ({error})") from error
    if found.shape != shape or found.dtype != np.float16:
        raise MashbillError(f"has a {name}.npy of {found.dtype} {found.shape}; expected float16 {shape}")
    if not np.isfinite(found).all():
        raise MashbillError(f"has a {name}.npy with values that are not numbers")
    return np.asarray(found)


def batched(captions: Sequence[Encoded], pack: Pack) -> dict[str, Text]:
    """The encodings of B captions by encoder, float16, each padded to the encoder's most tokens."""
    found = {}
    for name, about in pack.text["encoders"].items():
        tokens = np.zeros((len(captions), about["max_length"], about["width"]), np.float16)
        mask = np.zeros(tokens.shape[:2], np.int64)
        for row, caption in enumerate(captions):
            length = len(caption[name])
            tokens[row, :length] = caption[name]
            mask[row, :length] = 1
        pooled = np.stack([c[f"{name}.pooled"] for c in captions]) if about["pooled"] else None
        found[name] = Text(
            torch.from_numpy(tokens),
            torch.from_numpy(mask) if about["masked"] else None,
            None if pooled is None else torch.from_numpy(pooled),
        )
    return found


def empty_caption(pack: Pack) -> dict[str, Text]:
    """The empty caption's encodings, a batch of one, float16, from the pack's own files.

    Raises:
        MashbillError: a file is missing or was changed.
    """
    members = {}
    for file, sha256 in pack.text["empty"].items():
        location = pack.location / file
        try:
            data = location.read_bytes()
        except OSError as error:
            raise MashbillError(f"{location.url} cannot be read ({error}). Copy the pack again.") from error
        if hashlib.sha256(data).hexdigest() != sha256:
            raise MashbillError(f"{location.url} holds other bytes than were packed. Copy the pack again.")
        members[file] = np.load(io.BytesIO(data), allow_pickle=False)
    names = [file.removesuffix(".npy") for file in text_members(pack)]
    return batched([{name: members[f"empty.{name}.npy"] for name in names}], pack)
