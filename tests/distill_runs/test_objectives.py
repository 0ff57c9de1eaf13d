from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import DDPMScheduler
from diffusers.training_utils import compute_snr

from distill_runs.objectives import denoising_loss, min_snr_weight, target_of
from distill_runs.schedule import Level, flow_level, vp_level


def test_the_loss_is_the_mean_square_by_hand() -> None:
    predicted = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    target = torch.tensor([[1.0, 0.0], [3.0, 0.0]])
    assert denoising_loss(predicted, target).item() == 5.0
    assert denoising_loss(predicted, target, torch.tensor([1.0, 0.5])).item() == (2 + 0.5 * 8) / 2
    half = torch.zeros(2, 2, dtype=torch.bfloat16)
    assert denoising_loss(half, half).dtype == torch.float32


def test_targets_are_those_of_the_stock_scheduler() -> None:
    x0, epsilon = torch.randn(2, 3, 4, 2, 2, generator=torch.Generator().manual_seed(0))
    timesteps, scheduler = torch.tensor([0, 500, 999]), DDPMScheduler()
    level = vp_level(scheduler.alphas_cumprod, timesteps)
    velocity = scheduler.get_velocity(x0, epsilon, timesteps)
    torch.testing.assert_close(target_of(x0, epsilon, level, "v"), velocity)
    assert target_of(x0, epsilon, level, "epsilon") is epsilon
    assert target_of(x0, epsilon, level, "x0") is x0
    at = flow_level(torch.tensor([0.1, 0.5, 1.0]))
    assert torch.equal(target_of(x0, epsilon, at, "flow"), epsilon - x0)


def test_min_snr_weights_by_hand() -> None:
    # alpha^2 : sigma^2 of 4 : 1 (SNR 4), 100 : 1, 1 : 2 with gamma 5.
    level = Level(torch.tensor([0.8, 100 / 101, 1 / 3]).sqrt(), torch.tensor([0.2, 1 / 101, 2 / 3]).sqrt())
    said: dict[Any, list[float]] = {
        "epsilon": [1.0, 0.05, 1.0],
        "v": [4 / 5, 5 / 101, 0.5 / 1.5],
        "x0": [4.0, 5.0, 0.5],
    }
    for prediction, expected in said.items():
        assert min_snr_weight(level, 5.0, prediction).tolist() == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ValueError, match="a flow has none"):
        min_snr_weight(level, 5.0, "flow")


def test_min_snr_weights_are_those_of_the_stock_script() -> None:
    scheduler, timesteps = DDPMScheduler(beta_schedule="scaled_linear"), torch.tensor([0, 10, 300, 999])
    snr = compute_snr(scheduler, timesteps)
    ours = min_snr_weight(vp_level(scheduler.alphas_cumprod, timesteps), 5.0, "epsilon")
    torch.testing.assert_close(ours, snr.clamp(max=5.0) / snr)


def test_pure_noise_has_a_weight() -> None:
    level = Level(torch.zeros(1), torch.ones(1))
    assert [min_snr_weight(level, 5.0, p).item() for p in ("epsilon", "v", "x0")] == [1.0, 0.0, 0.0]
