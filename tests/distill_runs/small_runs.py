"""Runs that take a second, methods that go wrong on purpose, and what two trainers are compared by."""

from __future__ import annotations

import hashlib
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from distill_runs.checkpoint import save_checkpoint
from distill_runs.densities import LogitNormal, Uniform
from distill_runs.method import Example, Nets, Turn
from distill_runs.methods.finetune import Finetune
from distill_runs.models import load_model
from distill_runs.packs import Data, open_pack
from distill_runs.ranks import Ranks, joined
from distill_runs.run import train
from distill_runs.settings import AdamW, Ema, Run, Samples, Stage
from distill_runs.trainer import Trainer
from store.errors import MashbillError
from store.location import Location
from store.runs import run_in

ALONE = Ranks(0, 1, torch.device("cpu"))
TIMINGS = ("samples_per_second",)


def small_run(student: Path, **fields: Any) -> Run:
    """Six steps of four squares; keyword arguments replace the run's fields."""
    stage = Stage(data=Data(resolution=48, batch_size=4), steps=6, optimizers=(AdamW(learning_rate=1e-3),))
    flow = student.name == "sd3"
    run = Run(
        name="small",
        dataset="squares@v1",
        student=str(student),
        method=Finetune(density=LogitNormal() if flow else Uniform()),
        stages=(stage,),
        ema=Ema(decay=0.9, warm=False),
        log_every=1,
        checkpoint_every=100,
        samples=Samples(count=2, inference_steps=2),
    )
    return replace(run, **fields)


def staged(run: Run, *changes: Mapping[str, Any]) -> Run:
    """The run with a stage for each set of changes to its first."""
    stages = [replace(run.stages[0], **{"name": f"stage {i}"} | dict(c)) for i, c in enumerate(changes)]
    return replace(run, stages=tuple(stages))


def two_stages(run: Run) -> Run:
    """Three steps of everything, then three of the attention from the average on, each of two batches."""
    return staged(
        replace(run, caption_dropout=0.5, encoder_dropout=0.25),
        {"steps": 3, "accumulate": 2},
        {"steps": 3, "accumulate": 2, "trainable": r".*attn.*", "begin_with": "average"},
    )


@contextmanager
def trainer_of(run: Run, pack: Path, folder: Path, ranks: Ranks = ALONE) -> Iterator[Trainer]:
    """A trainer that was not started, on a model of its own."""
    trainer = Trainer(run, load_model(run.student), [open_pack(pack)] * len(run.stages), folder, ranks)
    try:
        yield trainer
    finally:
        trainer.stop()


def take(trainer: Trainer, steps: int) -> list[dict[str, float]]:
    return [trainer.step() for _ in range(steps)]


def flat(value: Any, name: str = "") -> dict[str, Any]:
    """Every number and tensor in it, by its path."""
    if isinstance(value, Mapping):
        return {k: v for key, part in value.items() for k, v in flat(part, f"{name}/{key}").items()}
    if isinstance(value, (list, tuple)):
        return {k: v for i, part in enumerate(value) for k, v in flat(part, f"{name}/{i}").items()}
    return {name: value}


def digest(value: Any) -> dict[str, str]:
    """Every number and tensor in it as the hash of its bytes, so that equal means bitwise equal."""
    return {name: _hashed(part) for name, part in flat(value).items()}


def _hashed(value: Any) -> str:
    data = value.detach().cpu().contiguous().numpy().tobytes() if isinstance(value, Tensor) else repr(value)
    return hashlib.sha256(data if isinstance(data, bytes) else data.encode()).hexdigest()[:16]


def everything(trainer: Trainer) -> dict[str, str]:
    """All that a trainer is made of: weights, averages, optimizers, counts, randomness, data."""
    from distill_runs.roles import state_of

    assert trainer.loader is not None
    return digest(
        {
            "roles": state_of(trainer.roles),
            "counts": vars(trainer.counts),
            "noise": trainer.noise.get_state(),
            "torch": torch.get_rng_state(),
            "cursor": trainer.loader.cursor(),
        }
    )


