from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import Tensor

from distill_runs.densities import Density, Grid, LogitNormal, Uniform, shifted
from distill_runs.schedule import VariancePreserving
from store.errors import UsageError

COUNT = 200_000
LIMIT = 1.95 / COUNT**0.5
"""Kolmogorov and Smirnov: exceeded once in a thousand seeds."""


def drawn(density: Density, count: int = COUNT) -> Tensor:
    return density.fractions(count, torch.Generator().manual_seed(0)).double()


def furthest(fractions: Tensor, cumulative: Tensor) -> float:
    """The largest distance of the counted share below each, which are sorted, from the expected one."""
    return float((torch.arange(1, len(fractions) + 1) / len(fractions) - cumulative).abs().max())


@pytest.mark.parametrize(("mean", "spread", "shift"), [(0, 1, 1), (0, 1, 3), (-0.5, 0.7, 2), (1.2, 1.5, 1)])
def test_logit_normal_with_shift_has_its_closed_form(mean: float, spread: float, shift: float) -> None:
    """P(u' <= x) = Phi((logit(x / (s - (s - 1) x)) - mean) / spread)."""
    fractions = drawn(LogitNormal(mean, spread, shift)).sort().values
    before_shift = fractions / (shift - (shift - 1) * fractions)
    cumulative = torch.special.ndtr((before_shift.logit() - mean) / spread)
    assert furthest(fractions, cumulative) < LIMIT
    assert 0 < fractions[0] < fractions[-1] < 1
    without_shift = torch.special.ndtr((fractions.logit() - mean) / spread)
    assert shift == 1 or furthest(fractions, without_shift) > 10 * LIMIT


def test_shift_by_hand() -> None:
    assert shifted(torch.tensor([0.0, 0.25, 0.5, 1.0]), 3.0).tolist() == [0.0, 0.5, 0.75, 1.0]


def test_uniform_is_uniform_and_may_be_pure_noise_but_never_the_image() -> None:
    fractions = drawn(Uniform()).sort().values
    assert furthest(fractions, fractions) < LIMIT
    assert 0 < fractions[0] < fractions[-1] <= 1


def test_uniform_hits_every_timestep_alike() -> None:
    vp = VariancePreserving(torch.linspace(0.999, 0.01, 1000))
    counts = torch.bincount(vp.times(drawn(Uniform()).float()), minlength=1000)
    assert len(counts) == 1000
    expected = COUNT / 1000
    chi_square = ((counts - expected) ** 2 / expected).sum().item()
    assert abs(chi_square - 999) < 4 * (2 * 999) ** 0.5
    even = torch.arange(1, 8001) / 8000  # eight in the part of each timestep, its upper end among them
    assert torch.equal(torch.bincount(vp.times(even)), torch.full((1000,), 8))


def test_grid_draws_its_points_alike() -> None:
    fractions = drawn(Grid((1.0, 0.5, 0.25)))
    shares = {point: (fractions == point).double().mean().item() for point in (1.0, 0.5, 0.25)}
    assert all(share == pytest.approx(1 / 3, abs=0.005) for share in shares.values())


@pytest.mark.parametrize(
    "make",
    [
        lambda: LogitNormal(spread=0),
        lambda: LogitNormal(shift=-1),
        lambda: Grid(()),
        lambda: Grid((0.5, 0.0)),
    ],
)
def test_impossible_densities(make: object) -> None:
    with pytest.raises(UsageError, match="expected"):
        make()  # type: ignore[operator]


def test_recipes_are_read_without_torch() -> None:
    modules = (
        "distill_runs.densities, distill_runs.settings, distill_runs.method, distill_runs.methods.finetune"
    )
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules or 'diffusers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
