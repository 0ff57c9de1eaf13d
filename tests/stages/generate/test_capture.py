"""What is kept of the way from noise to image."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    AutoPipelineForText2Image,
    DDIMScheduler,
    EulerAncestralDiscreteScheduler,
    HeunDiscreteScheduler,
)

from stages.generate.batches import Maker, Order
from stages.generate.capture import Capture, Way
from stages.generate.noise import generators
from store.errors import UsageError

# diffusers itself, in some schedulers
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
EVERYTHING = Capture(noise=True, latents=True, trajectory=(1.0, 0.75, 0.5, 0.25, 0.0))
ORDERS = [Order("a red circle", 11), Order("a blue square", 12)]
STEPS = {"num_inference_steps": 4}


def made(
    pipeline: Any, capture: Capture, **arguments: Any
) -> list[tuple[np.ndarray[Any, Any], dict[str, Any]]]:
    """Pixels and captured arrays (``times`` too) of each order."""
    found = Maker(pipeline, STEPS | arguments, capture, 8).make(ORDERS)
    return [
        (one.pixels, {n: np.load(io.BytesIO(data)) for n, data in one.extra} | {"times": one.times})
        for one in found
        if one.pixels is not None
    ]


@pytest.fixture(scope="module", params=["unet", "pixart", "sd3"])
def pipeline(request: pytest.FixtureRequest, random_models: dict[str, Path]) -> Any:
    loaded = AutoPipelineForText2Image.from_pretrained(random_models[request.param])
    loaded.set_progress_bar_config(disable=True)
    return loaded


def options(pipeline: Any) -> dict[str, Any]:
    return {"use_resolution_binning": False} if "PixArt" in type(pipeline).__name__ else {}


def decoded(pipeline: Any, latents_BChw: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """What the pipeline's VAE makes of latents: uint8 [B, H, W, 3]."""
    config = pipeline.vae.config
    latents = torch.from_numpy(latents_BChw) / config.scaling_factor + (config.shift_factor or 0.0)
    with torch.inference_mode():
        images = (pipeline.vae.decode(latents).sample / 2 + 0.5).clamp(0, 1)
    return (images.permute(0, 2, 3, 1).numpy() * 255).round().astype(np.uint8)


def test_the_image_is_the_same_and_follows_from_what_was_captured(pipeline: Any) -> None:
    plain = made(pipeline, Capture(), **options(pipeline))
    captured = made(pipeline, EVERYTHING, **options(pipeline))
    last = np.stack([arrays["latents"] for _, arrays in captured])
    for (one, _), (other, arrays), image in zip(plain, captured, decoded(pipeline, last), strict=True):
        assert np.array_equal(one, other)
        assert np.array_equal(other, image)
        assert set(arrays) == {"noise", "latents", "trajectory", "times"}
        assert arrays["trajectory"].shape == (5, *arrays["latents"].shape)
        assert np.array_equal(arrays["trajectory"][0], arrays["noise"])
        assert np.array_equal(arrays["trajectory"][-1], arrays["latents"])
        assert arrays["noise"].dtype == np.float32
        assert arrays["times"][-1] == 0
        assert list(arrays["times"]) == sorted(arrays["times"], reverse=True)
    assert "step" not in vars(pipeline.scheduler)  # nothing stays behind


def test_the_noise_is_what_the_images_seed_draws(pipeline: Any) -> None:
    for order, (_, arrays) in zip(
        ORDERS, made(pipeline, Capture(noise=True), **options(pipeline)), strict=True
    ):
        (generator,) = generators([order.seed])
        assert set(arrays) == {"noise", "times"}
        drawn = torch.randn((1, *arrays["noise"].shape), generator=generator)
        assert np.array_equal(drawn[0].numpy(), arrays["noise"])


def test_the_trajectory_replays(pipeline: Any) -> None:
    """Each captured latent of DDIM or of a flow's Euler steps leads to the next one, by the stock steps."""
    if "PixArt" in type(pipeline).__name__:
        pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config, timestep_spacing="trailing")
    whole = made(pipeline, EVERYTHING, **options(pipeline))
    start = torch.from_numpy(np.stack([arrays["noise"] for _, arrays in whole]))
    prompts = [order.prompt for order in ORDERS]
    again = pipeline(prompts, latents=start, output_type="np", **STEPS, **options(pipeline)).images
    for (pixels, _), image in zip(whole, again, strict=True):
        assert np.array_equal((image * 255).round().astype(np.uint8), pixels)


@pytest.fixture(scope="module")
def unet(random_models: dict[str, Path]) -> Any:
    loaded = AutoPipelineForText2Image.from_pretrained(random_models["unet"])
    loaded.set_progress_bar_config(disable=True)
    return loaded


@pytest.mark.parametrize("kind", [HeunDiscreteScheduler, EulerAncestralDiscreteScheduler])
def test_schedulers_of_two_evaluations_or_fresh_noise(kind: Any, unet: Any) -> None:
    own = unet.scheduler
    try:
        unet.scheduler = kind.from_config(own.config)
        captured, again = made(unet, EVERYTHING), made(unet, EVERYTHING)
    finally:
        unet.scheduler = own
    last = decoded(unet, np.stack([arrays["latents"] for _, arrays in captured]))
    for (pixels, arrays), (same, _), image in zip(captured, again, last, strict=True):
        assert np.array_equal(pixels, image)
        assert np.array_equal(pixels, same)
        assert np.array_equal(arrays["trajectory"][0], arrays["noise"])


def test_the_nearest_time_is_chosen() -> None:
    way = Way(1000, [999.0, 749.0, 499.0, 249.0], ["a", "b", "c", "d"], "e")
    assert [way.nearest(f) for f in (1, 0.8, 0.5, 0.3, 0.1, 0)] == [
        (999.0, "a"),
        (749.0, "b"),
        (499.0, "c"),
        (249.0, "d"),
        (0.0, "e"),
        (0.0, "e"),
    ]


def test_half_precision_keeps_half_precision(random_models: dict[str, Path]) -> None:
    loaded = AutoPipelineForText2Image.from_pretrained(random_models["unet"], dtype=torch.bfloat16)
    loaded.set_progress_bar_config(disable=True)
    for _, arrays in made(loaded, Capture(latents=True)):
        assert arrays["latents"].dtype == np.float16
        assert np.isfinite(arrays["latents"]).all()


def test_fractions_are_shares() -> None:
    with pytest.raises(UsageError, match=r"trajectory=\(999,\): expected fractions"):
        Capture(trajectory=(999,))
