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
from typing import Literal, Protocol

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


class Schedule(Protocol):
    """A forward process with its own measure of time, and what the network predicts in it."""

    @property
    def prediction(self) -> Prediction:
        """What the network predicts."""

    def times(self, fractions: Tensor) -> Tensor:
        """The times at these fractions in (0, 1] of the way from the image (0) to pure noise (1)."""

    def level(self, times_B: Tensor) -> Level:
        """How noisy the times are."""

    def network_times(self, times_B: Tensor) -> Tensor:
        """The times as the network wants them."""


@dataclass(frozen=True)
class VariancePreserving:
    """SD 1.x and PixArt: integer timesteps 0 to T - 1 of a table of abar_t."""

    alphas_cumprod_T: Tensor
    """abar_t, falling, each in (0, 1)."""
    prediction: Prediction = "epsilon"

    def times(self, fractions: Tensor) -> Tensor:
        """int64: ceil(f T) - 1. A uniform fraction gives each timestep alike; n equal parts give what
        diffusers calls trailing spacing, from T - 1 on: 999, 749, 499, 249."""
        num_timesteps = len(self.alphas_cumprod_T)
        rounding = 4 * num_timesteps * torch.finfo(fractions.dtype).eps  # 0.3 T may be just above 300
        return (fractions * num_timesteps - rounding).ceil().long().sub(1).clamp(0, num_timesteps - 1)

    def level(self, times_B: Tensor) -> Level:
        return vp_level(self.alphas_cumprod_T.to(times_B.device), times_B)

    def network_times(self, times_B: Tensor) -> Tensor:
        return times_B


@dataclass(frozen=True)
class RectifiedFlow:
    """SD3: times in (0, 1], sigma = t; the network gets 1000 t as a float."""

    prediction: Prediction = "flow"

    def times(self, fractions: Tensor) -> Tensor:
        return _wide(fractions)

    def level(self, times_B: Tensor) -> Level:
        return flow_level(times_B)

    def network_times(self, times_B: Tensor) -> Tensor:
        return _wide(times_B) * 1000
