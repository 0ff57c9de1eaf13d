"""What a training method is to the trainer. Imports without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from distill_runs.families import Condition
    from distill_runs.models import Model


@dataclass(frozen=True)
class Turn:
    """So many updates of these roles, all others standing still."""

    roles: tuple[str, ...] = ("student",)
    updates: int = 1


@dataclass(frozen=True)
class Example:
    """What a loss is taken on. B samples, C latent channels, h w latent cells."""

    x0_BChw: Tensor
    """Scaled latents, float32."""
    condition: Condition
    """Of the captions, some dropped."""
    null: Condition
    """Of the empty caption, a batch of one."""
    step: int
    """Of the stage, from 0."""


class Nets(Protocol):
    """The networks of a run as a loss sees them."""

    @property
    def model(self) -> Model:
        """The student's pipeline: its schedule, and how networks of its family are called."""

    def net(self, role: str) -> nn.Module:
        """The network, for a pass with a gradient where the turn is its role's."""

    def bare(self, role: str) -> nn.Module:
        """The network without its wrapper, for passes without a gradient."""


class Method(Protocol):
    """A method: a frozen value, part of the recipe. It owns no optimizer and no device."""

    @property
    def turns(self) -> tuple[Turn, ...]:
        """One round of them is a step."""

    @property
    def refuses_distilled(self) -> bool:
        """Whether a model that was distilled to few steps must not be trained with this."""

    def check(self, model: Model) -> None:
        """Refuse a student that the method does not fit. Raises ``UsageError``."""

    def networks(self, model: Model) -> Mapping[str, nn.Module]:
        """The method's other networks by role, new ones on the CPU: a teacher, a proxy, heads. Those that no
        turn trains stand still."""

    def losses(
        self, turn: Turn, nets: Nets, example: Example, generator: torch.Generator
    ) -> Mapping[str, Tensor]:
        """The terms of the loss, named and weighted; the sum is what is minimized.

        ``generator`` is this rank's own, on the CPU.
        """
