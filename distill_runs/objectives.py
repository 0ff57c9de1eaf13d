"""Losses: pure functions of tensors. B batch, C channels, H W pixels or latent cells.

Every norm is a mean over elements, in float32 whatever the inputs are; every result is a scalar.
"""

from __future__ import annotations

import torch
from torch import Tensor

from distill_runs.schedule import Level, Prediction


def denoising_loss(predicted_BCHW: Tensor, target_BCHW: Tensor, weight_B: Tensor | None = None) -> Tensor:
    """L = mean_B w_B mean || f_theta(x_t, t, c) - target ||^2.

    The target is epsilon (Ho et al. 2020, equation 14) or the velocity epsilon - x0 (Esser et al. 2024,
    equation 13); see ``target_of``. For epsilon a network that predicts 0 scores 1.
    """
    error_B = (predicted_BCHW.float() - target_BCHW.float()).square().flatten(1).mean(1)
    return error_B.mean() if weight_B is None else (weight_B.float() * error_B).mean()


def target_of(x0: Tensor, epsilon: Tensor, level: Level, prediction: Prediction) -> Tensor:
    """What a network that predicts ``prediction`` ought to say at this level; the shape of ``x0``."""
    if prediction == "x0":
        return x0
    if prediction == "epsilon":
        return epsilon
    alpha, sigma = level.like(x0)
    return alpha * epsilon - sigma * x0 if prediction == "v" else epsilon - x0


def min_snr_weight(level: Level, gamma: float, prediction: Prediction) -> Tensor:
    """min(SNR, gamma) / SNR for epsilon, / (SNR + 1) for v, alone for x0; float32 [B].

    SNR = alpha^2 / sigma^2. Hang et al. 2023 (Min-SNR), section 3.4.
    """
    snr_B = (level.alpha.float() / level.sigma.float()).square()
    capped_B = snr_B.clamp(max=gamma)
    if prediction == "x0":
        return capped_B
    if prediction == "epsilon":
        return torch.where(snr_B > 0, capped_B / snr_B, 1.0)
    if prediction == "v":
        return capped_B / (snr_B + 1)
    raise ValueError("min-SNR weights are of variance preserving schedules; a flow has none")
