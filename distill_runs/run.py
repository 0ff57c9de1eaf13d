"""Runs a recipe on packs, from the first step or from where it stood, to a folder that people can read."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from distill_runs.families import Condition
from distill_runs.loader import Loader
from distill_runs.metrics import Metrics, Row
from distill_runs.model_card import model_card
from distill_runs.models import Model, load_model
from distill_runs.packs import Pack, open_pack
from distill_runs.pictures import draw_curves, draw_grid, draw_over_time, save_strip
from distill_runs.progress import taken_over
from distill_runs.ranks import Ranks, joined
from distill_runs.refusals import check_fit
from distill_runs.sampler import even_times, sample
from distill_runs.settings import Run
from distill_runs.sharding import is_sharded, rebuilt
from distill_runs.trainer import Trainer
from distill_runs.validation import Validation
from store.digest import settings
from store.lease import LeaseLost
from store.runs import RunAt, RunState

LINE_S = 30.0
"""Between two lines of progress in a log."""
PACKAGES = ("torch", "diffusers", "transformers", "webdataset", "numpy", "safetensors")


def train(run: Run, packs: Sequence[str], place: RunAt, progress: bool = True) -> dict[str, Any]:
    """Train to the end, or go on to it from the newest checkpoint. Returns the run's summary.

    Every rank of the run calls this; rank 0 writes, and holds the run's lease outside.

    Args:
        packs: the pack's folder of each stage.
        place: the run's folder, with its ``run.json``; rank 0's names the lease it is held by, if any.

    Raises:
        UsageError: student, method and packs do not fit.
        LeaseLost: another process took over the run.
        MashbillError: a pack, checkpoint or step fails; the message says how to go on.
    """
    with joined() as ranks:
        opened = [open_pack(p, s.data.split) for p, s in zip(packs, run.stages, strict=True)]
        model = load_model(run.student, run.student_revision)
        check_fit(run, model, opened, ranks)
        under_way = UnderWay(run, model, opened, packs[-1], place, ranks, progress)
        try:
            under_way.go()
            return under_way.finish()
        finally:
            under_way.close()


class UnderWay:
    """A run on its way: steps, and what is measured, drawn and kept between them."""

    def __init__(
        self,
        run: Run,
        model: Model,
        packs: Sequence[Pack],
        validation_pack: str,
        place: RunAt,
        ranks: Ranks,
        progress: bool,
    ) -> None:
        self.run, self.model, self.packs, self.place, self.ranks = run, model, packs, place, ranks
        self.folder, self.progress = Path(place.folder), progress and ranks.first
        self.began = self.last_line = time.perf_counter()
        self.trainer = Trainer(run, model, packs, self.folder, ranks)
        self.validation = None
        if run.validation.every:
            self.validation = Validation(self.trainer, open_pack(validation_pack, "validation"))
        said = self.trainer.start()
        if ranks.first and said:
            print(said, file=sys.stderr, flush=True)
        self.metrics = Metrics(self.folder, self.trainer.counts.step) if ranks.first else None
        self.prompts = self._prompts()

    def go(self) -> None:
        """Every step that is left."""
        run, counts = self.run, self.trainer.counts
        bar = tqdm(
            total=run.steps, initial=counts.step, desc=run.name, unit="step", disable=not self.progress
        )
        mark, samples = time.perf_counter(), counts.samples
        self._tell()
        with bar:
            while counts.step < run.steps:
                self.trainer.step()
                self._still_held()
                bar.update()
                if counts.step % run.log_every == 0 or counts.step in (1, run.steps):
                    now = time.perf_counter()
                    speed = (counts.samples - samples) / (now - mark)
                    row = self._log(speed)
                    mark, samples = now, counts.samples
                    terms = {n.removeprefix("loss/"): f"{v:.4f}" for n, v in row.items() if "loss/" in n}
                    bar.set_postfix(terms)
                    self._line(terms, speed)
                self._between(counts.step)

    def _still_held(self) -> None:
        """Raises ``LeaseLost``, on all ranks alike, where another process took over the run."""
        if not self.ranks.all_true(not self.place.lost()):
            raise LeaseLost(taken_over(self.place.id, self.trainer.counts.step))

    def _line(self, terms: dict[str, str], speed: float) -> None:
        """A line of progress where no bar can be drawn: in a log."""
        now, counts = time.perf_counter(), self.trainer.counts
        if self.ranks.first and not self.progress and now - self.last_line >= LINE_S:
            self.last_line = now
            told = ", ".join(f"{name} {value}" for name, value in terms.items())
            said = f"{self.run.name}: step {counts.step} of {self.run.steps}, {told}, {speed:.0f} samples/s"
            print(said, file=sys.stderr, flush=True)

    def _between(self, step: int) -> None:
        """What is due after a step: validation, pictures, a checkpoint."""
        run, last = self.run, step == self.run.steps
        if self.validation and (step % run.validation.every == 0 or last):
            loss = self.validation.loss(self.trainer)
            if run.validation.choose:
                self.validation.choose(self.trainer, loss)
            if self.metrics:
                self.metrics.add({"step": step, "validation/loss": loss})
        if run.samples.every and step % run.samples.every == 0 and (self.ranks.first or run.sharded):
            with self.trainer.evaluated(self.trainer.roles["student"]):
                images = self._pictures()
            if self.ranks.first:
                save_strip(self._strip(step), images)
        if step % run.checkpoint_every == 0 or last:
            self._still_held()  # validation and pictures take their time
            self.trainer.save()
            self._tell()

    def _log(self, samples_per_second: float) -> Row:
        """A row: means over the steps since the last one and over ranks; samples left out are all ranks'."""
        window, self.trainer.window = self.trainer.window, []
        names = sorted({name for measured in window for name in measured})
        means = [sum(m.get(n, 0.0) for m in window) / sum(n in m for m in window) for n in names]
        means.append(self.trainer.skipped * self.ranks.world_size)
        *shared, skipped = self.ranks.mean(torch.tensor(means, dtype=torch.float64)).tolist()
        counts, stage = self.trainer.counts, self.run.stage_at(self.trainer.counts.step - 1)
        rates = {
            f"learning_rate/{settings.name}": settings.rate(stage[1] + 1, stage[0].steps)
            for settings in stage[0].optimizers
        }
        row: Row = {
            "step": counts.step,
            **dict(zip(names, shared, strict=True)),
            **rates,
            "bad_updates": counts.bad,
            "skipped_samples": round(skipped),
            "samples_per_second": round(samples_per_second, 3),
        }
        if self.metrics:
            self.metrics.add(row)
        return row

    def _prompts(self) -> list[str]:
        """The recipe's prompts, else the first different captions that the last stage reads."""
        wanted = self.run.samples
        if wanted.prompts:
            return list(wanted.prompts)
        found: dict[str, None] = {}
        loader = Loader(self.packs[-1], self.run.stages[-1].data, self.run.seed)
        for _ in range(max(1, -(-self.packs[-1].samples // self.run.stages[-1].data.batch_size))):
            found.update(dict.fromkeys(next(loader).captions))
            if len(found) >= wanted.count:
                break
        return list(found)[: wanted.count]

    @cached_property
    def condition(self) -> Condition:
        """Of the prompts, for every picture; their encoders stand still."""
        return self.trainer.conditions.of(self.prompts)

    @torch.no_grad()
    def _pictures(self) -> torch.Tensor:
        """The prompts' pictures by the denoiser as it stands: float32 [B, 3, H, W] in [-1, 1]."""
        run, model = self.run, self.model
        width, height = self.packs[-1].buckets(run.stages[-1].data)[0]
        factor, channels = model.vae_facts["factor"], model.vae_facts["channels"]
        shape = (len(self.prompts), channels, height // factor, width // factor)
        start = torch.randn(shape, generator=torch.Generator().manual_seed(run.seed)).to(self.ranks.device)
        shift = model.pipeline.scheduler.config.get("shift") or 1.0
        times = even_times(model.schedule, run.samples.inference_steps, shift)
        predict = model.guided(model.net, self.condition, self.trainer.null, run.samples.guidance_scale)
        with self.trainer.arithmetic():
            x0 = sample(predict, start, model.schedule, times)
        return model.images(x0).cpu()

    def _strip(self, step: int) -> Path:
        return self.folder / "samples" / f"step-{step:08d}.png"

    def close(self) -> None:
        """Let go of files and processes."""
        self.trainer.stop()
        if self.metrics:
            self.metrics.close()

    def finish(self) -> dict[str, Any]:
        """The model, the pictures and the summary; rank 0 makes them and all ranks return the summary."""
        self._still_held()
        weights, saved = self.trainer.final_weights()
        summary = self._finish(weights, saved) if self.ranks.first else None
        return dict(self.ranks.of_first(summary))

    def _finish(self, weights: dict[str, torch.Tensor], saved: str) -> dict[str, Any]:
        run, model = self.run, self.model
        assert self.metrics is not None
        if is_sharded(model.net):  # a network that is split cannot be saved by its pipeline
            model.put(rebuilt(model.net, weights).to(self.ranks.device))
        else:
            model.net.load_state_dict(weights, strict=False)
        model.net.eval()
        images = self._pictures()
        save_strip(self._strip(run.steps), images)
        draw_grid(self.folder / "samples.png", images, self.prompts, f"{run.name}, {saved}")
        draw_over_time(self.folder / "samples_over_time.png", self.folder / "samples", self.prompts)
        self.metrics.write_table()
        draw_curves(self.folder / "curves.png", self.metrics, run.name)
        summary = self._summary(saved)
        model.save(self.folder / "model")
        (self.folder / "model" / "README.md").write_text(model_card(run, model, summary, self.place))
        (self.place.location / "summary.json").write_json(summary)
        return summary

    def _summary(self, saved: str) -> dict[str, Any]:
        run, counts, chosen = self.run, self.trainer.counts, self.trainer.chosen
        assert self.metrics is not None
        losses = {n: self.metrics.column(n)[1] for n in self.metrics.names if "loss" in n}
        return {
            "method": type(run.method).__name__,
            "recipe": settings(run),
            "student": {"source": self.model.source, "family": self.model.family.name},
            "dataset": self.packs[-1].dataset,
            "version": self.packs[-1].version,
            "packs": [
                {"location": p.location.url, "dataset": p.dataset, "version": p.version, "sha256": p.sha256}
                for p in self.packs
            ],
            "saved": saved,
            "steps": counts.step,
            "samples_seen": counts.samples,
            "updates": counts.updates,
            "bad_updates": counts.bad,
            "skipped_samples": int(self.metrics.column("skipped_samples")[1][-1]),
            "losses": {name: {"first": c[0], "last": c[-1], "lowest": min(c)} for name, c in losses.items()},
            "chosen": {"step": chosen.step, "loss": chosen.loss} if chosen else None,
            "num_parameters": sum(p.numel() for p in self.model.net.parameters()),
            "world_size": self.ranks.world_size,
            "num_threads": torch.get_num_threads(),
            "device": str(self.ranks.device),
            "starts": len(self.place.starts()),
            "seconds": round(time.perf_counter() - self.began, 3),
            "packages": {name: version(name) for name in PACKAGES},
        }

    def _tell(self) -> None:
        if self.ranks.first:
            self.place.tell(RunState("running", self.trainer.counts.step, self.run.steps))