@dataclass(frozen=True)
class Plain:
    """The denoising loss with noise and times that the images themselves name: nothing is drawn."""

    turns: ClassVar[tuple[Turn, ...]] = (Turn(),)
    refuses_distilled: ClassVar[bool] = False

    def check(self, model: Any) -> None: ...

    def networks(self, model: Any) -> Mapping[str, Any]:
        return {}

    def losses(
        self, turn: Turn, nets: Nets, example: Example, generator: torch.Generator
    ) -> Mapping[str, Tensor]:
        from distill_runs.objectives import denoising_loss, target_of
        from distill_runs.schedule import noised

        x0, schedule = example.x0_BChw, nets.model.schedule
        epsilon = x0.flip(-1) + x0.roll(1, 1)
        times_B = schedule.times(x0.flatten(1).mean(1).sigmoid())
        level = schedule.level(times_B)
        x_t = noised(x0, epsilon, level)
        predicted = nets.model.predict(nets.net("student"), x_t, times_B, example.condition)
        return {"task": denoising_loss(predicted, target_of(x0, epsilon, level, schedule.prediction))}


@dataclass(frozen=True)
class Faulty(Finetune):
    """Finetuning that does something at one step while a file exists, on one rank or on all."""

    flag: str = ""
    steps: tuple[int, ...] = ()
    rank: int | None = None
    fault: str = "nan"

    def losses(
        self, turn: Turn, nets: Nets, example: Example, generator: torch.Generator
    ) -> Mapping[str, Tensor]:
        terms = super().losses(turn, nets, example, generator)
        here = self.rank is None or self.rank == int(os.environ.get("RANK", "0"))
        wanted = here and (not self.flag or Path(self.flag).exists())
        trains = torch.is_grad_enabled()  # and does not validate
        return FAULTS[self.fault](terms) if wanted and trains and example.step in self.steps else terms


@dataclass(frozen=True)
class TakenOver(Finetune):
    """Finetuning in whose third step another process takes over the run."""

    lease: str = ""

    def losses(
        self, turn: Turn, nets: Nets, example: Example, generator: torch.Generator
    ) -> Mapping[str, Tensor]:
        if example.step == 2:
            owner = {"host": "elsewhere-1", "pid": 1, "owner": "theirs", "started": 0.0, "beat": 1}
            Location.of(self.lease).write_json(owner)
        return super().losses(turn, nets, example, generator)


