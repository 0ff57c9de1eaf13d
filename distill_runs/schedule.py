"""The forward process of every model family, and the conversions between what networks predict.

    x_t = alpha x0 + sigma epsilon

Variance preserving (SD, PixArt): alpha = sqrt(abar_t), sigma = sqrt(1 - abar_t).
Rectified flow (SD3): alpha = 1 - t, sigma = t.

A network predicts one of
    x0
    epsilon
    v    = alpha epsilon - sigma x0     (Salimans & Ho 2022, section 4, for alpha^2 + sigma^2 = 1)
    flow = epsilon - x0                 (the velocity of SD3)
and each of them, with x_t, gives x0 and epsilon.

B batch; other axes are free. Computed in float32, or float64 where an input has it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Prediction = Literal["x0", "epsilon", "v", "flow"]


@dataclass(frozen=True)
class Level:
    """How noisy each sample of a batch is."""

    alpha: Tensor
    """Share of the image, float [B]."""
    sigma: Tensor
    """Share of the noise, float [B]."""

    def like(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """alpha and sigma as [B, 1, ...], at least float32, to multiply with ``x`` [B, ...]."""
        shape = (-1, *(1,) * (x.ndim - 1))
        return _wide(self.alpha).view(shape), _wide(self.sigma).view(shape)


def vp_level(alphas_cumprod_T: Tensor, timesteps_B: Tensor) -> Level:
    """Level of the integer timesteps: alpha = sqrt(abar_t), sigma = sqrt(1 - abar_t)."""
    abar_B = _wide(alphas_cumprod_T)[timesteps_B]
    return Level(abar_B.sqrt(), (1 - abar_B).sqrt())


def flow_level(times_B: Tensor) -> Level:
    """Level of the times in [0, 1]: alpha = 1 - t, sigma = t."""
    times_B = _wide(times_B)
    return Level(1 - times_B, times_B)


def noised(x0: Tensor, epsilon: Tensor, level: Level) -> Tensor:
    """x_t = alpha x0 + sigma epsilon."""
    alpha, sigma = level.like(x0)
    return alpha * _wide(x0) + sigma * _wide(epsilon)


def endpoints(output: Tensor, x_t: Tensor, level: Level, kind: Prediction) -> tuple[Tensor, Tensor]:
    """(x0, epsilon) that the network's ``output`` of this kind means at ``x_t``.

    ``x0`` needs sigma > 0 and ``epsilon`` needs alpha > 0; ``v`` and ``flow`` hold at every level.
    """
    alpha, sigma = level.like(x_t)
    output, x_t = _wide(output), _wide(x_t)
    if kind == "x0":
        return output, (x_t - alpha * output) / sigma
    if kind == "epsilon":
        return (x_t - sigma * output) / alpha, output
    if kind == "v":
        square = alpha**2 + sigma**2
        return (alpha * x_t - sigma * output) / square, (sigma * x_t + alpha * output) / square
    total = alpha + sigma
    return (x_t - sigma * output) / total, (x_t + alpha * output) / total


def convert(output: Tensor, x_t: Tensor, level: Level, source: Prediction, target: Prediction) -> Tensor:
    """The same prediction, said as ``target`` instead of ``source``; same shape as ``output``."""
    x0, epsilon = endpoints(output, x_t, level, source)
    alpha, sigma = level.like(x_t)
    if target == "x0":
        return x0
    if target == "epsilon":
        return epsilon
    if target == "v":
        return alpha * epsilon - sigma * x0
    return epsilon - x0


def _wide(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
