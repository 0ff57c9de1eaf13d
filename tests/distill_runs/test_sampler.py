"""Roll-outs against the stock schedulers and the stock pipelines' own loops."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, FlowMatchEulerDiscreteScheduler
from torch import Tensor

from distill_runs.models import load_model
from distill_runs.sampler import even_times, predicted_noise, roll_out, sample, times_at
from distill_runs.schedule import RectifiedFlow, VariancePreserving

FLOW = RectifiedFlow()
ABAR_T = DDPMScheduler().alphas_cumprod.double()


def test_four_steps_of_a_flow_are_equal_parts_and_the_stock_grid_is_not() -> None:
    assert even_times(FLOW, 4).tolist() == [1.0, 0.75, 0.5, 0.25]
    stock = FlowMatchEulerDiscreteScheduler(shift=1.0)
    stock.set_timesteps(4)
    assert stock.sigmas[3].item() == pytest.approx(0.001)
    stock.set_timesteps(sigmas=[1.0, 0.75, 0.5, 0.25])
    assert stock.sigmas.tolist() == [1.0, 0.75, 0.5, 0.25, 0.0]


def test_shifted_times_are_those_of_the_stock_scheduler_given_the_even_ones() -> None:
    stock = FlowMatchEulerDiscreteScheduler(shift=3.0)
    stock.set_timesteps(sigmas=[1.0, 0.75, 0.5, 0.25])
    torch.testing.assert_close(even_times(FLOW, 4, shift=3.0), stock.sigmas[:-1].double())


def test_the_times_of_a_table_are_trailing_at_every_count_that_divides_it() -> None:
    vp, stock = VariancePreserving(ABAR_T), DDIMScheduler(timestep_spacing="trailing")
    for num_steps in (n for n in range(1, 1001) if 1000 % n == 0):
        stock.set_timesteps(num_steps)
        assert even_times(vp, num_steps).tolist() == stock.timesteps.tolist(), num_steps
    for num_steps in (3, 7, 28, 30, 64):  # where parts are not whole numbers we round up, diffusers to even
        stock.set_timesteps(num_steps)
        assert (even_times(vp, num_steps) - stock.timesteps).abs().max() <= 1


def test_named_fractions() -> None:
    assert times_at(FLOW, (1.0, 0.4)).tolist() == [1.0, 0.4]
    assert times_at(VariancePreserving(ABAR_T), (1.0, 0.75, 0.34)).tolist() == [999, 749, 339]


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("prediction", ["epsilon", "v", "x0"])
def test_each_step_is_that_of_ddim(prediction: Any) -> None:
    word = {"epsilon": "epsilon", "v": "v_prediction", "x0": "sample"}[prediction]
    stock = DDIMScheduler(prediction_type=word, timestep_spacing="trailing", clip_sample=False)
    stock.set_timesteps(5)
    vp = VariancePreserving(stock.alphas_cumprod.double(), prediction)
    outputs = [noise(2, 3, 4, seed=i) for i in range(1, 6)]
    predict = iter(outputs)
    points = list(roll_out(lambda x_t, times_B: next(predict), noise(2, 3, 4), vp, even_times(vp, 5)))
    x_t = noise(2, 3, 4)
    for point, timestep, output in zip(points, stock.timesteps, outputs, strict=True):
        torch.testing.assert_close(point.x_t, x_t, rtol=1e-6, atol=1e-6)
        x_t = stock.step(output, timestep, x_t).prev_sample
    torch.testing.assert_close(points[-1].x0, x_t, rtol=1e-6, atol=1e-6)


def test_each_step_of_a_flow_is_that_of_euler() -> None:
    stock = FlowMatchEulerDiscreteScheduler(shift=3.0)
    stock.set_timesteps(sigmas=[1.0, 0.75, 0.5, 0.25])
    outputs = [noise(2, 3, 4, seed=i).float() for i in range(1, 5)]
    predict, x_t = iter(outputs), noise(2, 3, 4).float()
    points = list(roll_out(lambda x_t, times_B: next(predict), x_t, FLOW, even_times(FLOW, 4, 3.0)))
    for point, timestep, output in zip(points, stock.timesteps, outputs, strict=True):
        torch.testing.assert_close(point.x_t.float(), x_t, rtol=1e-5, atol=1e-5)
        x_t = stock.step(output, timestep, x_t).prev_sample
    torch.testing.assert_close(points[-1].x0.float(), x_t, rtol=1e-5, atol=1e-5)


def test_a_perfect_network_gives_its_picture_at_any_count_of_steps() -> None:
    picture, start = noise(1, 3, 4), noise(2, 3, 4, seed=1)
    for num_steps in (1, 4, 25):
        found = sample(
            lambda x_t, times_B: (x_t - picture) / times_B.view(-1, 1, 1),
            start,
            FLOW,
            even_times(FLOW, num_steps),
        )
        torch.testing.assert_close(found, picture.expand(2, -1, -1))


def test_the_noise_of_a_step_is_what_the_caller_says() -> None:
    """Stochastic sampling: x_s = (1 - s) x0 + s epsilon', whatever was predicted."""
    fresh, start = noise(2, 3, 4, seed=9), noise(2, 3, 4)
    first, second = roll_out(lambda x_t, _: x_t * 0.5, start, FLOW, even_times(FLOW, 2), lambda point: fresh)
    torch.testing.assert_close(first.epsilon, predicted_noise(first))
    torch.testing.assert_close(second.x_t, 0.5 * first.x0 + 0.5 * fresh)
    assert (first.index, second.index, second.time.item()) == (0, 1, 0.5)


