"""The three families of denoisers, called alike. B batch, C latent channels, h w latent cells.

A family says how a network of its class is called and what its pipeline's text encoders give it. It
holds no network: student, teacher and average are networks of one family.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from diffusers import DiffusionPipeline
from torch import Tensor, nn

from distill_runs.texts import Text
from store.text_encodings import T5_TOKENS


@dataclass(frozen=True)
class Condition:
    """What a denoiser is told of B captions."""

    tokens_BLD: Tensor
    mask_BL: Tensor | None = None
    """1 for tokens, 0 for padding; None where padding is read too."""
    pooled_BD: Tensor | None = None

    def and_then(self, other: Condition) -> Condition:
        """Both batches, one after the other; the null condition may be a batch of one."""
        count = len(self.tokens_BLD)

        def both(first: Tensor | None, second: Tensor | None) -> Tensor | None:
            if first is None or second is None:
                return None
            return torch.cat([first, second.expand(count, *second.shape[1:])])

        tokens = both(self.tokens_BLD, other.tokens_BLD)
        assert tokens is not None
        return Condition(tokens, both(self.mask_BL, other.mask_BL), both(self.pooled_BD, other.pooled_BD))

    def to(self, device: torch.device, dtype: torch.dtype) -> Condition:
        """On the device; the mask keeps its dtype."""
        mask = None if self.mask_BL is None else self.mask_BL.to(device)
        pooled = None if self.pooled_BD is None else self.pooled_BD.to(device, dtype)
        return Condition(self.tokens_BLD.to(device, dtype), mask, pooled)


Dropped = Mapping[str, Sequence[bool]]
"""For each text encoder, which captions of the batch it does not get to see."""


class Family(Protocol):
    """How a class of networks is called."""

    @property
    def name(self) -> str:
        """Of the family."""

    @property
    def encoders(self) -> tuple[str, ...]:
        """The text encoders, in the pipeline's words."""

    def predict(self, net: nn.Module, x_t: Tensor, network_times_B: Tensor, condition: Condition) -> Tensor:
        """The network's prediction, [B, C, h, w] as ``x_t``: epsilon, v or velocity, nothing else."""

    def encode(self, pipeline: DiffusionPipeline, captions: Sequence[str], dropped: Dropped) -> Condition:
        """The condition of the captions, by the pipeline's own encoders, without a gradient."""

    def condition(self, pipeline: DiffusionPipeline, texts: Mapping[str, Text]) -> Condition:
        """The same of what the encoders gave before, by their names."""

    def lengths(self, pipeline: DiffusionPipeline) -> dict[str, int]:
        """The most tokens that each encoder reads of a caption; without those the pipeline lacks."""


def _seen(captions: Sequence[str], dropped: Dropped, encoder: str) -> list[str]:
    hidden = dropped.get(encoder, [False] * len(captions))
    return ["" if hide else caption for caption, hide in zip(captions, hidden, strict=True)]


@dataclass(frozen=True)
class UNet:
    """SD 1.x and its prunings: ``UNet2DConditionModel`` and one CLIP text encoder."""

    name: ClassVar[str] = "unet"
    encoders: ClassVar[tuple[str, ...]] = ("text_encoder",)

    def predict(self, net: nn.Module, x_t: Tensor, network_times_B: Tensor, condition: Condition) -> Tensor:
        out: Tensor = net(x_t, network_times_B, encoder_hidden_states=condition.tokens_BLD).sample
        return out

    @torch.no_grad()
    def encode(self, pipeline: DiffusionPipeline, captions: Sequence[str], dropped: Dropped) -> Condition:
        seen = _seen(captions, dropped, "text_encoder")
        tokens_BLD, _ = pipeline.encode_prompt(seen, pipeline.text_encoder.device, 1, False)
        return Condition(tokens_BLD)

    def condition(self, pipeline: DiffusionPipeline, texts: Mapping[str, Text]) -> Condition:
        return Condition(texts["text_encoder"].tokens_BLD)

    def lengths(self, pipeline: DiffusionPipeline) -> dict[str, int]:
        return {"text_encoder": pipeline.tokenizer.model_max_length}


