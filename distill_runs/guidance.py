"""Classifier-free guidance: one convention, g of u + g (c - u)."""

from __future__ import annotations

from torch import Tensor


def guided(unconditional: Tensor, conditional: Tensor, guidance_scale: float) -> Tensor:
    """u + g (c - u): 1 is the conditional prediction alone, 0 the unconditional one.

    Ho & Salimans 2022. The w of the consistency model papers, c + w (c - u), is g - 1.
    """
    return unconditional + guidance_scale * (conditional - unconditional)
