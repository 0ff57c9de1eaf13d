"""What is kept of the way from noise to image, beside the image.

B batch, C latent channels, h w latent cells. A pipeline steps its scheduler from one latent to the next;
what it hands over there is what is kept, in the scheduler's own scale (for variance preserving schedulers
and rectified flows that of the training noise; EulerDiscrete and its kin scale noise by sigma).
"""

from __future__ import annotations

import inspect
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

import numpy as np

from store.errors import UsageError
from store.text_encodings import weights_digest


@dataclass(frozen=True)
class Capture:
    """Arrays kept with each image, as ``.npy`` [C, h, w]: float32, or float16 of a half-precision pipeline.

    ``noise``: the initial latent. ``latents``: the last one, which the VAE decodes. ``trajectory``:
    fractions of the way from the image (0) to pure noise (1), such as a student's (1, 0.75, 0.5, 0.25, 0):
    of each the latent the teacher was nearest at, one array [number of fractions, C, h, w]; which times
    these were, as the scheduler counts them, is in ``meta`` (``trajectory_times``, 0 for the last latent).
    """

    noise: bool = False
    latents: bool = False
    trajectory: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not all(0 <= fraction <= 1 for fraction in self.trajectory):
            raise UsageError(f"source.capture.trajectory={self.trajectory}: expected fractions, 0 to 1")

    @property
    def anything(self) -> bool:
        return bool(self.noise or self.latents or self.trajectory)


@dataclass
class Way:
    """The latents [B, ...] of one call of a pipeline: before each step, and after the last."""

    num_train_timesteps: int
    times: list[float] = field(default_factory=list)
    before: list[Any] = field(default_factory=list)
    last: Any = None

    def nearest(self, fraction: float) -> tuple[float, Any]:
        """Time and latents nearest to a fraction of the way; the last latents are at time 0."""
        ends = [*self.times, 0.0]
        distances = [abs(time / self.num_train_timesteps - fraction) for time in ends]
        chosen = int(np.argmin(distances))
        return ends[chosen], [*self.before, self.last][chosen]


@contextmanager
def followed(pipeline: Any, capture: Capture) -> Iterator[Way | None]:
    """Within this block the pipeline's latents are noted; None where nothing of them is asked for."""
    if not capture.anything:
        yield None
        return
    scheduler, step = pipeline.scheduler, pipeline.scheduler.step
    signature = inspect.signature(step)
    way = Way(scheduler.config.num_train_timesteps)

    @wraps(step)  # pipelines look at the names of its arguments
    def noted(*args: Any, **options: Any) -> Any:
        given = signature.bind(*args, **options).arguments
        if capture.trajectory or not way.before:
            way.times.append(float(given["timestep"]))
            way.before.append(given["sample"])
        result = step(*args, **options)
        way.last = result[0] if isinstance(result, tuple) else result.prev_sample
        return result

    scheduler.step = noted
    try:
        yield way
    finally:
        del scheduler.step  # the class has it


def vae_facts(pipeline: Any) -> dict[str, Any]:
    """Of which VAE the latents are: ``channels, factor, scaling_factor, shift_factor``, ``weights`` (see
    ``weights_digest``) as they are in ``dtype``; empty where the pipeline has no ``AutoencoderKL``."""
    vae = getattr(pipeline, "vae", None)
    if vae is None or type(vae).__name__ != "AutoencoderKL":
        return {}
    config = vae.config
    return {
        "channels": config.latent_channels,
        "factor": 2 ** (len(config.block_out_channels) - 1),
        "scaling_factor": config.scaling_factor,
        "shift_factor": config.get("shift_factor"),
        "dtype": str(vae.dtype).removeprefix("torch."),
        "weights": weights_digest(p.detach().float().cpu().numpy() for p in vae.parameters()),
    }


Arrays = tuple[tuple[str, bytes], ...]
"""What was captured of one image: names and ``.npy`` files."""


def arrays_of(way: Way | None, capture: Capture, count: int) -> tuple[list[Arrays], list[float]]:
    """What was captured of each of ``count`` images, and the times of their trajectory.

    Raises:
        UsageError: the pipeline went another way than over its scheduler.
    """
    if way is None:
        return [()] * count, []
    if way.last is None:
        raise UsageError("source.capture: this pipeline does not step its scheduler; capture nothing of it")
    found: dict[str, np.ndarray[Any, Any]] = {}
    points = [way.nearest(fraction) for fraction in capture.trajectory]
    if capture.noise:
        found["noise"] = _numpy(way.before[0])
    if capture.latents:
        found["latents"] = _numpy(way.last)
    if points:
        found["trajectory"] = np.stack([_numpy(latents) for _, latents in points], axis=1)
    images = [tuple((name, _npy(array[i])) for name, array in found.items()) for i in range(count)]
    return images, [time for time, _ in points]


def _numpy(latents: Any) -> np.ndarray[Any, Any]:
    """float32, or float16 of a half-precision tensor: what bfloat16 holds of a latent it holds too."""
    import torch

    return np.asarray(latents.to("cpu", torch.float32 if latents.dtype == torch.float32 else torch.float16))


def _npy(array: np.ndarray[Any, Any]) -> bytes:
    sink = io.BytesIO()
    np.save(sink, np.ascontiguousarray(array))
    return sink.getvalue()
