"""One batch of prompts through a pipeline, and batches ahead of whoever takes the images.

B batch, H W pixels.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from stages.generate.capture import Arrays, Capture, arrays_of, followed
from stages.generate.noise import generators
from stages.pretrained import in_batches
from store.errors import UsageError

Item = TypeVar("Item")
Result = TypeVar("Result")

AHEAD = 2
"""Batches that are made or being made while one is taken: the GPU goes on while images are encoded."""


@dataclass(frozen=True)
class Order:
    """One image to make."""

    prompt: str
    seed: int


@dataclass(frozen=True)
class Made:
    """One image: ``pixels`` uint8 [H, W, 3], or None and a reason code; and what was captured of it."""

    pixels: np.ndarray[Any, Any] | None
    error: str | None = None
    extra: Arrays = ()
    times: tuple[float, ...] = ()


@dataclass
class Maker:
    """A loaded pipeline with all that a call of it takes; ``batch_size`` falls where memory runs out."""

    pipeline: Any
    arguments: dict[str, Any]
    capture: Capture
    batch_size: int

    def make(self, orders: Sequence[Order]) -> list[Made]:
        """Every image, in batches that fit in memory.

        Raises:
            UsageError: the pipeline refuses the settings.
            MashbillError: not even one image fits in memory.
        """
        return in_batches(self._batch, orders, self.batch_size, self._halved)

    def _halved(self, batch_size: int) -> None:
        self.batch_size = batch_size
        print(f"source: the GPU's memory holds batches of {batch_size} only; going on", file=sys.stderr)

    def _batch(self, orders: Sequence[Order]) -> list[Made]:
        prompts, seeds = [order.prompt for order in orders], [order.seed for order in orders]
        arguments = dict(self.arguments)
        if "negative_prompt" in arguments:
            arguments["negative_prompt"] = [arguments["negative_prompt"]] * len(prompts)
        with followed(self.pipeline, self.capture) as way:
            try:
                output = self.pipeline(prompts, generator=generators(seeds), output_type="np", **arguments)
            except ValueError as error:  # how pipelines refuse what they are asked for
                kind = type(self.pipeline).__name__
                raise UsageError(f"{kind} refuses what source asks of it: {error}") from error
        pixels_BHWC = np.asarray(output.images)
        self._check_size(pixels_BHWC.shape)
        flagged = getattr(output, "nsfw_content_detected", None) or [False] * len(prompts)
        extras, times = arrays_of(way, self.capture, len(prompts))
        return [_made(pixels_BHWC[i], bool(flagged[i]), extras[i], tuple(times)) for i in range(len(prompts))]

    def _check_size(self, shape_BHWC: tuple[int, ...]) -> None:
        got = {"height": shape_BHWC[1], "width": shape_BHWC[2]}
        for name, size in got.items():
            if self.arguments.get(name, size) != size:
                raise UsageError(
                    f"source.{name}={self.arguments[name]}: {type(self.pipeline).__name__} made {size} "
                    "pixels of it; give a size it makes"
                )


def _made(pixels_HWC: np.ndarray[Any, Any], flagged: bool, extra: Arrays, times: tuple[float, ...]) -> Made:
    """From what a pipeline gives: float [H, W, 3] in [0, 1]."""
    if flagged:
        return Made(None, "safety_checker")
    if not np.isfinite(pixels_HWC).all():
        return Made(None, "not_finite")
    pixels = (pixels_HWC * 255).round().astype(np.uint8)  # as diffusers makes a PIL image of it
    return Made(pixels, None, extra, times) if pixels.any() else Made(None, "black_image")


def ahead(
    work: Callable[[Sequence[Item]], list[Result]], items: Sequence[Item], size: int
) -> Iterator[Result]:
    """The results of ``work`` over all items, ``size`` at a time, each batch made while an earlier one is
    taken. One thread makes them, so that batches come one after the other."""
    with ThreadPoolExecutor(1, thread_name_prefix="generate") as thread:
        waiting: deque[Future[list[Result]]] = deque()
        try:
            for start in range(0, len(items), size):
                waiting.append(thread.submit(work, items[start : start + size]))
                if len(waiting) > AHEAD:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
