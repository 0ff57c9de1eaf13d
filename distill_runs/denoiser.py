"""The tiny text-to-image model of a run: UNet, text encoder and noise schedule."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from torch import Tensor, nn

from distill_runs.recipe import NORM_GROUPS, Finetune
from distill_runs.text import TextEncoder

NUM_TIMESTEPS = 1000
UNET_HEADS = 4


@dataclass(frozen=True)
class Denoiser:
    """A model that predicts epsilon from (x_t, t, caption), in pixels."""

    unet: UNet2DConditionModel
    text: TextEncoder
    scheduler: DDPMScheduler

    def epsilon(self, x_t_BCHW: Tensor, timesteps_B: Tensor, captions: Sequence[str]) -> Tensor:
        """epsilon_theta(x_t, t, c): float32 [B, C, H, W], for integer timesteps in [0, 999]."""
        ids_BL, mask_BL = self.text.tokenize(captions)
        out: Tensor = self.unet(
            x_t_BCHW,
            timesteps_B,
            encoder_hidden_states=self.text(ids_BL, mask_BL),
            encoder_attention_mask=mask_BL,
        ).sample
        return out

    def parameters(self) -> Iterator[nn.Parameter]:
        """Everything that is trained."""
        yield from self.unet.parameters()
        yield from self.text.parameters()


def build_denoiser(run: Finetune) -> Denoiser:
    """An untrained model drawn from ``run.seed``; the caller's random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(run.seed)
        text = TextEncoder(run.text_channels, run.text_buckets, run.max_words)
        return Denoiser(_unet(run), text, _scheduler())


def _unet(run: Finetune) -> UNet2DConditionModel:
    finer_levels = len(run.block_out_channels) - 1
    return UNet2DConditionModel(
        sample_size=run.resolution,
        in_channels=3,
        out_channels=3,
        block_out_channels=run.block_out_channels,
        layers_per_block=run.layers_per_block,
        # Attention on the finer levels too costs half as much again on a CPU.
        down_block_types=("DownBlock2D",) * finer_levels + ("CrossAttnDownBlock2D",),
        up_block_types=("CrossAttnUpBlock2D",) + ("UpBlock2D",) * finer_levels,
        cross_attention_dim=run.text_channels,
        attention_head_dim=UNET_HEADS,  # diffusers reads it as the number of heads
        norm_num_groups=NORM_GROUPS,
    )


def _scheduler() -> DDPMScheduler:
    # Trailing spacing starts the sampler at timestep 999, where its first input, pure noise, belongs.
    return DDPMScheduler(
        num_train_timesteps=NUM_TIMESTEPS,
        beta_schedule="linear",
        beta_start=1e-4,
        beta_end=0.02,
        prediction_type="epsilon",
        clip_sample=True,
        timestep_spacing="trailing",
    )


def save_denoiser(denoiser: Denoiser, folder: Path) -> None:
    """Write ``unet/`` (safetensors), ``text/`` and ``scheduler/`` into ``folder``."""
    denoiser.unet.save_pretrained(folder / "unet")
    denoiser.text.save_pretrained(folder / "text")
    denoiser.scheduler.save_pretrained(folder / "scheduler")


def load_denoiser(folder: Path) -> Denoiser:
    """Read what ``save_denoiser`` wrote, in evaluation mode."""
    return Denoiser(
        UNet2DConditionModel.from_pretrained(folder / "unet").eval(),
        TextEncoder.from_pretrained(folder / "text"),
        DDPMScheduler.from_pretrained(folder / "scheduler"),
    )
