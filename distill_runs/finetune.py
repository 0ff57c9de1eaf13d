"""The finetuning loop: a recipe and a pack become a run folder."""

from __future__ import annotations

import itertools
import json
import math
import platform
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from distill_runs.denoiser import NUM_TIMESTEPS, Denoiser, build_denoiser, save_denoiser
from distill_runs.objectives import epsilon_loss
from distill_runs.pack import Batch, Pack, batches, open_pack
from distill_runs.pictures import draw_grid, draw_loss
from distill_runs.recipe import Finetune
from distill_runs.run_folder import Run, load_run, new_run_folder
from distill_runs.sampling import sample_images
from distill_runs.schedule import noised, vp_level
from store.errors import MashbillError, UsageError

__all__ = ["Finetune", "Run", "finetune", "load_run"]

PACKAGES = ("torch", "diffusers", "webdataset", "pillow", "numpy", "safetensors")


def finetune(run: Finetune, pack: str, folder: str, progress: bool = True) -> dict[str, Any]:
    """Train on the pack in folder ``pack`` and write the run to ``folder``, on the CPU.

    ``folder`` must be new or empty. It gets ``run.json``, ``metrics.jsonl``, ``loss.png``,
    ``samples.png``, ``samples/`` where the recipe asks for it, and ``checkpoint/``; it appears when
    everything is done. Returns the content of ``run.json``. ``progress`` draws a bar on stderr.
    Raises ``UsageError`` where recipe, pack and folder do not fit, ``MashbillError`` where the pack is
    broken or the loss stops being a number; nothing is left behind then.
    """
    started = time.perf_counter()
    opened = open_pack(pack, run.split)
    _check_pack(run, opened)
    with new_run_folder(folder) as path:
        denoiser = build_denoiser(run)
        prompts = _prompts(run, opened)
        metrics = _train(run, opened, denoiser, prompts, path, progress)
        losses = [row["loss"] for row in metrics]
        steps = [row["step"] for row in metrics]
        draw_loss(path / "loss.png", steps, losses, _title(run, opened))
        _draw_samples(path / "samples.png", run, denoiser, prompts, run.steps)
        save_denoiser(denoiser, path / "checkpoint")
        summary = _summary(run, opened, denoiser, losses)
        summary["seconds"] = round(time.perf_counter() - started, 3)
        (path / "run.json").write_text(json.dumps(summary, indent=2, ensure_ascii=False) + "\n")
    return summary


def _check_pack(run: Finetune, pack: Pack) -> None:
    name, _, wanted = run.dataset.partition("@")
    if pack.dataset != name or (wanted and pack.version != wanted):
        raise UsageError(
            f"recipe {run.name!r} trains on {run.dataset}, but the pack {pack.folder} is "
            f"{pack.dataset}@{pack.version}. Give its pack, or set dataset={pack.dataset}."
        )
    size = f"{pack.width_px}x{pack.height_px} pixels"
    if pack.width_px != pack.height_px:
        raise UsageError(
            f"the pack {pack.folder} has images of {size}; expected square ones. "
            f"Pack the dataset at a square resolution, {run.resolution} or more."
        )
    if pack.width_px < run.resolution:
        raise UsageError(
            f"the pack {pack.folder} has images of {size}; resolution={run.resolution} would enlarge "
            f"them. Set resolution to at most {pack.width_px}, or pack the dataset larger."
        )


