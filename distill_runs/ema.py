"""The exponential moving average of a network's parameters."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from distill_runs.sharding import split_as, wholes


class MovingAverage:
    """theta' <- d theta' + (1 - d) theta, kept in float32, from the first weights on.

    With ``warm`` the decay of update n is min(d, n / (n + 9)), n from 1: the first weights are
    forgotten soon. Without, it is d from the first update on (diffusers' ``EMAModel`` has no such mode:
    its decay of 0.99 is reached at update 890).

    Parameters only: buffers (positions, tables) are the network's own.
    """

    def __init__(self, net: nn.Module, decay: float, warm: bool) -> None:
        self.decay, self.warm, self.updates = decay, warm, 0
        self.shadow = {name: p.detach().float().clone() for name, p in net.named_parameters()}

    @torch.no_grad()
    def update(self, net: nn.Module) -> None:
        """Take in the parameters as they stand."""
        self.updates += 1
        decay = min(self.decay, self.updates / (self.updates + 9)) if self.warm else self.decay
        moving, now = [], []
        for name, parameter in net.named_parameters():
            if parameter.requires_grad:
                moving.append(self.shadow[name])
                now.append(parameter.detach().float())
            else:
                self.shadow[name].copy_(parameter)
        if moving:
            torch._foreach_lerp_(moving, now, 1 - decay)

    @contextmanager
    def in_place_of(self, net: nn.Module) -> Iterator[None]:
        """The network has the averaged parameters in this block, and its own again after it."""
        own = {name: parameter.detach().clone() for name, parameter in net.named_parameters()}
        self.copy_to(net)
        try:
            yield
        finally:
            with torch.no_grad():
                for name, parameter in net.named_parameters():
                    parameter.copy_(own[name])

    @torch.no_grad()
    def copy_to(self, net: nn.Module) -> None:
        """Set the network's parameters to the average."""
        for name, parameter in net.named_parameters():
            parameter.copy_(self.shadow[name])

    def state_dict(self) -> dict[str, int | dict[str, Tensor]]:
        """Whole tensors; every rank calls this."""
        return {"updates": self.updates, "shadow": wholes(self.shadow)}

    def load_state_dict(self, state: dict[str, int | dict[str, Tensor]]) -> None:
        """Take over what ``state_dict`` gave. Raises ``KeyError`` where parameters differ."""
        shadow, updates = state["shadow"], state["updates"]
        assert isinstance(shadow, dict)
        assert isinstance(updates, int)
        self.updates = updates
        for name, tensor in self.shadow.items():
            tensor.copy_(split_as(shadow[name], tensor))
