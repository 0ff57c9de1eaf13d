"""The three text-to-image pipelines before training: trained VAE and text encoders, a random denoiser.

The denoisers are trained by ``mashbill distill`` on packs that ``mashbill build`` made of drawn scenes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DiffusionPipeline,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    PixArtSigmaPipeline,
    PixArtTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from transformers import (
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5EncoderModel,
    T5Tokenizer,
)

GRID, PATCH = 16, 2
"""Latent cells per side, 64 pixels by vae-4 of factor 4, and cells per side of a token: 64 tokens."""
SD3_GRID, SD3_PATCH = 8, 1
"""The same for vae-16, of factor 8."""
GROUPS = 8
MODELS = Path(__file__).parents[1] / "models"
"""The trained parts, as they are shipped."""


def untrained_unet(models: Path) -> StableDiffusionPipeline:
    """SD 1.x in small: three levels with cross-attention, a mid block, epsilon, scaled-linear betas."""
    text = CLIPTextModel.from_pretrained(models / "clip-text", dtype=torch.float32)
    unet = UNet2DConditionModel(
        sample_size=GRID,
        in_channels=4,
        out_channels=4,
        block_out_channels=(32, 64, 64, 64),
        layers_per_block=2,
        cross_attention_dim=text.config.hidden_size,
        attention_head_dim=2,  # diffusers: heads, not their width; four would take a quarter longer
        norm_num_groups=GROUPS,
    )
    scheduler = DDIMScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        timestep_spacing="trailing",
    )
    return StableDiffusionPipeline(
        vae=AutoencoderKL.from_pretrained(models / "vae-4"),
        text_encoder=text,
        tokenizer=CLIPTokenizer.from_pretrained(models / "clip-text"),
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def untrained_pixart(models: Path) -> PixArtSigmaPipeline:
    """PixArt-Sigma in small: T5 alone, learned variance, linear betas."""
    text = T5EncoderModel.from_pretrained(models / "t5", dtype=torch.float32)
    transformer = PixArtTransformer2DModel(
        sample_size=GRID,
        patch_size=PATCH,
        in_channels=4,
        out_channels=8,
        num_layers=6,
        num_attention_heads=8,
        attention_head_dim=16,
        cross_attention_dim=128,
        caption_channels=text.config.d_model,
        interpolation_scale=1,
        use_additional_conditions=False,
    )
    return PixArtSigmaPipeline(
        vae=AutoencoderKL.from_pretrained(models / "vae-4"),
        text_encoder=text,
        tokenizer=T5Tokenizer.from_pretrained(models / "t5"),
        transformer=transformer,
        scheduler=DPMSolverMultistepScheduler(beta_schedule="linear", beta_start=1e-4, beta_end=0.02),
    )


def untrained_sd3(models: Path) -> StableDiffusion3Pipeline:
    """SD3.5-Medium in small: two CLIP encoders and T5, dual attention in the first blocks, a flow."""
    first = CLIPTextModelWithProjection.from_pretrained(models / "clip-text", dtype=torch.float32)
    second = CLIPTextModelWithProjection.from_pretrained(models / "clip-text-2", dtype=torch.float32)
    third = T5EncoderModel.from_pretrained(models / "t5", dtype=torch.float32)
    transformer = SD3Transformer2DModel(
        sample_size=SD3_GRID,
        patch_size=SD3_PATCH,
        in_channels=16,
        out_channels=16,
        num_layers=6,
        num_attention_heads=6,
        attention_head_dim=16,
        joint_attention_dim=third.config.d_model,  # both CLIPs side by side are padded to it
        caption_projection_dim=96,
        pooled_projection_dim=first.config.projection_dim + second.config.projection_dim,
        pos_embed_max_size=2 * SD3_GRID,
        dual_attention_layers=(0, 1, 2),
        qk_norm="rms_norm",
    )
    return StableDiffusion3Pipeline(
        vae=AutoencoderKL.from_pretrained(models / "vae-16"),
        text_encoder=first,
        tokenizer=CLIPTokenizer.from_pretrained(models / "clip-text"),
        text_encoder_2=second,
        tokenizer_2=CLIPTokenizer.from_pretrained(models / "clip-text-2"),
        text_encoder_3=third,
        tokenizer_3=T5Tokenizer.from_pretrained(models / "t5"),
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=1.0),
    )


UNTRAINED: dict[str, Callable[[Path], DiffusionPipeline]] = {
    "unet": untrained_unet,
    "pixart": untrained_pixart,
    "sd3": untrained_sd3,
}


def write_untrained(family: str, folder: Path, seed: int = 0, models: Path = MODELS) -> None:
    """Save the pipeline of a family, its denoiser drawn from the seed, as a stock folder.

    ``models``: where its VAE and text encoders lie.
    """
    torch.manual_seed(seed)
    UNTRAINED[family](models).save_pretrained(folder)