def _prompts(run: Finetune, pack: Pack) -> list[str]:
    """The recipe's prompts, else the first different captions of one epoch, at least one of them."""
    if run.sample_prompts:
        return list(run.sample_prompts)
    stream = batches(pack, run.batch_size, run.resolution, run.seed)
    num_batches = -(-pack.samples // run.batch_size)
    found: dict[str, None] = {}
    for batch in itertools.islice(stream, num_batches):
        found.update(dict.fromkeys(batch.captions))
        if len(found) >= run.num_samples:
            break
    return list(found)[: run.num_samples]


def _train(
    run: Finetune,
    pack: Pack,
    denoiser: Denoiser,
    prompts: Sequence[str],
    folder: Path,
    progress: bool,
) -> list[dict[str, float]]:
    """Take every step; returns the rows of ``metrics.jsonl``, which it writes."""
    parameters = list(denoiser.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=run.learning_rate, fused=True)
    metrics: list[dict[str, float]] = []
    bar = tqdm(total=run.steps, desc=run.name, unit="step", disable=not progress)
    with bar, (folder / "metrics.jsonl").open("w") as log:
        for step, loss in enumerate(_losses(run, pack, denoiser), start=1):
            rate = run.learning_rate * min(1.0, step / max(1, run.warmup_steps))
            optimizer.param_groups[0]["lr"] = rate
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            norm = torch.nn.utils.clip_grad_norm_(parameters, run.max_grad_norm)
            row = {"step": step, "loss": loss.item(), "grad_norm": norm.item(), "lr": rate}
            _check_finite(run, row)
            optimizer.step()
            if step == 1 or step == run.steps or step % run.log_every_steps == 0:
                metrics.append(row)
                log.write(json.dumps(row) + "\n")
            if run.sample_every_steps and step % run.sample_every_steps == 0:
                _draw_samples(folder / f"samples/step-{step:06d}.png", run, denoiser, prompts, step)
            bar.set_postfix(loss=f"{row['loss']:.3f}")
            bar.update()
    return metrics


def _losses(run: Finetune, pack: Pack, denoiser: Denoiser) -> Iterator[Tensor]:
    """The loss of each step, in order, to be differentiated before the next one is asked for."""
    noise = torch.Generator().manual_seed(run.seed)
    dropout = random.Random(run.seed)
    stream = batches(pack, run.batch_size, run.resolution, run.seed)
    for batch in itertools.islice(stream, run.steps):
        captions = ["" if dropout.random() < run.caption_dropout else c for c in batch.captions]
        yield _loss(denoiser, batch, captions, noise)


def _loss(denoiser: Denoiser, batch: Batch, captions: Sequence[str], noise: torch.Generator) -> Tensor:
    x0 = batch.images_BCHW
    timesteps_B = torch.randint(NUM_TIMESTEPS, (len(captions),), generator=noise)
    epsilon = torch.randn(x0.shape, generator=noise)
    x_t = noised(x0, epsilon, vp_level(denoiser.scheduler.alphas_cumprod, timesteps_B))
    return epsilon_loss(denoiser.epsilon(x_t, timesteps_B, captions), epsilon)


def _check_finite(run: Finetune, row: dict[str, float]) -> None:
    for name in ("loss", "grad_norm"):
        if not math.isfinite(row[name]):
            raise MashbillError(
                f"run {run.name!r} stopped at step {row['step']} of {run.steps}: the {name} is "
                f"{row[name]}, expected a finite number. Lower learning_rate ({run.learning_rate:g}) "
                f"or raise warmup_steps ({run.warmup_steps}). Nothing was written."
            )


def _draw_samples(path: Path, run: Finetune, denoiser: Denoiser, prompts: Sequence[str], step: int) -> None:
    images = sample_images(denoiser, prompts, run.num_sample_steps, run.guidance_scale, run.seed)
    title = f"{run.name} after {step} steps, guidance {run.guidance_scale:g}"
    draw_grid(path, images, prompts, title)


def _title(run: Finetune, pack: Pack) -> str:
    return f"{run.name} on {pack.dataset}: {pack.samples} samples, batch {run.batch_size}"


def _summary(run: Finetune, pack: Pack, denoiser: Denoiser, losses: Sequence[float]) -> dict[str, Any]:
    tenth = max(1, len(losses) // 10)
    recipe = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(run).items()}
    return {
        "method": "finetune",
        "recipe": recipe,
        "dataset": pack.dataset,
        "version": pack.version,
        "pack": {
            "split": pack.split,
            "samples": pack.samples,
            "width": pack.width_px,
            "height": pack.height_px,
            "sha256": pack.sha256,
            "shards": [{"name": shard.name, "sha256": shard.sha256} for shard in pack.shards],
        },
        "num_parameters": sum(p.numel() for p in denoiser.parameters()),
        "num_threads": torch.get_num_threads(),
        "epochs": round(run.steps * run.batch_size / pack.samples, 3),
        "loss": {
            "first": losses[0],
            "last": losses[-1],
            "lowest": min(losses),
            "mean_of_first_tenth": sum(losses[:tenth]) / tenth,
            "mean_of_last_tenth": sum(losses[-tenth:]) / tenth,
        },
        "packages": {
            "python": platform.python_version(),
            **{name: version(name) for name in PACKAGES},
        },
    }
