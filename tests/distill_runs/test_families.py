from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import (
    DiffusionPipeline,
    PixArtTransformer2DModel,
    SD3Transformer2DModel,
    UNet2DConditionModel,
)
from torch import nn

from distill_runs.ema import MovingAverage
from distill_runs.families import Condition
from distill_runs.models import Model, as_model, load_model
from distill_runs.quiet import cut_silently
from distill_runs.roles import trainable
from distill_runs.settings import AdamW
from tests.distill_runs.small_runs import ALONE, small_run, trainer_of

CAPTIONS = ["a red circle", "two blue stars"]
FAMILIES = ["unet", "pixart", "sd3"]


def noisy(model: Model, count: int = 2) -> torch.Tensor:
    shape = (count, model.vae_facts["channels"], 6, 4)
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("family", FAMILIES)
def test_no_parameter_is_left_without_a_gradient(family: str, random_models: dict[str, Path]) -> None:
    """DDP stops at the second step of a network with a parameter that its loss does not reach."""
    model = load_model(str(random_models[family]))
    times_B = model.schedule.times(torch.tensor([0.3, 0.8]))
    model.predict(model.net, noisy(model), times_B, model.encode(CAPTIONS)).square().mean().backward()
    assert [name for name, p in model.net.named_parameters() if p.grad is None] == []


def test_the_variance_half_of_pixart_is_dropped(random_models: dict[str, Path]) -> None:
    model = load_model(str(random_models["pixart"]))
    model.net.eval()
    x_t, times_B, condition = noisy(model), torch.tensor([10, 900]), model.encode(CAPTIONS)
    with torch.no_grad():
        ours = model.predict(model.net, x_t, times_B, condition)
        whole = model.net(
            x_t,
            encoder_hidden_states=condition.tokens_BLD,
            encoder_attention_mask=condition.mask_BL,
            timestep=times_B,
        ).sample
    assert (whole.shape[1], ours.shape) == (8, x_t.shape)
    assert torch.equal(ours, whole[:, :4])


@pytest.mark.parametrize("family", FAMILIES)
def test_a_dropped_caption_reads_as_empty_for_the_encoder_that_lost_it(
    family: str, random_models: dict[str, Path]
) -> None:
    model = load_model(str(random_models[family]))
    seen, empty = model.encode(CAPTIONS), model.encode([""])
    encoders = model.family.encoders
    dropped = model.encode(CAPTIONS, {encoder: [True, False] for encoder in encoders})
    torch.testing.assert_close(dropped.tokens_BLD[:1], empty.tokens_BLD)
    torch.testing.assert_close(dropped.tokens_BLD[1:], seen.tokens_BLD[1:])
    assert not torch.equal(seen.tokens_BLD[:1], empty.tokens_BLD)
    if family == "sd3":
        assert dropped.pooled_BD is not None
        assert empty.pooled_BD is not None
        torch.testing.assert_close(dropped.pooled_BD[:1], empty.pooled_BD)


def test_each_encoder_of_sd3_loses_its_own_part(random_models: dict[str, Path]) -> None:
    model = load_model(str(random_models["sd3"]))
    seen = model.encode(CAPTIONS)
    clip_tokens = model.pipeline.tokenizer.model_max_length
    first = model.pipeline.text_encoder.config.hidden_size
    parts = {  # (tokens, channels) that are the encoder's
        "text_encoder": (slice(clip_tokens), slice(first)),
        "text_encoder_2": (slice(clip_tokens), slice(first, None)),
        "text_encoder_3": (slice(clip_tokens, None), slice(None)),
    }
    for encoder, (tokens, channels) in parts.items():
        changed = model.encode(CAPTIONS, {encoder: [True, False]}).tokens_BLD != seen.tokens_BLD
        assert changed[0, tokens, channels].any(), encoder
        changed[0, tokens, channels] = False
        assert not changed.any(), encoder


def test_a_removed_t5_is_zeros_and_not_the_t5_of_the_empty_caption(random_models: dict[str, Path]) -> None:
    folder = random_models["sd3"]
    whole = load_model(str(folder))
    pipeline = DiffusionPipeline.from_pretrained(folder, text_encoder_3=None, tokenizer_3=None)
    without = as_model(str(folder), pipeline)
    clip_tokens = whole.pipeline.tokenizer.model_max_length
    zeros, empty = without.encode(CAPTIONS), whole.encode(CAPTIONS, {"text_encoder_3": [True, True]})
    assert zeros.tokens_BLD.shape == (2, clip_tokens + 256, whole.config["joint_attention_dim"])
    assert not zeros.tokens_BLD[:, clip_tokens:].any()
    assert empty.tokens_BLD[:, clip_tokens:].abs().amax(-1).min() > 0
    torch.testing.assert_close(zeros.tokens_BLD[:, :clip_tokens], empty.tokens_BLD[:, :clip_tokens])
    times_B = whole.schedule.times(torch.tensor([0.3, 0.8]))
    with torch.no_grad():
        said = [whole.predict(whole.net, noisy(whole), times_B, c) for c in (zeros, empty)]
    assert (said[0] - said[1]).abs().max() > 1e-4


