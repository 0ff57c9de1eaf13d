"""Roll-outs: from noise over a list of times to an image. One sampler for training, trajectories,
evaluation and pictures, so that what is trained is what is used.

B batch; other axes are free.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from distill_runs.densities import shifted
from distill_runs.schedule import Schedule, endpoints

Predict = Callable[[Tensor, Tensor], Tensor]
"""(x_t [B, ...], times [B]) to the network's prediction, guidance and all."""


@dataclass(frozen=True)
class Point:
    """One evaluation of the network on the way."""

    index: int
    time: Tensor
    """Scalar, in the schedule's own measure."""
    x_t: Tensor
    x0: Tensor
    """The image that the prediction means."""
    epsilon: Tensor
    """The noise that the prediction means."""


Noise = Callable[[Point], Tensor]
"""The noise that the next point is made with, from this one."""


def predicted_noise(point: Point) -> Tensor:
    """DDIM (Song et al. 2021, equation 12, eta 0); for a flow the same is Euler's step."""
    return point.epsilon


def roll_out(
    predict: Predict,
    start: Tensor,
    schedule: Schedule,
    times: Tensor,
    noise: Noise = predicted_noise,
) -> Iterator[Point]:
    """Every point of a roll-out, the first at ``start`` and ``times[0]``.

    Between two points x_s = alpha_s x0 + sigma_s epsilon, with the epsilon that ``noise`` gives: the
    predicted one, fresh noise (stochastic sampling) or another (noise correction). The image of a
    roll-out is ``x0`` of its last point.

    Args:
        start: x_t at the first time, float32.
        times: falling, in the schedule's own measure, one evaluation each.
    """
    x_t = start
    for index, time in enumerate(times):
        times_B = time.expand(len(x_t)).to(x_t.device)
        output = predict(x_t, times_B)
        x0, epsilon = endpoints(output, x_t, schedule.level(times_B), schedule.prediction)
        point = Point(index, time, x_t, x0, epsilon)
        yield point
        if index + 1 < len(times):
            level = schedule.level(times[index + 1].expand(len(x_t)).to(x_t.device))
            alpha, sigma = level.like(x_t)
            x_t = alpha * x0 + sigma * noise(point)


def sample(
    predict: Predict,
    start: Tensor,
    schedule: Schedule,
    times: Tensor,
    noise: Noise = predicted_noise,
) -> Tensor:
    """The image at the end of a roll-out, float32, the shape of ``start``."""
    *_, last = roll_out(predict, start, schedule, times, noise)
    return last.x0


def even_times(schedule: Schedule, num_steps: int, shift: float = 1.0) -> Tensor:
    """``num_steps`` times from pure noise on, in equal parts of the way, then shifted.

    Flow, 4 steps, shift 1: 1, 0.75, 0.5, 0.25 (and 0 is the image). Not the grid of diffusers'
    ``FlowMatchEulerDiscreteScheduler.set_timesteps(4)``, whose last time is 0.001.
    """
    fractions = torch.linspace(1, 0, num_steps + 1, dtype=torch.float64)[:-1]
    return schedule.times(shifted(fractions, shift))


def times_at(schedule: Schedule, fractions: Sequence[float]) -> Tensor:
    """The times at these fractions of the way to pure noise."""
    return schedule.times(torch.tensor(fractions, dtype=torch.float64))
