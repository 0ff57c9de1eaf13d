"""Plain finetuning: the loss a family's teachers were trained with.

UNet: epsilon (or v) at uniform times, min-SNR weights where asked. PixArt: epsilon, its variance half
left alone. SD3: the velocity at logit-normal times. EDiT, appendix C, finetunes its students so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from distill_runs.densities import Density, Uniform
from distill_runs.method import Example, Nets, Turn
from store.errors import UsageError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from distill_runs.models import Model


@dataclass(frozen=True)
class Finetune:
    """Denoising loss of one student."""

    name: ClassVar[str] = "finetune"
    turns: ClassVar[tuple[Turn, ...]] = (Turn(("student",)),)
    refuses_distilled: ClassVar[bool] = True
    density: Density = Uniform()
    """Which times are trained."""
    min_snr: float | None = None
    """gamma of the min-SNR weights (5 in the paper); None for no weights. Not for flows."""
    noise_offset: float = 0.0
    """Strength of a constant per sample and channel that is added to the noise; 0 for none."""

    def __post_init__(self) -> None:
        if self.min_snr is not None and self.min_snr <= 0:
            raise UsageError(f"min_snr={self.min_snr}: expected a number above 0, or none")
        if self.noise_offset < 0:
            raise UsageError(f"noise_offset={self.noise_offset}: expected at least 0")

    def check(self, model: Model) -> None:
        """Raises ``UsageError`` for min-SNR weights on a flow, which has no such weights."""
        if self.min_snr is not None and model.schedule.prediction == "flow":
            raise UsageError(
                f"min_snr={self.min_snr}: {model.source!r} is a flow; its times are weighted by their "
                "density. Set min_snr=none."
            )

    def networks(self, model: Model) -> Mapping[str, nn.Module]:
        """None but the student."""
        return {}

    def losses(
        self, turn: Turn, nets: Nets, example: Example, generator: torch.Generator
    ) -> Mapping[str, Tensor]:
        """``task``: see ``denoising_loss``."""
        import torch

        from distill_runs.objectives import denoising_loss, min_snr_weight, target_of
        from distill_runs.schedule import noised

        x0, schedule = example.x0_BChw, nets.model.schedule
        fractions_B = self.density.fractions(len(x0), generator)
        epsilon = torch.randn(x0.shape, generator=generator)
        if self.noise_offset:
            epsilon = epsilon + self.noise_offset * torch.randn(*x0.shape[:2], 1, 1, generator=generator)
        epsilon, times_B = epsilon.to(x0.device), schedule.times(fractions_B).to(x0.device)
        level = schedule.level(times_B)
        x_t = noised(x0, epsilon, level)
        predicted = nets.model.predict(nets.net("student"), x_t, times_B, example.condition)
        target = target_of(x0, epsilon, level, schedule.prediction)
        weight_B = min_snr_weight(level, self.min_snr, schedule.prediction) if self.min_snr else None
        return {"task": denoising_loss(predicted, target, weight_B)}
