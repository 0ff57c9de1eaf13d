"""Runs a recipe on packs, from the first step or from where it stood, to a folder that people can read."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from distill_runs.loader import Loader
from distill_runs.metrics import Metrics, Row
from distill_runs.model_card import model_card
from distill_runs.models import Model, load_model, refuse_distilled
from distill_runs.packs import Data, Pack, check_pack, open_pack
from distill_runs.pictures import draw_curves, draw_grid, draw_over_time, save_strip
from distill_runs.ranks import Ranks, joined
from distill_runs.sampler import even_times, sample
from distill_runs.settings import Run
from distill_runs.trainer import Trainer
from distill_runs.validation import Validation
from store.digest import settings
from store.errors import UsageError
from store.runs import RunAt, RunState

LINE_S = 30.0
"""Between two lines of progress in a log."""
PACKAGES = ("torch", "diffusers", "transformers", "webdataset", "numpy", "safetensors")


def train(run: Run, packs: Sequence[str], place: RunAt, progress: bool = True) -> dict[str, Any]:
    """Train to the end, or go on to it from the newest checkpoint. Returns the run's summary.

    Every rank of the run calls this; rank 0 writes, and holds the run's lease outside.

    Args:
        packs: the pack's folder of each stage.
        place: the run's folder, with its ``run.json``.

    Raises:
        UsageError: student, method and packs do not fit.
        MashbillError: a pack, checkpoint or step fails; the message says how to go on.
    """
    with joined() as ranks:
        opened = [open_pack(p, s.data.split) for p, s in zip(packs, run.stages, strict=True)]
        model = load_model(run.student, run.student_revision)
        _check(run, model, opened, ranks)
        under_way = UnderWay(run, model, opened, packs[-1], place, ranks, progress)
        try:
            under_way.go()
            return under_way.finish()
        finally:
            under_way.close()


def _check(run: Run, model: Model, packs: Sequence[Pack], ranks: Ranks) -> None:
    if run.method.refuses_distilled and not run.force:
        refuse_distilled(model)
    run.method.check(model)
    if run.precision == "float16" and ranks.device.type == "cpu":
        raise UsageError("precision=float16 needs a GPU; on a CPU take float32 or bfloat16.")
    for stage, pack in zip(run.stages, packs, strict=True):
        check_pack(pack, stage.data, model.vae_facts, ranks.world_size)
        cell = model.vae_facts["factor"] * int(model.config.get("patch_size") or 1)
        wrong = [size for size in pack.buckets(stage.data) if size[0] % cell or size[1] % cell]
        if wrong:
            raise UsageError(
                f"stage {stage.name!r} reads images of {wrong[0][0]}x{wrong[0][1]} pixels, but "
                f"{model.source!r} takes sides that are multiples of {cell}. Choose another resolution or "
                "other buckets."
            )
        if stage.data.latents:
            _check_latents(model, pack, stage.data)


MOST_APART = 0.3
"""Root mean square of the difference, in spreads of the latents. Measured: 0.02 to 0.06 for the VAE that made
them (the pack's images are JPEG once more), above 1 for any other."""


def _check_latents(model: Model, pack: Pack, data: Data) -> None:
    """Refuse latents that the model's VAE does not make of the same images, whatever their numbers say."""
    few = replace(data, batch_size=min(4, pack.samples))
    latents = next(Loader(pack, few, seed=0)).latents_BCHW
    images = next(Loader(pack, replace(few, latents=False), seed=0)).images_BCHW
    assert latents is not None
    assert images is not None
    apart = (model.mean_latents(images) - latents).square().mean().sqrt() / latents.std()
    if apart > MOST_APART:
        raise UsageError(
            f"the latents of the pack {pack.location.url} are not those of the VAE of {model.source!r}: on "
            f"the same images they are {apart:.2f} spreads apart. Build the pack with "
            f"pack.latents={model.source}."
        )


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
                images = self._pictures(self.model)
            if self.ranks.first:
                save_strip(self._strip(step), images)
        if step % run.checkpoint_every == 0 or last:
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

    @torch.no_grad()
    def _pictures(self, model: Model) -> torch.Tensor:
        """The prompts' pictures by the model's denoiser as it stands: float32 [B, 3, H, W] in [-1, 1]."""
        run = self.run
        width, height = self.packs[-1].buckets(run.stages[-1].data)[0]
        factor, channels = model.vae_facts["factor"], model.vae_facts["channels"]
        shape = (len(self.prompts), channels, height // factor, width // factor)
        start = torch.randn(shape, generator=torch.Generator().manual_seed(run.seed)).to(self.ranks.device)
        shift = model.pipeline.scheduler.config.get("shift") or 1.0
        times = even_times(model.schedule, run.samples.inference_steps, shift)
        condition = model.encode(self.prompts)
        predict = model.guided(model.net, condition, self.trainer.null, run.samples.guidance_scale)
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
        weights, saved = self.trainer.final_weights()
        summary = self._finish(weights, saved) if self.ranks.first else None
        return dict(self.ranks.of_first(summary))

    def _finish(self, weights: dict[str, torch.Tensor], saved: str) -> dict[str, Any]:
        run, model = self.run, self.model
        assert self.metrics is not None
        if run.sharded:  # a network that is split cannot be saved by its pipeline
            model = load_model(run.student, run.student_revision)
            model.to(self.ranks.device, torch.float32)
        model.net.load_state_dict(weights, strict=False)
        model.net.eval()
        images = self._pictures(model)
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
