"""Which times a loss is taken at. Imports without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from store.errors import UsageError

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class Uniform:
    """Every time alike."""

    name: ClassVar[str] = "uniform"

    def fractions(self, count: int, generator: torch.Generator) -> Tensor:
        """float32 [count] in (0, 1]: how far from the image to pure noise."""
        return 1 - _uniform(count, generator)


@dataclass(frozen=True)
class LogitNormal:
    """u = sigmoid(n), n normal; then u' = s u / (1 + (s - 1) u).

    Esser et al. 2024 (SD3), section 3.1 and equation 23. With mean 0, spread 1 and shift 3 this is the
    density that SD3.5 is finetuned with; it hardly ever draws the two ends.
    """

    name: ClassVar[str] = "logit_normal"
    mean: float = 0.0
    spread: float = 1.0
    shift: float = 1.0

    def __post_init__(self) -> None:
        if self.spread <= 0 or self.shift <= 0:
            raise UsageError(f"{self}: expected a spread and a shift above 0")

    def fractions(self, count: int, generator: torch.Generator) -> Tensor:
        """float32 [count] in (0, 1)."""
        import torch

        normal = torch.randn(count, generator=generator)
        return shifted((self.mean + self.spread * normal).sigmoid(), self.shift)


@dataclass(frozen=True)
class Grid:
    """One of a few fractions, each alike: the times that a few-step student is used at."""

    name: ClassVar[str] = "grid"
    points: tuple[float, ...] = (1.0, 0.75, 0.5, 0.25)

    def __post_init__(self) -> None:
        if not self.points or not all(0 < point <= 1 for point in self.points):
            raise UsageError(f"points={self.points}: expected one or more fractions in (0, 1]")

    def fractions(self, count: int, generator: torch.Generator) -> Tensor:
        """float32 [count]."""
        import torch

        return torch.tensor(self.points)[torch.randint(len(self.points), (count,), generator=generator)]


Density = Uniform | LogitNormal | Grid


def shifted(fractions: Tensor, shift: float) -> Tensor:
    """s u / (1 + (s - 1) u): moves times towards noise for s > 1. Esser et al. 2024, equation 23."""
    return shift * fractions / (1 + (shift - 1) * fractions)


def _uniform(count: int, generator: torch.Generator) -> Tensor:
    import torch

    return torch.rand(count, generator=generator)