@pytest.mark.parametrize(("family", "tokens"), [("pixart", 300), ("sd3", 256)])
def test_a_stock_call_by_its_own_defaults_sees_what_training_saw(
    family: str, tokens: int, random_models: dict[str, Path]
) -> None:
    """The tokenizer of the real T5 says 512, for the stock pipelines to take as much of it as they do."""
    model = load_model(str(random_models[family]))
    pipeline, long = model.pipeline, ["three blue stars in a row " * 90, "a red circle"]
    t5 = pipeline.tokenizer_3 if family == "sd3" else pipeline.tokenizer
    clip_tokens = pipeline.tokenizer.model_max_length if family == "sd3" else 0
    for said in (48, 512):
        t5.model_max_length = said
        ours = model.encode(long)
        assert ours.tokens_BLD.shape[1] == clip_tokens + min(said, tokens)
    prompts = (long,) * len(model.family.encoders)
    with torch.no_grad(), cut_silently(pipeline):
        stock = pipeline.encode_prompt(*prompts, do_classifier_free_guidance=False)
    torch.testing.assert_close(ours.tokens_BLD, stock[0])


def test_captions_are_dropped_for_all_encoders_and_for_each(
    random_models: dict[str, Path], squares: Path, tmp_path: Path
) -> None:
    run = small_run(random_models["sd3"])
    for fields, every, own in (
        ({"caption_dropout": 1.0}, 1.0, 1.0),
        ({"caption_dropout": 0.0, "encoder_dropout": 0.0}, 0.0, 0.0),
        ({"caption_dropout": 0.0, "encoder_dropout": 0.25}, 0.25**3, 0.25),
        ({"caption_dropout": 0.5, "encoder_dropout": 0.5}, 0.5 + 0.5**4, 0.75),
    ):
        with trainer_of(replace(run, **fields), squares, tmp_path) as trainer:
            dropped = trainer._dropped(4000, torch.Generator().manual_seed(0))
        lost_BE = torch.tensor([dropped[encoder] for encoder in trainer.model.family.encoders])
        assert lost_BE.all(0).float().mean().item() == pytest.approx(every, abs=0.03)
        assert lost_BE.float().mean(1).tolist() == pytest.approx([own] * 3, abs=0.03)


def test_conditions_of_two_batches() -> None:
    one = Condition(torch.ones(3, 2, 4), torch.ones(3, 2), torch.ones(3, 5))
    null = Condition(torch.zeros(1, 2, 4), torch.zeros(1, 2), torch.zeros(1, 5))
    both = one.and_then(null)
    assert both.mask_BL is not None
    assert both.pooled_BD is not None
    assert (both.tokens_BLD.shape, both.mask_BL.shape, both.pooled_BD.shape) == ((6, 2, 4), (6, 2), (6, 5))
    assert both.tokens_BLD[:, 0, 0].tolist() == [1, 1, 1, 0, 0, 0]


def sd1_unet() -> nn.Module:
    return UNet2DConditionModel(
        sample_size=64,
        in_channels=4,
        out_channels=4,
        block_out_channels=(320, 640, 1280, 1280),
        layers_per_block=2,
        cross_attention_dim=768,
        attention_head_dim=8,
    )


def pixart_sigma() -> nn.Module:
    return PixArtTransformer2DModel(
        sample_size=128,
        patch_size=2,
        in_channels=4,
        out_channels=8,
        num_layers=28,
        num_attention_heads=16,
        attention_head_dim=72,
        cross_attention_dim=1152,
        caption_channels=4096,
        interpolation_scale=2,
        use_additional_conditions=False,
    )


def sd35_medium() -> nn.Module:
    return SD3Transformer2DModel(
        sample_size=128,
        patch_size=2,
        in_channels=16,
        out_channels=16,
        num_layers=24,
        num_attention_heads=24,
        attention_head_dim=64,
        joint_attention_dim=4096,
        caption_projection_dim=1536,
        pooled_projection_dim=2048,
        pos_embed_max_size=384,
        dual_attention_layers=tuple(range(13)),
        qk_norm="rms_norm",
    )


@pytest.mark.parametrize(
    ("build", "parameters", "buffer"),
    [(sd1_unet, 859_520_964, 0), (pixart_sigma, 610_856_096, 0), (sd35_medium, 2_243_171_520, 226_492_416)],
)
def test_networks_of_full_size_have_their_published_parameters(
    build: object, parameters: int, buffer: int
) -> None:
    """On the meta device; SD3's table of positions is a buffer that neither average nor optimizer holds."""
    with torch.device("meta"):
        net = build()  # type: ignore[operator]
    assert sum(p.numel() for p in net.parameters()) == parameters
    in_files = sum(t.numel() for t in net.state_dict().values())
    assert in_files == parameters + buffer
    average = MovingAverage(net, 0.99, warm=False)
    assert sum(t.numel() for t in average.shadow.values()) == parameters
    role = trainable("student", net, ".*", AdamW(), ALONE)
    assert role.optimizer is not None
    held = [p for group in role.optimizer.param_groups for p in group["params"]]
    assert sum(p.numel() for p in held) == parameters
