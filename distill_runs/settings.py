"""The settings of a run, as typed frozen values. Imports without torch."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from distill_runs.method import Method
from distill_runs.packs import Data
from store.errors import UsageError


@dataclass(frozen=True)
class AdamW:
    """How one role is trained in one stage."""

    name: str = "student"
    """The role."""
    learning_rate: float = 1e-5
    warmup_steps: int = 0
    """Steps over which the rate rises linearly from 0."""
    cooldown_steps: int = 0
    """Last steps of the stage, over which it falls linearly to 0."""
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0

    def __post_init__(self) -> None:
        for name in ("learning_rate", "eps", "max_grad_norm"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                _refuse(self, name, "a finite number above 0")
        for name in ("warmup_steps", "cooldown_steps", "weight_decay"):
            if not 0 <= getattr(self, name) < math.inf:
                _refuse(self, name, "a finite number of at least 0")
        if not all(0 <= beta < 1 for beta in self.betas):
            _refuse(self, "betas", "two numbers in [0, 1)")

    def rate(self, step: int, steps: int) -> float:
        """The learning rate of ``step`` of a stage of ``steps``, both counted from 1."""
        up = min(1.0, step / self.warmup_steps) if self.warmup_steps else 1.0
        left = steps - step + 1
        down = min(1.0, left / self.cooldown_steps) if self.cooldown_steps else 1.0
        return self.learning_rate * min(up, down)


@dataclass(frozen=True)
class Ema:
    """A moving average of the student's parameters; what the run saves where there is one."""

    decay: float = 0.9999
    warm: bool = True
    """A small decay at first, which grows to ``decay``; False: ``decay`` from the first update on."""

    def __post_init__(self) -> None:
        if not 0 <= self.decay < 1:
            _refuse(self, "decay", "a number in [0, 1)")


@dataclass(frozen=True)
class Stage:
    """One stage of a run: the data it reads and how long it trains what."""

    name: str = "train"
    data: Data = Data()
    steps: int = 1000
    """Rounds of the method's turns; with the one turn of plain finetuning, optimizer updates."""
    accumulate: int = 1
    """Batches of each rank that one update stands on."""
    trainable: str = ".*"
    """Regular expression: the student's parameters whose whole names match are trained."""
    optimizers: tuple[AdamW, ...] = (AdamW(),)
    """One for each role that the method trains."""
    begin_with: str = "student"
    """From a stage before: ``student`` goes on with its weights, ``average`` with their average.
    Optimizers begin anew with every stage; the average goes on."""

    def __post_init__(self) -> None:
        for name in ("steps", "accumulate"):
            if getattr(self, name) < 1:
                _refuse(self, name, "a whole number of at least 1")
        if self.begin_with not in ("student", "average"):
            _refuse(self, "begin_with", "'student' or 'average'")
        try:
            re.compile(self.trainable)
        except re.error as error:
            _refuse(self, "trainable", f"a regular expression ({error})")

    def optimizer(self, role: str) -> AdamW:
        """The settings of a role's optimizer. Raises ``UsageError`` where the stage has none."""
        for settings in self.optimizers:
            if settings.name == role:
                return settings
        raise UsageError(f"stage {self.name!r} has no optimizer for the {role}, which the method trains.")


@dataclass(frozen=True)
class Validation:
    """The loss on samples that are never trained on, at fixed times and noise."""

    every: int = 0
    """Steps between; 0 for none. The last step is always measured where any is."""
    samples: int = 64
    """Taken from the pack's ``validation`` split, the same each time."""
    choose: bool = True
    """Save the weights of the step with the lowest loss rather than the last ones
    (EDiT, appendix C)."""

    def __post_init__(self) -> None:
        if self.every < 0:
            _refuse(self, "every", "at least 0")
        if self.samples < 1:
            _refuse(self, "samples", "a whole number of at least 1")


