"""How far a run is, and what people are told of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from distill_runs.ranks import Ranks
from distill_runs.settings import Run, Stage


@dataclass
class Counts:
    """What a run counts; part of its checkpoints."""

    step: int = 0
    """Steps taken, over all stages."""
    updates: dict[str, int] = field(default_factory=dict)
    """Updates of each role."""
    bad: int = 0
    """Updates left out for a gradient that was not finite."""
    bad_in_a_row: int = 0
    samples: int = 0
    """Visits of samples, over all ranks."""


@dataclass
class Chosen:
    """The weights with the lowest validation loss so far; part of the checkpoints."""

    step: int
    loss: float
    weights: dict[str, Tensor]
    """The denoiser's parameters, on the CPU."""


def going_on(step: int, before: int, now: int) -> str:
    """What changes where a run goes on with ``now`` ranks instead of ``before``."""
    said = f"going on from step {step}"
    if before == now:
        return said
    return (
        f"{said}, on {now} ranks instead of {before}: an update now stands on {now / before:g} times as many "
        "samples, and noise, times and dropped captions are drawn anew. The order of the samples goes on."
    )


def out_of_memory(run: Run, stage: Stage, step: int, ranks: Ranks) -> str:
    """What to do where memory ran out; ``step`` counts from 1."""
    return (
        f"run {run.name!r} ran out of memory on {ranks.device} at step {step}, with "
        f"batch_size={stage.data.batch_size}. Set gradient_checkpointing=true: it then goes on. Or lower "
        "batch_size and raise accumulate alike, or set precision=bfloat16, which makes it another run that "
        "begins anew."
    )


def not_finite(run: Run, counts: Counts, measured: Mapping[str, float]) -> str:
    """What to do where too many updates in a row were left out."""
    return (
        f"run {run.name!r} stopped at step {counts.step + 1}: the last {counts.bad_in_a_row} updates had a "
        f"loss or gradient that is not finite ({dict(measured)}). Lower learning_rate or raise warmup_steps; "
        "with precision=float16 try bfloat16."
    )


def does_not_fit(run: Run, folder: Path, error: Exception) -> str:
    """What to do where a checkpoint is none of this run."""
    return (
        f"the checkpoint in {folder} does not fit run {run.name!r} ({error!r}): it is of another recipe, "
        "another student or another mashbill. Move the folder away and run the same command again."
    )


def taken_over(run: str, step: int) -> str:
    """What became of a run whose lease another process holds now."""
    return (
        f"another process took over run {run}, and took this one for dead (a machine that slept, a disk that "
        f"did not answer): this one ends after step {step} and writes no more. The other went on from the "
        f"newest checkpoint; `mashbill runs {run}` shows how far it is."
    )
