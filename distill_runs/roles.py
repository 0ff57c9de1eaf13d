"""The networks of a run, by what they are in it: student, teacher, proxy, heads."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.distributed.fsdp import FSDPModule
from torch.nn.parallel import DistributedDataParallel

from distill_runs.ema import MovingAverage
from distill_runs.models import Model
from distill_runs.ranks import Ranks
from distill_runs.settings import AdamW
from distill_runs.sharding import is_sharded, split_as, whole, wholes
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

    def weights(self) -> dict[str, torch.Tensor]:
        """A copy of the parameters on the CPU, whole; every rank calls this, and rank 0 gets it where the
        network is split."""
        kept = wholes({name: parameter.detach() for name, parameter in self.net.named_parameters()})
        return {name: tensor.cpu().clone() for name, tensor in kept.items()}

    @contextmanager
    def without_sync(self, wanted: bool) -> Iterator[None]:
        """Passes whose gradients stay on this rank: all but the last of an accumulation."""
        if isinstance(self.trained, FSDPModule):
            self.trained.set_requires_gradient_sync(not wanted)
        silent = wanted and isinstance(self.trained, DistributedDataParallel)
        with self.trained.no_sync() if silent else nullcontext():  # type: ignore[operator]
            yield


@dataclass(frozen=True)
class Networks:
    """The networks as a loss sees them; see ``distill_runs.method.Nets``."""

    model: Model
    roles: Mapping[str, Role]

    def net(self, role: str) -> nn.Module:
        return self.roles[role].trained

    def bare(self, role: str) -> nn.Module:
        return self.roles[role].net


def frozen(name: str, net: nn.Module) -> Role:
    """A network that is only looked at: a teacher."""
    net.requires_grad_(False).eval()
    return Role(name, net, net)


def trainable(name: str, net: nn.Module, pattern: str, settings: AdamW, ranks: Ranks) -> Role:
    """A network that is trained, in the parameters whose names match the pattern as a whole.

    Raises ``UsageError`` where no parameter does.
    """
    names = trained_names(name, net, pattern)
    for parameter_name, parameter in net.named_parameters():
        parameter.requires_grad_(parameter_name in names)
    parameters = tuple(parameter for parameter in net.parameters() if parameter.requires_grad)
    net.zero_grad()  # of parameters that an earlier stage trained
    net.train()
    trained = net
    if ranks.world_size > 1 and not is_sharded(net):
        devices = [ranks.device] if ranks.device.type == "cuda" else None
        trained = DistributedDataParallel(
            net, device_ids=devices, gradient_as_bucket_view=True, forward_sync_buffers=False
        )  # SD3's buffer of positions is 0.9 GB, and no buffer of the families ever changes
    return Role(name, net, trained, parameters, adamw(parameters, settings))


def trained_names(name: str, net: nn.Module, pattern: str) -> set[str]:
    """The parameters of a role whose names match the pattern. Raises ``UsageError`` where none does."""
    names = [parameter_name for parameter_name, _ in net.named_parameters()]
    found = {parameter_name for parameter_name in names if re.fullmatch(pattern, parameter_name)}
    if not found:
        raise UsageError(
            f"trainable={pattern!r} matches no parameter of the {name} (such as {', '.join(names[:3])})."
        )
    return found


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


def gradient_norm(parameters: Sequence[nn.Parameter], limit: float) -> float:
    """The L2 norm of the gradient, over all ranks; the gradient is scaled down to ``limit``."""
    return whole(torch.nn.utils.clip_grad_norm_(parameters, limit)).item()


def state_of(roles: dict[str, Role]) -> dict[str, Any]:
    """What a checkpoint keeps of every role that is trained, whole; every rank calls this."""
    return {
        name: {
            "net": wholes(role.net.state_dict()),
            "optimizer": _optimizer_state(role.optimizer),
            "average": role.average.state_dict() if role.average else None,
        }
        for name, role in roles.items()
        if role.optimizer
    }


def _optimizer_state(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    state = optimizer.state_dict()
    return {**state, "state": {index: wholes(kept) for index, kept in state["state"].items()}}


def _split_optimizer_state(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> dict[str, Any]:
    """A whole state, its tensors split as the parameters are that they belong to."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    split = {
        index: {n: split_as(t, parameters[index]) if t.ndim else t for n, t in kept.items()}
        for index, kept in state["state"].items()
    }
    return {**state, "state": split}


def restore(roles: dict[str, Role], state: dict[str, Any]) -> None:
    """Set every trained role to what ``state_of`` gave; an optimizer that is None stays new.

    Raises ``ValueError`` where a role's tensors have other names or shapes.
    """
    for name, kept in state.items():
        role = roles[name]
        now = role.net.state_dict()
        _check_shapes(name, kept["net"], now)
        role.net.load_state_dict({n: split_as(tensor, now[n]) for n, tensor in kept["net"].items()})
        assert role.optimizer is not None
        if kept["optimizer"] is not None:
            role.optimizer.load_state_dict(_split_optimizer_state(role.optimizer, kept["optimizer"]))
        if role.average is not None:
            role.average.load_state_dict(kept["average"])


def _check_shapes(role: str, kept: Mapping[str, torch.Tensor], now: Mapping[str, torch.Tensor]) -> None:
    shapes = [{name: tuple(tensor.shape) for name, tensor in net.items()} for net in (kept, now)]
    differ = [n for n in sorted(kept.keys() | now.keys()) if shapes[0].get(n) != shapes[1].get(n)]
    if differ:
        there, here = (found.get(differ[0], "missing") for found in shapes)
        raise ValueError(
            f"{len(differ)} tensors of the {role} differ: {differ[0]} is {there} there, {here} here"
        )
