"""The one trainer: roles, turns, stages; the same code in a plain process, under torchrun and Ray Train.

A step is one round of the method's turns; each update of a turn stands on batches of its own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from distill_runs.checkpoint import load_checkpoint, save_checkpoint
from distill_runs.conditions import DTYPES as FROZEN
from distill_runs.conditions import Conditions
from distill_runs.ema import MovingAverage
from distill_runs.loader import Batch, Loader
from distill_runs.method import Example, Turn
from distill_runs.models import Model
from distill_runs.packs import Pack
from distill_runs.progress import Chosen, Counts, does_not_fit, going_on, not_finite, out_of_memory
from distill_runs.randomness import random_states, restore_random, seed_of
from distill_runs.ranks import Ranks
from distill_runs.roles import (
    Networks,
    Role,
    frozen,
    gradient_norm,
    restore,
    state_of,
    trainable,
    trained_names,
)
from distill_runs.settings import Run, Stage
from distill_runs.sharding import shard
from store.errors import MashbillError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Trainer:
    """A run under way on this rank. ``start`` it, then ``step`` until ``counts.step`` is ``run.steps``."""

    def __init__(self, run: Run, model: Model, packs: Sequence[Pack], folder: Path, ranks: Ranks) -> None:
        """``packs``: the pack of each stage. The model's parts are moved to the rank's device."""
        self.run, self.model, self.packs, self.folder, self.ranks = run, model, packs, folder, ranks
        self.counts = Counts()
        self.skipped_before = 0
        """Broken samples that this rank left out in stages before this one."""
        self.window: list[dict[str, float]] = []
        """What the steps since the last row of metrics measured; part of the checkpoints."""
        self.noise = torch.Generator().manual_seed(seed_of(run.seed, ranks.rank))
        self.scaler = torch.amp.GradScaler(ranks.device.type, enabled=run.precision == "float16")
        self.conditions = Conditions(run, model, ranks)
        if run.gradient_checkpointing:
            model.net.enable_gradient_checkpointing()  # type: ignore[operator]
        torch.manual_seed(run.seed)  # networks that are drawn are the same on all ranks
        self.others = dict(run.method.networks(model))
        torch.manual_seed(seed_of(run.seed, ranks.rank))
        self.trained = {"student"} | {role for turn in run.method.turns for role in turn.roles}
        for role, net in self.others.items():
            net.to(ranks.device, None if role in self.trained else FROZEN.get(run.precision))
        if run.sharded and ranks.world_size > 1:
            for net in (model.net, *self.others.values()):
                shard(net)
        self.null = self.conditions.of([""])
        self.average = MovingAverage(model.net, run.ema.decay, run.ema.warm) if run.ema else None
        self.chosen: Chosen | None = None
        self.roles: dict[str, Role] = {}
        self.loader: Loader | None = None

    def start(self) -> str | None:
        """Begin, or go on from the newest checkpoint. What people should know of that, or None.

        Raises:
            UsageError: a stage trains nothing, or has no optimizer for what it trains.
            MashbillError: the checkpoint does not fit the run.
        """
        for stage in self.run.stages:
            for role in self.trained:
                stage.optimizer(role)
            trained_names("student", self.model.net, stage.trainable)
        found = load_checkpoint(self.folder, self.ranks)
        if found is None:
            self._enter(self.run.stages[0], None)
            return None
        try:
            return self._go_on(*found)
        except (KeyError, TypeError, ValueError) as error:
            raise MashbillError(does_not_fit(self.run, self.folder, error)) from error

    def _go_on(self, shared: dict[str, Any], own: dict[str, Any], world_size: int) -> str:
        self.counts = Counts(**shared["counts"])
        if shared["chosen"]:  # a copy: the checkpoint's file is mapped, and goes when newer ones come
            kept = shared["chosen"]
            self.chosen = Chosen(**kept | {"weights": {n: t.clone() for n, t in kept["weights"].items()}})
        finished = self.counts.step >= self.run.steps
        stage, at = self.run.stage_at(self.counts.step - 1 if finished else self.counts.step)
        begins = at == 0 and not finished
        self.window, self.skipped_before = own["window"], own["skipped_before"]
        self._enter(stage, None if begins else own["cursor"])
        if begins:  # its optimizers are new; the stage before left the networks and the average
            self.skipped_before += own["cursor"]["skipped"]
            restore(self.roles, {name: {**kept, "optimizer": None} for name, kept in shared["roles"].items()})
            self._begin(stage)
        else:
            restore(self.roles, shared["roles"])
        self.scaler.load_state_dict(shared["scaler"])
        if world_size == self.ranks.world_size:
            restore_random(self.noise, own, self.ranks.device)
        else:
            self.noise.manual_seed(seed_of(self.run.seed, self.ranks.rank, self.counts.step))
        return going_on(self.counts.step, world_size, self.ranks.world_size)

    def step(self) -> dict[str, float]:
        """Take a step; the loss terms and gradient norms of its last updates, by role and name. Updates that
        were left out are not among them.

        Raises:
            MashbillError: too many gradients in a row were not finite, or memory ran out.
        """
        stage, at = self.run.stage_at(self.counts.step)
        if at == 0 and self.counts.step:
            self._enter(stage, None)
            self._begin(stage)
        measured: dict[str, float] = {}
        try:
            for turn in self.run.method.turns:
                for _ in range(turn.updates):
                    measured |= self._update(turn, stage, at)
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if not isinstance(error, torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
                raise
            raise MashbillError(out_of_memory(self.run, stage, self.counts.step + 1, self.ranks)) from error
        self.counts.step += 1
        self.window.append(measured)
        return measured

    def save(self) -> None:
        """Write a checkpoint; every rank calls this."""
        assert self.loader is not None
        own = {
            **random_states(self.noise, self.ranks.device),
            "cursor": self.loader.cursor(),
            "skipped_before": self.skipped_before,
            "window": self.window,
        }
        save_checkpoint(self.folder, self.counts.step, self._shared(), own, self.ranks)

    @property
    def skipped(self) -> int:
        """Broken samples that this rank left out so far."""
        return self.skipped_before + (self.loader.skipped if self.loader else 0)

    def stop(self) -> None:
        """End the processes that read ahead."""
        if self.loader is not None:
            self.loader.close()

    @contextmanager
    def evaluated(self, role: Role) -> Iterator[None]:
        """The role's network as it is judged: its average in place of its weights, in evaluation mode."""
        with role.average.in_place_of(role.net) if role.average else nullcontext():
            role.net.eval()
            try:
                yield
            finally:
                role.net.train()

    def final_weights(self) -> tuple[dict[str, Tensor], str]:
        """The weights that are kept of the run, whole, and which they are; every rank calls this."""
        student = self.roles["student"]
        kind = "average" if student.average else "weights"
        if self.chosen is not None:
            return self.chosen.weights, f"{kind} of step {self.chosen.step}, chosen by validation loss"
        with self.evaluated(student):
            return student.weights(), f"{kind} after {self.counts.step} steps"

    def _shared(self) -> dict[str, Any]:
        return {
            "roles": state_of(self.roles),
            "counts": vars(self.counts),
            "scaler": self.scaler.state_dict(),
            "chosen": vars(self.chosen) if self.chosen else None,
        }

    def _enter(self, stage: Stage, cursor: dict[str, Any] | None) -> None:
        """The roles, optimizers and data of a stage."""
        if self.loader is not None:
            self.skipped_before += self.loader.skipped
            self.loader.close()
        student = trainable(
            "student", self.model.net, stage.trainable, stage.optimizer("student"), self.ranks
        )
        student.average = self.average
        self.roles = {"student": student} | {
            role: trainable(role, net, ".*", stage.optimizer(role), self.ranks)
            if role in self.trained
            else frozen(role, net)
            for role, net in self.others.items()
        }
        pack, run = self.packs[self.run.stages.index(stage)], self.run
        self.conditions.enter(pack, stage.data)
        ranks = self.ranks.rank, self.ranks.world_size
        number = run.stages.index(stage)  # each stage has an order of its own, else all begin with the same
        order = seed_of(run.seed, number) % 2**32 if number else run.seed
        self.loader = Loader(pack, stage.data, order, *ranks, workers=run.workers, cursor=cursor)
        self._batches = iter(self.loader)

    def _only(self, turn: Turn) -> None:
        """Let gradients reach the turn's roles alone; through the others they pass, and leave nothing."""
        for role in self.roles.values():
            for parameter in role.parameters:
                parameter.requires_grad_(role.name in turn.roles)

    def _begin(self, stage: Stage) -> None:
        if stage.begin_with == "average" and self.average is not None:
            self.average.copy_to(self.model.net)

    def _update(self, turn: Turn, stage: Stage, at: int) -> dict[str, float]:
        """One update of the turn's roles; left out on all ranks where it is not finite on one."""
        roles = [self.roles[name] for name in turn.roles]
        self._only(turn)
        for role in roles:
            assert role.optimizer is not None
            role.optimizer.zero_grad()
        terms: defaultdict[str, float] = defaultdict(float)
        for batch_number in range(stage.accumulate):
            last = batch_number + 1 == stage.accumulate
            for name, term in self._backward(turn, roles, stage, at, last).items():
                terms[name] += term.item() / stage.accumulate
        measured = {f"loss/{name}": value for name, value in terms.items()}
        for role in roles:
            assert role.optimizer is not None
            self.scaler.unscale_(role.optimizer)
            limit = stage.optimizer(role.name).max_grad_norm
            measured[f"grad_norm/{role.name}"] = gradient_norm(role.parameters, limit)
        finite = self._finite(measured)
        if finite:
            for role in roles:
                self._take(role, stage, at)
        self.scaler.update()
        return measured if finite else {}

    def _backward(
        self, turn: Turn, roles: Sequence[Role], stage: Stage, at: int, last: bool
    ) -> Mapping[str, Tensor]:
        """Gradients of one batch, added to what is there."""
        example = self.example(next(self._batches), at, self.noise)
        self.counts.samples += len(example.x0_BChw) * self.ranks.world_size
        with ExitStack() as stack:
            for role in roles:
                stack.enter_context(role.without_sync(not last))
            terms = self.losses(turn, example, self.noise)
            total = torch.stack([term.float() for term in terms.values()]).sum()
            self.scaler.scale(total / stage.accumulate).backward()  # type: ignore[no-untyped-call]
        return terms

    def losses(self, turn: Turn, example: Example, noise: torch.Generator) -> Mapping[str, Tensor]:
        """The terms of the loss, in the run's precision."""
        with self.arithmetic():
            return self.run.method.losses(turn, Networks(self.model, self.roles), example, noise)

    def arithmetic(self) -> torch.autocast:
        """Passes of the denoisers in this block are in the run's precision."""
        dtype = DTYPES[self.run.precision]
        return torch.autocast(self.ranks.device.type, dtype, enabled=dtype != torch.float32)

    def example(self, batch: Batch, at: int, noise: torch.Generator, drop: bool = True) -> Example:
        """Scaled latents and conditions of a batch, on the rank's device; no caption is dropped where
        ``drop`` is False."""
        if batch.latents_BCHW is not None:
            latents = batch.latents_BCHW.to(self.ranks.device)
        else:
            assert batch.images_BCHW is not None
            latents = self.model.latents(batch.images_BCHW.to(self.ranks.device), noise)
        dropped = self._dropped(len(batch.captions), noise) if drop else {}
        condition = self.conditions.of_batch(batch, dropped)
        return Example(self.model.scaled(latents), condition, self.null, at)

    def _dropped(self, count: int, noise: torch.Generator) -> dict[str, list[bool]]:
        """Which encoder does not see which caption."""
        every = torch.rand(count, generator=noise) < self.run.caption_dropout
        return {
            encoder: (every | (torch.rand(count, generator=noise) < self.run.encoder_dropout)).tolist()
            for encoder in self.model.family.encoders
        }

    def _finite(self, measured: Mapping[str, float]) -> bool:
        """Whether the update may be taken, alike on all ranks. Raises ``MashbillError`` after too many."""
        numbers = torch.tensor(list(measured.values()))
        if self.ranks.all_true(bool(numbers.isfinite().all())):
            self.counts.bad_in_a_row = 0
            return True
        self.counts.bad += 1
        self.counts.bad_in_a_row += 1
        if self.counts.bad_in_a_row >= self.run.max_bad_steps:
            raise MashbillError(not_finite(self.run, self.counts, measured))
        return False

    def _take(self, role: Role, stage: Stage, at: int) -> None:
        rate = stage.optimizer(role.name).rate(at + 1, stage.steps)
        assert role.optimizer is not None
        for group in role.optimizer.param_groups:
            group["lr"] = rate
        self.scaler.step(role.optimizer)
        self.counts.updates[role.name] = self.counts.updates.get(role.name, 0) + 1
        if role.average is not None:
            role.average.update(role.net)