def stock_pictures(family: str, folder: Path, start: Tensor, num_steps: int) -> Tensor:
    """Latents by the stock pipeline itself, with guidance 4.5."""
    pipeline = load_model(str(folder)).pipeline
    pipeline.set_progress_bar_config(disable=True)
    asked: dict[str, Any] = {"num_inference_steps": num_steps}
    if family == "sd3":
        pipeline.scheduler = FlowMatchEulerDiscreteScheduler(shift=1.0)
        longest = pipeline.tokenizer_3.model_max_length  # the stock call pads T5 to 256 unless it is told
        asked = {"sigmas": [1 - i / num_steps for i in range(num_steps)], "max_sequence_length": longest}
    else:
        pipeline.scheduler = DDIMScheduler.from_config(
            pipeline.scheduler.config, timestep_spacing="trailing", clip_sample=False, set_alpha_to_one=True
        )
    if family == "pixart":
        asked |= {"use_resolution_binning": False, "clean_caption": False}
    latents: Tensor = pipeline(
        prompt=["a red circle", "two blue stars"],
        negative_prompt="" if family == "pixart" else ["", ""],
        height=8 * start.shape[2],
        width=8 * start.shape[3],
        latents=start.clone(),
        guidance_scale=4.5,
        output_type="latent",
        **asked,
    ).images
    return latents


@pytest.mark.parametrize("family", ["unet", "pixart", "sd3"])
def test_a_roll_out_is_the_stock_pipelines_own_loop(family: str, random_models: dict[str, Path]) -> None:
    """Prompts, null condition, guidance, times and steps, all at once; and images that are not square."""
    model = load_model(str(random_models[family]))
    model.net.eval()
    start = noise(2, model.vae_facts["channels"], 8, 4).float()
    condition, null = model.encode(["a red circle", "two blue stars"]), model.encode([""])
    predict = model.guided(model.net, condition, null, 4.5)
    for num_steps in (4, 10):
        with torch.no_grad():
            ours = sample(predict, start, model.schedule, even_times(model.schedule, num_steps))
        theirs = stock_pictures(family, random_models[family], start, num_steps)
        scale = theirs.abs().max().item()
        assert math.isfinite(scale)
        torch.testing.assert_close(ours.float() / scale, theirs / scale, rtol=1e-4, atol=1e-4)