@dataclass(frozen=True)
class Samples:
    """The picture grid of a run: the same prompts and noise at every step."""

    every: int = 0
    """Steps between; 0 for the end alone."""
    prompts: tuple[str, ...] = ()
    """Empty: the first different captions of the pack."""
    count: int = 8
    """How many captions to take where there are no prompts."""
    inference_steps: int = 25
    """Evaluations of the denoiser per picture."""
    guidance_scale: float = 4.5
    """g of u + g (c - u)."""

    def __post_init__(self) -> None:
        if self.every < 0:
            _refuse(self, "every", "at least 0")
        for name in ("count", "inference_steps"):
            if getattr(self, name) < 1:
                _refuse(self, name, "a whole number of at least 1")
        if not (math.isfinite(self.guidance_scale) and self.guidance_scale >= 0):
            _refuse(self, "guidance_scale", "a finite number of at least 0")


@dataclass(frozen=True)
class Run:
    """One training run.

    Equal settings, packs, package versions, world size and thread count give equal weights on a CPU. Fields
    with ``compare=False`` change none of them: they do not name the run, which goes on with others.
    """

    name: str
    dataset: str
    """``NAME``, ``NAME@VERSION`` or ``NAME@latest``."""
    student: str
    """Hub id or folder of the stock pipeline that is trained."""
    method: Method
    stages: tuple[Stage, ...]
    student_revision: str | None = None
    ema: Ema | None = None
    caption_dropout: float = 0.1
    """Share of visits whose caption no encoder sees."""
    encoder_dropout: float = 0.0
    """Share of visits whose caption an encoder does not see, drawn for each encoder on its own."""
    precision: str = "float32"
    """``float32``, ``bfloat16`` or ``float16``, of the denoisers' arithmetic; weights, averages, losses and
    schedules are float32."""
    gradient_checkpointing: bool = field(default=False, compare=False)
    sharded: bool = False
    """Split every network over the ranks (FSDP2) rather than repeat it (DDP); with one rank there is nothing
    to split."""
    seed: int = 0
    log_every: int = field(default=10, compare=False)
    checkpoint_every: int = field(default=500, compare=False)
    validation: Validation = Validation()
    samples: Samples = field(default=Samples(), compare=False)
    max_bad_steps: int = field(default=10, compare=False)
    """So many updates in a row may be left out for a gradient that is not finite; then the run stops."""
    workers: int = field(default=0, compare=False)
    """Processes that read and decode ahead; 0 reads in this one."""
    force: bool = field(default=False, compare=False)
    """Train a model that was distilled to few steps all the same."""

    def __post_init__(self) -> None:
        if not self.name or PurePath(self.name).name != self.name:
            _refuse(self, "name", "a non-empty name without slashes")
        if not self.dataset.partition("@")[0]:
            _refuse(self, "dataset", "NAME, NAME@VERSION or NAME@latest")
        if not self.stages:
            _refuse(self, "stages", "at least one")
        names = [stage.name for stage in self.stages]
        if len(set(names)) < len(names):
            _refuse(self, "stages", f"different names, got {names}")
        if self.stages[0].begin_with != "student":
            raise UsageError(f"the first stage {names[0]!r} cannot begin with an average: there is none yet.")
        if any(stage.begin_with == "average" for stage in self.stages) and self.ema is None:
            raise UsageError(f"recipe {self.name!r}: a stage begins with the average, but ema is None.")
        for name in ("caption_dropout", "encoder_dropout"):
            if not 0 <= getattr(self, name) <= 1:
                _refuse(self, name, "a share in [0, 1]")
        for name in ("log_every", "checkpoint_every", "max_bad_steps"):
            if getattr(self, name) < 1:
                _refuse(self, name, "a whole number of at least 1")
        if self.precision not in ("float32", "bfloat16", "float16"):
            _refuse(self, "precision", "float32, bfloat16 or float16")

    @property
    def steps(self) -> int:
        """Of all stages."""
        return sum(stage.steps for stage in self.stages)

    def stage_at(self, step: int) -> tuple[Stage, int]:
        """The stage that step number ``step`` (from 0) is in, and the step's number in it."""
        for stage in self.stages:
            if step < stage.steps:
                return stage, step
            step -= stage.steps
        raise IndexError(step)


def _refuse(value: Any, field: str, expected: str) -> None:
    raise UsageError(
        f"{type(value).__name__}({getattr(value, 'name', '')}): {field}={getattr(value, field)!r} is not "
        f"possible; expected {expected}."
    )
