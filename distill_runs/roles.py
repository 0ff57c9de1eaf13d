"""The networks of a run, by what they are in it: student, teacher, proxy, heads."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from distill_runs.ema import MovingAverage
from distill_runs.ranks import Ranks
from distill_runs.settings import AdamW
from store.errors import UsageError


@dataclass
class Role:
    """One network: what it computes with, how it is trained, and its average."""

    name: str
    net: nn.Module
    """The bare network: for roll-outs, averages, files and taps."""
    trained: nn.Module
    """The same behind its wrapper, for passes with a gradient."""
    parameters: tuple[nn.Parameter, ...] = ()
    """Those that are trained."""
    optimizer: torch.optim.Optimizer | None = None
    average: MovingAverage | None = None

    @contextmanager
    def without_sync(self, wanted: bool) -> Iterator[None]:
        """Passes whose gradients stay on this rank: all but the last of an accumulation."""
        silent = wanted and isinstance(self.trained, DistributedDataParallel)
        with self.trained.no_sync() if silent else nullcontext():  # type: ignore[operator]
            yield


def frozen(name: str, net: nn.Module) -> Role:
    """A network that is only looked at: a teacher."""
    net.requires_grad_(False).eval()
    return Role(name, net, net)


def trainable(name: str, net: nn.Module, pattern: str, settings: AdamW, ranks: Ranks) -> Role:
    """A network that is trained, in the parameters whose names match the pattern as a whole.

    Raises ``UsageError`` where no parameter does.
    """
    matches = re.compile(pattern).fullmatch
    for parameter_name, parameter in net.named_parameters():
        parameter.requires_grad_(matches(parameter_name) is not None)
    parameters = tuple(parameter for parameter in net.parameters() if parameter.requires_grad)
    if not parameters:
        names = ", ".join(name for name, _ in list(net.named_parameters())[:3])
        raise UsageError(f"trainable={pattern!r} matches no parameter of the {name} (such as {names}).")
    net.train()
    trained = net
    if ranks.world_size > 1:
        devices = [ranks.device] if ranks.device.type == "cuda" else None
        trained = DistributedDataParallel(net, device_ids=devices, gradient_as_bucket_view=True)
    return Role(name, net, trained, parameters, adamw(parameters, settings))


def adamw(parameters: Sequence[nn.Parameter], settings: AdamW) -> torch.optim.Optimizer:
    """AdamW over the parameters, one kernel for all of them."""
    return torch.optim.AdamW(
        parameters,
        lr=settings.learning_rate,
        betas=settings.betas,
        eps=settings.eps,
        weight_decay=settings.weight_decay,
        fused=True,
    )


def gradient_norm(parameters: Sequence[nn.Parameter], limit: float) -> Tensor:
    """The L2 norm of the gradient, scalar float; the gradient is scaled down to ``limit``."""
    return torch.nn.utils.clip_grad_norm_(parameters, limit)


def state_of(roles: dict[str, Role]) -> dict[str, Any]:
    """What a checkpoint keeps of every role that is trained."""
    return {
        name: {
            "net": role.net.state_dict(),
            "optimizer": role.optimizer.state_dict(),
            "average": role.average.state_dict() if role.average else None,
        }
        for name, role in roles.items()
        if role.optimizer
    }


def restore(roles: dict[str, Role], state: dict[str, Any]) -> None:
    """Set every trained role to what ``state_of`` gave; an optimizer that is None stays new."""
    for name, kept in state.items():
        role = roles[name]
        role.net.load_state_dict(kept["net"])
        assert role.optimizer is not None
        if kept["optimizer"] is not None:
            role.optimizer.load_state_dict(kept["optimizer"])
        if role.average is not None:
            role.average.load_state_dict(kept["average"])
