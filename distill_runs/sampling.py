"""From noise and prompts to pictures. B batch, C channels, H W pixels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers import DDIMScheduler
from torch import Tensor

from distill_runs.denoiser import Denoiser


def guided(unconditional: Tensor, conditional: Tensor, guidance_scale: float) -> Tensor:
    """u + g (c - u). The w of the consistency model papers, c + w (c - u), is g - 1."""
    return unconditional + guidance_scale * (conditional - unconditional)


@torch.no_grad()
def sample_images(
    denoiser: Denoiser,
    prompts: Sequence[str],
    num_steps: int,
    guidance_scale: float,
    seed: int,
) -> Tensor:
    """One picture per prompt by deterministic DDIM: float32 [B, 3, H, W] in [-1, 1].

    Draws its noise from ``seed`` alone; the caller's random state is left as it was.
    """
    side = denoiser.unet.config.sample_size
    shape = (len(prompts), denoiser.unet.config.in_channels, side, side)
    x_BCHW = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    scheduler = DDIMScheduler.from_config(denoiser.scheduler.config)
    scheduler.set_timesteps(num_steps)
    captions = [""] * len(prompts) + list(prompts)
    for timestep in scheduler.timesteps:
        both = denoiser.epsilon(torch.cat([x_BCHW, x_BCHW]), timestep.expand(len(captions)), captions)
        unconditional, conditional = both.chunk(2)
        epsilon = guided(unconditional, conditional, guidance_scale)
        x_BCHW = scheduler.step(epsilon, timestep, x_BCHW).prev_sample
    return x_BCHW.clamp(-1, 1)
