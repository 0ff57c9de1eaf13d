"""Batches: ahead of who takes them, halved where memory runs out, judged image by image."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from diffusers.pipelines.stable_diffusion import StableDiffusionPipelineOutput

from stages.generate.batches import AHEAD, Maker, Order, ahead
from stages.generate.capture import Capture
from store.errors import MashbillError, UsageError

ORDERS = [Order("a red circle", 1), Order("a blue square", 2), Order("a green star", 3)]
ARGUMENTS = {"num_inference_steps": 2, "guidance_scale": 3.0}


@pytest.fixture(scope="module")
def pipeline(random_models: dict[str, Path]) -> Any:
    loaded = StableDiffusionPipeline.from_pretrained(random_models["unet"])
    loaded.set_progress_bar_config(disable=True)
    return loaded


def test_results_in_order_and_never_too_far_ahead() -> None:
    begun: list[int] = []

    def work(items: Sequence[int]) -> list[int]:
        begun.append(items[0])
        return [item * 10 for item in items]

    results = ahead(work, range(11), 2)
    assert [next(results) for _ in range(2)] == [0, 10]
    time.sleep(0.1)
    assert begun == [0, 2, 4][: AHEAD + 1]
    assert list(results) == [item * 10 for item in range(2, 11)]
    assert list(ahead(work, [], 2)) == []


def test_a_batch_is_made_while_an_earlier_one_is_taken() -> None:
    second = threading.Event()

    def work(items: Sequence[int]) -> Sequence[int]:
        if items[0] == 1:
            second.set()
        return items

    results = ahead(work, range(3), 1)  # type: ignore[arg-type]
    assert next(results) == 0
    assert second.wait(10)  # nobody asked for it yet


def test_an_error_comes_through_and_the_rest_is_not_made() -> None:
    begun: list[int] = []

    def work(items: Sequence[int]) -> list[int]:
        begun.append(items[0])
        if items[0] == 1:
            raise UsageError("no such thing")
        return list(items)

    results = ahead(work, range(100), 1)
    assert next(results) == 0
    with pytest.raises(UsageError, match="no such thing"):
        list(results)
    assert len(begun) <= 2 + AHEAD


@dataclass
class SmallMemory:
    """A pipeline whose GPU holds no more than ``most`` images."""

    inner: Any
    most: int

    def __call__(self, prompts: list[str], **options: Any) -> Any:
        if len(prompts) > self.most:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return self.inner(prompts, **options)


def test_out_of_memory_halves_the_batch(pipeline: Any, capsys: pytest.CaptureFixture[str]) -> None:
    maker = Maker(SmallMemory(pipeline, 1), ARGUMENTS, Capture(), 3)
    made = maker.make(ORDERS)
    assert maker.batch_size == 1
    assert "holds batches of 1 only; going on" in capsys.readouterr().err
    whole = Maker(pipeline, ARGUMENTS, Capture(), 1).make(ORDERS)
    for one, other in zip(made, whole, strict=True):
        assert np.array_equal(one.pixels, other.pixels)
    with pytest.raises(MashbillError, match="does not hold a batch of one"):
        Maker(SmallMemory(pipeline, 0), ARGUMENTS, Capture(), 3).make(ORDERS)


def test_pixels_are_those_of_the_stock_pipeline(pipeline: Any) -> None:
    made = Maker(pipeline, ARGUMENTS | {"negative_prompt": "blurred"}, Capture(), 3).make(ORDERS)
    generators = [torch.Generator().manual_seed(order.seed) for order in ORDERS]
    prompts, negative = [order.prompt for order in ORDERS], ["blurred"] * 3
    stock = pipeline(prompts, negative_prompt=negative, generator=generators, **ARGUMENTS).images
    for one, other in zip(made, stock, strict=True):
        assert np.array_equal(one.pixels, np.asarray(other))


@dataclass
class Judged:
    """A pipeline that gives these images, [0, 1], with these flags of its safety checker."""

    images: Any
    flags: list[bool] | None

    def __call__(self, prompts: list[str], **options: Any) -> Any:
        return StableDiffusionPipelineOutput(self.images, self.flags)


def test_what_is_no_image_has_a_reason() -> None:
    images = np.full((4, 8, 8, 3), 0.5, np.float32)
    images[1] = 0
    images[2, 0, 0, 0] = np.nan
    for flags, expected in (
        (None, [None, "black_image", "not_finite", None]),
        ([False, True, False, True], [None, "safety_checker", "not_finite", "safety_checker"]),
    ):
        made = Maker(Judged(images, flags), {}, Capture(), 4).make([*ORDERS, Order("d", 4)])
        assert [one.error for one in made] == expected
        assert [one.pixels is None for one in made] == [error is not None for error in expected]


def test_settings_that_a_pipeline_refuses(pipeline: Any) -> None:
    with pytest.raises(UsageError, match=r"StableDiffusionPipeline refuses .*divisible by 8"):
        Maker(pipeline, ARGUMENTS | {"width": 66, "height": 64}, Capture(), 3).make(ORDERS)
    with pytest.raises(UsageError, match=r"source.width=16: Judged made 8"):
        Maker(Judged(np.ones((3, 8, 8, 3)), None), {"width": 16}, Capture(), 3).make(ORDERS)
