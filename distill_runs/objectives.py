"""Losses: pure functions of tensors. B batch, C channels, H W pixels or latent cells."""

from __future__ import annotations

from torch import Tensor


def epsilon_loss(predicted_BCHW: Tensor, epsilon_BCHW: Tensor) -> Tensor:
    """L = mean || epsilon_theta(x_t, t, c) - epsilon ||^2, x_t = alpha x0 + sigma epsilon.

    Ho et al. 2020 (DDPM), equation 14, as the mean over all elements. Computed in float32 whatever
    the inputs are; returns a scalar. A network that predicts 0 scores 1.
    """
    return (predicted_BCHW.float() - epsilon_BCHW.float()).square().mean()