@dataclass(frozen=True)
class PixArt:
    """PixArt-Sigma: ``PixArtTransformer2DModel`` and one T5 encoder with its mask.

    The variance half of the eight channels is dropped: the samplers do not read it. Its unconditional
    input is T5 of the empty caption.
    """

    name: ClassVar[str] = "pixart"
    encoders: ClassVar[tuple[str, ...]] = ("text_encoder",)

    def predict(self, net: nn.Module, x_t: Tensor, network_times_B: Tensor, condition: Condition) -> Tensor:
        out: Tensor = net(
            x_t,
            encoder_hidden_states=condition.tokens_BLD,
            encoder_attention_mask=condition.mask_BL,
            timestep=network_times_B,
            added_cond_kwargs={"resolution": None, "aspect_ratio": None},
        ).sample
        return out[:, : x_t.shape[1]]

    @torch.no_grad()
    def encode(self, pipeline: DiffusionPipeline, captions: Sequence[str], dropped: Dropped) -> Condition:
        tokens_BLD, mask_BL, _, _ = pipeline.encode_prompt(
            _seen(captions, dropped, "text_encoder"),
            do_classifier_free_guidance=False,
            device=pipeline.text_encoder.device,
            max_sequence_length=self.lengths(pipeline)["text_encoder"],
        )
        return Condition(tokens_BLD, mask_BL)

    def condition(self, pipeline: DiffusionPipeline, texts: Mapping[str, Text]) -> Condition:
        return Condition(texts["text_encoder"].tokens_BLD, texts["text_encoder"].mask_BL)

    def lengths(self, pipeline: DiffusionPipeline) -> dict[str, int]:
        return {"text_encoder": min(T5_TOKENS[self.name], pipeline.tokenizer.model_max_length)}


@dataclass(frozen=True)
class SD3:
    """SD3 and SD3.5: ``SD3Transformer2DModel``, two CLIP text encoders and T5.

    A dropped encoder reads the empty caption. A pipeline without its T5 gives zeros in its place, as
    the stock pipeline does; the two are different inputs.
    """

    name: ClassVar[str] = "sd3"
    encoders: ClassVar[tuple[str, ...]] = ("text_encoder", "text_encoder_2", "text_encoder_3")

    def predict(self, net: nn.Module, x_t: Tensor, network_times_B: Tensor, condition: Condition) -> Tensor:
        out: Tensor = net(
            hidden_states=x_t,
            encoder_hidden_states=condition.tokens_BLD,
            pooled_projections=condition.pooled_BD,
            timestep=network_times_B,
        ).sample
        return out

    @torch.no_grad()
    def encode(self, pipeline: DiffusionPipeline, captions: Sequence[str], dropped: Dropped) -> Condition:
        tokens_BLD, _, pooled_BD, _ = pipeline.encode_prompt(
            *(_seen(captions, dropped, encoder) for encoder in self.encoders),
            device=pipeline.text_encoder.device,
            do_classifier_free_guidance=False,
            max_sequence_length=self.lengths(pipeline).get("text_encoder_3", T5_TOKENS[self.name]),
        )
        return Condition(tokens_BLD, pooled_BD=pooled_BD)

    def condition(self, pipeline: DiffusionPipeline, texts: Mapping[str, Text]) -> Condition:
        clips, t5 = [texts[name] for name in self.encoders[:2]], texts.get(self.encoders[2])
        clip_BLD = torch.cat([clip.tokens_BLD for clip in clips], dim=-1)
        width = pipeline.transformer.config.joint_attention_dim
        zeros = clip_BLD.new_zeros(len(clip_BLD), T5_TOKENS[self.name], width)
        t5_BLD = t5.tokens_BLD if t5 else zeros
        clip_BLD = nn.functional.pad(clip_BLD, (0, width - clip_BLD.shape[-1]))
        pooled_BD = torch.cat([clip.pooled_BP for clip in clips if clip.pooled_BP is not None], dim=-1)
        return Condition(torch.cat([clip_BLD, t5_BLD], dim=1), pooled_BD=pooled_BD)

    def lengths(self, pipeline: DiffusionPipeline) -> dict[str, int]:
        clip, t5 = pipeline.tokenizer.model_max_length, pipeline.tokenizer_3
        found = {"text_encoder": clip, "text_encoder_2": clip}
        return found | ({"text_encoder_3": min(T5_TOKENS[self.name], t5.model_max_length)} if t5 else {})


FAMILIES: dict[str, Family] = {
    "UNet2DConditionModel": UNet(),
    "PixArtTransformer2DModel": PixArt(),
    "SD3Transformer2DModel": SD3(),
}
"""By the class of the denoiser."""
