"""The training loop that all tiny models share."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from tqdm import tqdm

from store.errors import MashbillError

_WARM_UP_STEPS = 50
_MAX_GRADIENT_NORM = 1.0


def rate_at(step: int, steps: int) -> float:
    """Learning rate as a share of its peak: a short rise, then half a cosine down to 0."""
    rise = min(1.0, (step + 1) / min(_WARM_UP_STEPS, max(1, steps // 4)))
    return rise * 0.5 * (1 + math.cos(math.pi * step / steps))


def fit(
    parameters: Iterable[torch.nn.Parameter],
    loss_of_step: Callable[[int], Tensor],
    steps: int,
    learning_rate: float,
    label: str,
) -> list[float]:
    """Minimize ``loss_of_step(step)`` with AdamW, in place; the loss of every step.

    Gradients are clipped to norm 1. A loss that is no number is a ``MashbillError``.
    """
    trained = [p for p in parameters if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=learning_rate, betas=(0.9, 0.99), weight_decay=0.01)
    losses: list[float] = []
    with tqdm(total=steps, desc=label, mininterval=5.0) as bar:
        for step in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate * rate_at(step, steps)
            loss = loss_of_step(step)
            losses.append(float(loss.detach()))
            if not math.isfinite(losses[-1]):
                raise MashbillError(f"{label}: the loss is {losses[-1]} at step {step}; try another --seed")
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(trained, _MAX_GRADIENT_NORM)
            optimizer.step()
            bar.set_postfix_str(f"loss {losses[-1]:.4f}", refresh=False)
            bar.update()
    return losses
