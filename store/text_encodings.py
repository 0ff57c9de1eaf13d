"""What names a text encoder and its tokenizer, and how much of a caption is read: for packs and for runs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from store.digest import fingerprint

T5_TOKENS = {"pixart": 300, "sd3": 256}
"""Tokens of a caption that a stock call gives T5 by its own default; less where its tokenizer says so."""


def weights_digest(tensors: Iterable[np.ndarray[Any, Any]]) -> str:
    """64 hex digits that name a network's parameters, given in float32.

    Names and order are not in it, since they change from one version of a library to the next, nor is the
    dtype of the file: the same numbers are the same network. It takes a second for each GB.
    """
    parts = []
    for tensor in tensors:
        digest = hashlib.sha256(str(tensor.shape).encode())
        digest.update(np.ascontiguousarray(tensor).view(np.uint8).data)
        parts.append(digest.hexdigest())
    return hashlib.sha256("".join(sorted(parts)).encode()).hexdigest()


def vocabulary_digest(vocabulary: Mapping[str, int]) -> str:
    """12 hex digits that name what tokens a tokenizer has, and their numbers."""
    return fingerprint(sorted(vocabulary.items()))
