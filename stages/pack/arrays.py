"""Arrays as members of a pack's tars: ``.npy``, and the bytes that they take there."""

from __future__ import annotations

import io
from math import prod
from typing import Any

import numpy as np

from store.tar import BLOCK

HEADER_BYTES = 128
"""Of a ``.npy`` file of few dimensions."""


def npy(array: np.ndarray[Any, Any]) -> bytes:
    """The array as a ``.npy`` file, rows first."""
    sink = io.BytesIO()
    np.save(sink, np.ascontiguousarray(array))
    return sink.getvalue()


def float16_bytes(*shape: int) -> int:
    """Bytes in a tar of a float16 array of this shape: its header, the file, and padding."""
    size = HEADER_BYTES + 2 * prod(shape)
    return BLOCK + size + -size % BLOCK