def _interrupt(_terms: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    raise KeyboardInterrupt


def _too_large(_terms: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    torch.empty(1 << 60)  # the allocator itself refuses
    raise AssertionError


def _no_cuda_memory(_terms: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")


FAULTS: dict[str, Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]] = {
    "nan": lambda terms: {name: term * float("nan") for name, term in terms.items()},
    "interrupt": _interrupt,
    "too large": _too_large,
    "no cuda memory": _no_cuda_memory,
}


# What a rank of a run of several processes does; see ``in_ranks``.


def whole_run(run: Run, packs: list[str], folder: Path) -> dict[str, Any] | str:
    """``train`` to the end; what it says where it is interrupted."""
    return train(run, packs, run_in(folder), progress=False)


def held_run(run: Run, packs: list[str], folder: Path) -> dict[str, Any]:
    """``whole_run`` under a lease, which rank 0 alone knows of."""
    place = run_in(folder)
    with place.at_work() if os.environ.get("RANK", "0") == "0" else nullcontext(place) as held:
        return train(run, packs, held, progress=False)


def steps_in_ranks(run: Run, pack: Path, folder: Path, first: int) -> dict[str, Any]:
    """A run straight through; and the first steps, and the rest of them by a new trainer."""
    with joined() as ranks:
        with trainer_of(run, pack, folder / "straight", ranks) as trainer:
            trainer.start()
            rows = take(trainer, run.steps)
            straight = everything(trainer) | digest(rows)
        with trainer_of(run, pack, folder / "resumed", ranks) as trainer:
            trainer.start()
            rows = take(trainer, first)
            trainer.save()
        with trainer_of(run, pack, folder / "resumed", ranks) as trainer:
            trainer.start()
            rows += take(trainer, run.steps - first)
            return {"straight": straight, "resumed": everything(trainer) | digest(rows)}


def all_from_one(run: Run, pack: Path, folder: Path) -> str | None:
    """What is said where a checkpoint of other ranks is gone on from, after a step."""
    with joined() as ranks, trainer_of(run, pack, folder, ranks) as trainer:
        said = trainer.start()
        trainer.step()
        return said


def save_and_die(folder: Path, step: int, event: str, name: str) -> None:
    """Write a checkpoint, and be killed at the first audit event (``open``, ``os.rename``, ...) of a path
    that ends with ``name``."""

    def look(happened: str, arguments: tuple[Any, ...]) -> None:
        if happened == event and str(arguments[0]).endswith(name):
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(look)
    save_numbered(folder, step)


def save_numbered(folder: Path, step: int) -> None:
    """A checkpoint of 40 kB that says which it is."""
    save_checkpoint(folder, step, {"step": step, "net": torch.full((10_000,), step)}, {"own": step}, ALONE)


def save_with_little_room(folder: Path, step: int, limit_bytes: int) -> None:
    """The same where files may not grow over the limit."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))
    save_numbered(folder, step)


def first_gradients(run: Run, pack: Path, folder: Path, ranks: Ranks = ALONE) -> dict[str, Tensor]:
    """The gradients of the first update, unclipped; the VAE's posterior has no spread."""
    with trainer_of(run, pack, folder, ranks) as trainer:
        conv = trainer.model.pipeline.vae.quant_conv
        with torch.no_grad():
            conv.weight[conv.out_channels // 2 :] = 0
            conv.bias[conv.out_channels // 2 :] = -30
        trainer.start()
        trainer.step()
        return {n: p.grad.clone() for n, p in trainer.model.net.named_parameters() if p.grad is not None}


def gradients_in_ranks(run: Run, pack: Path, folder: Path, target: Path) -> None:
    """``first_gradients`` of all ranks together, to a file of each."""
    with joined() as ranks:
        torch.save(first_gradients(run, pack, folder, ranks), target / f"rank-{ranks.rank}.pt")


def looked_at(families: dict[str, Path], pack: Path, folder: Path) -> dict[str, Any]:
    """What ranks that train each family for two steps have in common, and what not."""
    found: dict[str, Any] = {}
    with joined() as ranks:
        for family, student in families.items():
            run = small_run(student)
            with trainer_of(run, pack, folder / family, ranks) as trainer:
                trainer.start()
                noise = torch.rand(1, generator=trainer.noise.clone_state()).item()
                rows = take(trainer, 2)
                weights = digest(trainer.roles["student"].weights())
                found[family] = {"noise": noise, "loss": rows[0]["loss/task"], "weights": weights}
                found[family]["grad_norms"] = [row["grad_norm/student"] for row in rows]
        found["all"] = [ranks.all_true(True), ranks.all_true(ranks.first)]
        found["mean"] = ranks.mean(torch.tensor([1.0 + ranks.rank, 4.0])).tolist()
        found["gathered"] = ranks.gathered(f"rank {ranks.rank}")
        found["first"] = ranks.of_first(ranks.rank)
    return found


def poisoned(run: Run, pack: Path, folder: Path, steps: int) -> dict[str, Any]:
    """Steps of which some have a loss that is not finite: the weights after each, and the counts."""
    with joined() as ranks, trainer_of(run, pack, folder, ranks) as trainer:
        trainer.start()
        after = []
        try:
            for _ in range(steps):
                measured = trainer.step()
                after.append((digest(trainer.roles["student"].weights()), sorted(measured)))
        except MashbillError as error:
            said = str(error)
        else:
            said = ""
        average = trainer.average.updates if trainer.average else 0
        return {"after": after, "counts": vars(trainer.counts), "average": average, "said": said}
