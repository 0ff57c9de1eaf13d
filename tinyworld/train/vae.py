"""The autoencoders: AutoencoderKL, 64 pixels to a 16 x 16 grid of 4 channels, or 8 x 8 of 16 channels.

B batch, C channels, H W pixels, h w latent grid.
"""

from __future__ import annotations

import re

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from tinyworld.train.corpus import IMAGE_SIZE, Corpus
from tinyworld.train.loop import fit
from tinyworld.train.pixels import to_images, to_pixels

STEPS = 4000
DEEPER_STEPS = 1800
_BATCH = 16
_PART = 64
_LEARNING_RATE = 2e-3
_KL_WEIGHT = 1e-5
_FIRST_LOG_VARIANCE = -8.0
_WIDTHS = {4: (16, 32, 64), 16: (16, 32, 64, 64)}
"""Widths by level, for each number of latent channels; every level but the last halves the grid."""


def build_vae(latent_channels: int) -> AutoencoderKL:
    """Random weights. 16 channels: no quant convolutions and a shift, as Stable Diffusion 3 has it."""
    has_quant = latent_channels == 4
    vae = AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * len(_WIDTHS[latent_channels]),
        up_block_types=("UpDecoderBlock2D",) * len(_WIDTHS[latent_channels]),
        block_out_channels=_WIDTHS[latent_channels],
        layers_per_block=1,
        latent_channels=latent_channels,
        norm_num_groups=8,
        sample_size=IMAGE_SIZE,
        use_quant_conv=has_quant,
        use_post_quant_conv=has_quant,
    )
    # Begin almost without noise: at a log variance of 0 the decoder learns nothing for hundreds of steps.
    last = vae.quant_conv if has_quant else vae.encoder.conv_out
    torch.nn.init.constant_(last.bias[latent_channels:], _FIRST_LOG_VARIANCE)
    return vae


def vae_loss(vae: AutoencoderKL, pixels_BCHW: Tensor) -> Tensor:
    """L1 + squared error of the reconstruction, L1 of its 4 x 4 means (for its colors), and a light KL."""
    with torch.autocast("cpu", torch.bfloat16):
        posterior = vae.encode(pixels_BCHW).latent_dist
        decoded = vae.decode(posterior.sample()).sample
    error = decoded.float() - pixels_BCHW
    kl = 0.5 * (posterior.mean**2 + posterior.var - 1 - posterior.logvar).float().mean()
    coarse = F.avg_pool2d(error, 4).abs().mean()
    loss: Tensor = error.abs().mean() + error.square().mean() + coarse + _KL_WEIGHT * kl
    return loss


def start_from(deeper: AutoencoderKL, vae: AutoencoderKL) -> None:
    """Copy into ``deeper``, which has one level more at its coarse end, what the two have in common."""
    shared = {}
    for name, weights in vae.state_dict().items():
        if match := re.match(r"decoder\.up_blocks\.(\d)\.(.*)", name):
            shared[f"decoder.up_blocks.{int(match[1]) + 1}.{match[2]}"] = weights
        elif re.match(r"encoder\.(conv_in|down_blocks)|decoder\.conv_(norm_out|out)", name):
            shared[name] = weights
    deeper.load_state_dict(shared, strict=False)


def train_vae(corpus: Corpus, vae: AutoencoderKL, steps: int, seed: int) -> list[float]:
    """Train in place and set the latent scale; the loss of every step.

    ``seed`` settles the order of the images; the noise on the latents comes from torch's own generator.
    """
    rng = np.random.default_rng(seed)
    vae.train()

    def loss_of_step(_: int) -> Tensor:
        chosen = rng.integers(0, len(corpus.images), _BATCH)
        return vae_loss(vae, to_pixels(corpus.images[chosen]))

    losses = fit(vae.parameters(), loss_of_step, steps, _LEARNING_RATE, f"vae-{vae.config.latent_channels}")
    vae.eval()
    set_latent_scale(vae, corpus.images[:1024])
    return losses


@torch.no_grad()
def set_latent_scale(vae: AutoencoderKL, images: NDArray[np.uint8]) -> None:
    """Set ``scaling_factor`` so that latents have std 1, and for 16 channels ``shift_factor`` to mean 0."""
    vae.register_to_config(scaling_factor=1.0, shift_factor=None)
    latents = encode(vae, images)
    shift = float(latents.mean()) if vae.config.latent_channels == 16 else None
    vae.register_to_config(scaling_factor=1 / float(latents.std()), shift_factor=shift)


def _shift(vae: AutoencoderKL) -> float:
    return float(vae.config.shift_factor or 0.0)


@torch.no_grad()
def encode(vae: AutoencoderKL, images: NDArray[np.uint8]) -> Tensor:
    """uint8 [N, H, W, C] to the means of scaled latents, float32 [N, c, h, w]."""
    parts = [vae.encode(to_pixels(part)).latent_dist.mean for part in _parts(images)]
    scaled: Tensor = (torch.cat(parts) - _shift(vae)) * vae.config.scaling_factor
    return scaled


@torch.no_grad()
def decode(vae: AutoencoderKL, latents_Nchw: Tensor) -> NDArray[np.uint8]:
    """Scaled latents [N, c, h, w] to uint8 [N, H, W, C]."""
    own = latents_Nchw / vae.config.scaling_factor + _shift(vae)
    return np.concatenate([to_images(vae.decode(part).sample) for part in own.split(_PART)])


def reconstruct(vae: AutoencoderKL, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """uint8 [N, H, W, C] through the autoencoder and back."""
    return decode(vae, encode(vae, images))


def _parts(images: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    return [images[start : start + _PART] for start in range(0, len(images), _PART)]
