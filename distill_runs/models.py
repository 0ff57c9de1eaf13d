"""A text-to-image model: a stock diffusers pipeline, taken apart for training.

B batch, H W pixels, C latent channels, h w latent cells.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from diffusers import DiffusionPipeline
from safetensors import SafetensorError
from torch import Tensor, nn

from distill_runs.families import FAMILIES, Condition, Dropped, Family
from distill_runs.guidance import guided
from distill_runs.pipeline_files import load_pipeline
from distill_runs.quiet import cut_silently, quiet
from distill_runs.sampler import Predict
from distill_runs.schedule import Prediction, RectifiedFlow, Schedule, VariancePreserving
from distill_runs.texts import Text
from store.errors import UsageError
from store.shipped import shipped

DISTILLED = (
    "lcm",
    "lightning",
    "turbo",
    "hyper-sd",
    "schnell",
    "flash",
    "dmd",
    "1-step",
    "4-step",
)
"""Words in the name of a model that say it was distilled to few steps."""
DISTILLED_MARK = "distilled.json"
"""Beside ``model_index.json``: a run of this project distilled the model to few steps."""


@dataclass(frozen=True)
class Model:
    """A loaded pipeline and how its denoiser is called."""

    source: str
    """The hub id or folder it came from."""
    pipeline: DiffusionPipeline
    family: Family
    schedule: Schedule

    @property
    def net(self) -> nn.Module:
        """The denoiser."""
        return cast(nn.Module, self.pipeline.components[self._place])

    @property
    def _place(self) -> str:
        return "unet" if "unet" in self.pipeline.components else "transformer"

    def put(self, net: nn.Module) -> None:
        """Set another network of its class in the place of the denoiser."""
        self.pipeline.register_modules(**{self._place: net})

    @property
    def config(self) -> Mapping[str, Any]:
        """Of the denoiser."""
        return cast(Mapping[str, Any], self.net.config)

    @property
    def vae_facts(self) -> dict[str, Any]:
        """What latents must agree in: ``channels, factor, scaling_factor, shift_factor``."""
        config = self.pipeline.vae.config
        return {
            "channels": config.latent_channels,
            "factor": 2 ** (len(config.block_out_channels) - 1),
            "scaling_factor": config.scaling_factor,
            "shift_factor": config.get("shift_factor"),
        }

    def to(self, device: torch.device, dtype: torch.dtype, encoders: bool = True) -> None:
        """Move every part to the device; text encoders and VAE stand still, the encoders in ``dtype``, or
        where they lie, in float32, where ``encoders`` is False.

        The VAE stays in float32, and so do the denoiser's weights, whatever its arithmetic.
        """
        for name, part in self.pipeline.components.items():
            if isinstance(part, nn.Module) and part is not self.net:
                part.requires_grad_(False).eval()
                if "text_encoder" not in name:
                    part.to(device)
                elif encoders:
                    part.to(device, dtype)
        self.net.to(device)

    def encode(self, captions: Sequence[str], dropped: Dropped | None = None) -> Condition:
        """The condition of the captions; captions that an encoder is not to see read as empty."""
        with cut_silently(self.pipeline):
            condition: Condition = self.family.encode(self.pipeline, captions, dropped or {})
        return condition

    def condition(
        self, texts: Mapping[str, Text], empty: Mapping[str, Text], dropped: Dropped | None = None
    ) -> Condition:
        """The condition of captions that were encoded before; those that an encoder is not to see give way
        to the ``empty`` one."""
        hidden = dropped or {}
        seen = {n: text.without(hidden[n], empty[n]) if n in hidden else text for n, text in texts.items()}
        return self.family.condition(self.pipeline, seen)

    @torch.no_grad()
    def latents(self, images_BCHW: Tensor, generator: torch.Generator) -> Tensor:
        """Unscaled latents drawn from the VAE's posterior: float32 [B, C, h, w].

        ``images_BCHW``: float32 in [-1, 1]. The VAE computes in float32; SDXL's overflows in float16.
        """
        mean, spread = self._posterior(images_BCHW)
        return mean + spread * torch.randn(mean.shape, generator=generator).to(mean)

    def mean_latents(self, images_BCHW: Tensor) -> Tensor:
        """The means of the VAE's posterior, unscaled: float32 [B, C, h, w], on the CPU."""
        return self._posterior(images_BCHW)[0].cpu()

    @torch.no_grad()
    def _posterior(self, images_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Means and spreads of the VAE's posterior, unscaled: float32 [B, C, h, w]."""
        vae, found = self.pipeline.vae, []
        with torch.autocast(vae.device.type, enabled=False):
            for part in torch.split(images_BCHW, _at_once(images_BCHW)):
                posterior = vae.encode(part.to(vae.device, vae.dtype)).latent_dist
                found.append((posterior.mean.float(), posterior.std.float()))
        return torch.cat([mean for mean, _ in found]), torch.cat([spread for _, spread in found])

    def scaled(self, latents_BChw: Tensor) -> Tensor:
        """(z - shift) scale: what the denoiser works on, of unscaled latents."""
        facts = self.vae_facts
        scaled: Tensor = (latents_BChw - (facts["shift_factor"] or 0.0)) * facts["scaling_factor"]
        return scaled

    @torch.no_grad()
    def images(self, x0_BChw: Tensor) -> Tensor:
        """Pictures of scaled latents: float32 [B, 3, H, W] in [-1, 1]."""
        facts, vae = self.vae_facts, self.pipeline.vae
        latents = x0_BChw / facts["scaling_factor"] + (facts["shift_factor"] or 0.0)
        parts = torch.split(latents.to(vae.device, vae.dtype), _at_once(latents, facts["factor"]))
        return torch.cat([vae.decode(part).sample.float() for part in parts]).clamp(-1, 1)

    def predict(self, net: nn.Module, x_t: Tensor, times_B: Tensor, condition: Condition) -> Tensor:
        """The prediction of ``net``, a network of this family, in the measure of its schedule.

        ``x_t`` may be float64, as schedules compute it; the network gets float32.
        """
        return self.family.predict(net, x_t.float(), self.schedule.network_times(times_B), condition)

    def guided(self, net: nn.Module, condition: Condition, null: Condition, guidance_scale: float) -> Predict:
        """A prediction with guidance, both branches in one batch; a scale of 1 takes one branch alone."""

        def predict(x_t: Tensor, times_B: Tensor) -> Tensor:
            if guidance_scale == 1:
                return self.predict(net, x_t, times_B, condition)
            both = condition.and_then(null)
            out = self.predict(net, torch.cat([x_t, x_t]), torch.cat([times_B, times_B]), both)
            conditional, unconditional = out.float().chunk(2)
            return guided(unconditional, conditional, guidance_scale)

        return predict

    def save(self, folder: Path) -> None:
        """Write the stock pipeline: ``DiffusionPipeline.from_pretrained(folder)`` loads it."""
        with quiet():
            self.pipeline.save_pretrained(folder)


PIXELS_AT_ONCE = 4 * 1024 * 1024
"""What a VAE works on at a time: in float32, about 16 GB for decoding."""


def _at_once(images_BCHW: Tensor, factor: int = 1) -> int:
    """How many of the batch a VAE takes at a time, at least one; ``factor`` pixels to a side of a cell."""
    return max(1, PIXELS_AT_ONCE // (images_BCHW.shape[-2] * images_BCHW.shape[-1] * factor**2))


def load_model(source: str, revision: str | None = None, role: str = "student") -> Model:
    """A pipeline of a hub id or a folder, in float32, to be looked at: what is trained, ``roles`` says.

    Raises:
        UsageError: there is no such model, it is not whole, or it is none of SD 1.x, PixArt-Sigma and SD3.
    """
    found = shipped(source)
    try:
        with quiet():
            pipeline = load_pipeline(found, revision)
    except (OSError, ValueError, AttributeError, SafetensorError) as error:
        said = " ".join(str(error).split())
        raise UsageError(
            f"the {role} {source!r} cannot be loaded ({said}). Expected a folder of diffusers, or "
            f"the id of a model that can be reached or was fetched before (hf download {source})."
        ) from error
    return as_model(source, pipeline)


def as_model(source: str, pipeline: DiffusionPipeline) -> Model:
    """The model of a pipeline. Raises ``UsageError`` where it is of no known family."""
    parts = pipeline.components
    net = parts.get("unet") or parts.get("transformer")
    family = FAMILIES.get(type(net).__name__)
    if family is None:
        raise UsageError(
            f"the model {source!r} has a denoiser of class {type(net).__name__}; expected one of "
            f"{', '.join(FAMILIES)}."
        )
    if net.config.get("use_additional_conditions"):
        raise UsageError(
            f"the model {source!r} wants resolution and aspect ratio as conditions (PixArt-alpha); expected "
            "PixArt-Sigma, whose transformer has use_additional_conditions false."
        )
    schedule = _schedule(source, pipeline.scheduler.config)
    model = Model(source, pipeline, family, schedule)
    channels = model.vae_facts["channels"]
    if channels != net.config.in_channels:
        raise UsageError(
            f"the model {source!r}: its VAE has {channels} latent channels, its denoiser takes "
            f"{net.config.in_channels}. They are not of one model."
        )
    return model


def _schedule(source: str, config: Any) -> Schedule:
    if "beta_schedule" not in config:
        if "FlowMatch" not in str(config.get("_class_name", "FlowMatch")):
            raise UsageError(f"the model {source!r} has a {config['_class_name']}: expected betas or a flow.")
        return RectifiedFlow()
    for unread in ("trained_betas", "rescale_betas_zero_snr"):
        if config.get(unread):
            raise UsageError(f"the scheduler of {source!r} has {unread}, which no schedule here follows.")
    steps, start, end = config["num_train_timesteps"], config["beta_start"], config["beta_end"]
    if config["beta_schedule"] == "scaled_linear":
        betas_T = torch.linspace(math.sqrt(start), math.sqrt(end), steps, dtype=torch.float64) ** 2
    elif config["beta_schedule"] == "linear":
        betas_T = torch.linspace(start, end, steps, dtype=torch.float64)
    else:
        raise UsageError(
            f"the model {source!r} has the beta schedule {config['beta_schedule']!r}; expected linear or "
            "scaled_linear."
        )
    said = {"epsilon": "epsilon", "v_prediction": "v", "sample": "x0"}.get(config["prediction_type"])
    if said is None:
        raise UsageError(
            f"the model {source!r} predicts {config['prediction_type']!r}; expected epsilon, v_prediction or "
            "sample."
        )
    return VariancePreserving((1 - betas_T).cumprod(0), cast(Prediction, said))


def refuse_distilled(model: Model) -> None:
    """Refuse a model that was distilled to few steps: the plain denoising loss blurs it.

    Raises:
        UsageError: its w-embedding, its scheduler, its mark or its name says so.
    """
    config, scheduler = model.config, type(model.pipeline.scheduler).__name__
    reasons = (
        ("its UNet has a guidance embedding", bool(config.get("time_cond_proj_dim"))),
        (f"its scheduler is {scheduler}", scheduler in ("LCMScheduler", "TCDScheduler")),
        (f"it holds {DISTILLED_MARK}", (Path(shipped(model.source)) / DISTILLED_MARK).exists()),
        ("its name says so", any(word in Path(model.source).name.lower() for word in DISTILLED)),
    )
    for reason, holds in reasons:
        if holds:
            raise UsageError(
                f"{model.source!r} is distilled to few steps ({reason}); the plain denoising loss would blur "
                "it. Finetune the model it was distilled from, or say --set force=true."
            )


def check_same_latents(model: Model, other: Model, role: str) -> None:
    """Refuse a teacher whose latents or prediction are not the student's. Raises ``UsageError``."""
    ours, theirs = model.vae_facts, other.vae_facts
    differ = [name for name in ours if ours[name] != theirs[name]]
    if differ:
        said = ", ".join(f"{name} {theirs[name]} (student {ours[name]})" for name in differ)
        raise UsageError(f"the {role} {other.source!r} has other latents than {model.source!r}: {said}.")
    if (
        type(model.schedule) is not type(other.schedule)
        or model.schedule.prediction != other.schedule.prediction
    ):
        raise UsageError(
            f"the {role} {other.source!r} predicts {other.schedule.prediction}, the student "
            f"{model.source!r} {model.schedule.prediction}; expected the same."
        )
