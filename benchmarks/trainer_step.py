"""A step of the trainer beside the same step written by hand, on the same model and batches in memory.

    python -m benchmarks.trainer_step STUDENT PACK [--batch 8] [--steps 5] [--rounds 9]

STUDENT is a folder or id of an SD 1.x or PixArt-Sigma pipeline, which both train with the same draws: images
to latents, captions to embeddings, noise, AdamW (one kernel), clipping, a moving average, the loss as a
number. The two take turns; a ratio is of one round's CPU time (on a GPU: of its wall time), so that other
work on the machine falls on both or on neither.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler, DiffusionPipeline

from distill_runs.loader import Batch, Loader
from distill_runs.methods.finetune import Finetune
from distill_runs.models import load_model
from distill_runs.packs import Data, Pack, open_pack
from distill_runs.ranks import Ranks
from distill_runs.settings import AdamW, Ema, Run, Stage
from distill_runs.trainer import Trainer

RATE, DECAY = 1e-4, 0.999
Step = Callable[[], float]
"""Takes a step; its loss."""


def by_hand(student: str, batches: Sequence[Batch], device: torch.device) -> Step:
    """The loop of a script that uses diffusers plainly."""
    parts = DiffusionPipeline.from_pretrained(student).to(device)
    parts.vae.requires_grad_(False)
    parts.text_encoder.requires_grad_(False)
    unet = hasattr(parts, "unet")
    net = (parts.unet if unet else parts.transformer).train()
    scheduler = DDPMScheduler.from_config(parts.scheduler.config)
    optimizer = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=0.0, fused=True)
    average = [parameter.detach().clone() for parameter in net.parameters()]
    feed = itertools.cycle(batches)

    def conditions(captions: list[str]) -> dict[str, Any]:
        if unet:
            return {"encoder_hidden_states": parts.encode_prompt(captions, device, 1, False)[0]}
        length = min(300, parts.tokenizer.model_max_length)
        tokens, mask, _, _ = parts.encode_prompt(captions, False, device=device, max_sequence_length=length)
        return {"encoder_hidden_states": tokens, "encoder_attention_mask": mask}

    def step() -> float:
        batch = next(feed)
        assert batch.images_BCHW is not None
        with torch.no_grad():
            latents = parts.vae.encode(batch.images_BCHW.to(device)).latent_dist.sample()
            latents = latents * parts.vae.config.scaling_factor
            inputs = conditions(batch.captions)
        noise = torch.randn_like(latents)
        timesteps = torch.randint(0, 1000, (len(latents),), device=device)
        predicted = net(scheduler.add_noise(latents, noise, timesteps), timestep=timesteps, **inputs).sample
        loss = F.mse_loss(predicted[:, : latents.shape[1]].float(), noise)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        with torch.no_grad():
            for mean, parameter in zip(average, net.parameters(), strict=True):
                mean.lerp_(parameter, 1 - DECAY)
        return float(loss.item())

    return step


@contextmanager
def ours(student: str, pack: Pack, batches: Sequence[Batch], device: torch.device) -> Iterator[Step]:
    """The trainer's ``step``, its loader replaced by the batches."""
    data = Data(resolution=min(pack.sizes[0]), batch_size=len(batches[0].captions))
    stage = Stage(data=data, steps=10**6, optimizers=(AdamW(learning_rate=RATE),))
    ema = Ema(decay=DECAY, warm=False)
    run = Run("step", pack.dataset, student, Finetune(), (stage,), ema=ema, caption_dropout=0.0, force=True)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(run, load_model(student), [pack], Path(folder), Ranks(0, 1, device))
        trainer.start()
        trainer._batches = itertools.cycle(batches)  # type: ignore[assignment]

        def step() -> float:
            loss = trainer.step()["loss/task"]
            trainer.window.clear()  # as a run does with every row
            return loss

        yield step
        trainer.stop()


def seconds(step: Step, steps: int, device: torch.device) -> float:
    """Of one step: CPU time, or wall time on a GPU."""
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    began = clock()
    for _ in range(steps):
        step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return (clock() - began) / steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("student")
    parser.add_argument("pack")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=9)
    asked = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu":
        torch.set_num_threads(1)
    pack = open_pack(asked.pack)
    reader = Loader(pack, Data(resolution=min(pack.sizes[0]), batch_size=asked.batch), 0)
    batches = list(itertools.islice(reader, 4))
    plain = by_hand(asked.student, batches, device)
    ratios = []
    with ours(asked.student, pack, batches, device) as trained:
        for turn in range(asked.rounds + 1):
            order = (plain, trained) if turn % 2 else (trained, plain)
            times = {step: seconds(step, asked.steps, device) for step in order}
            if turn:  # the first is for warming up
                ratios.append(times[trained] / times[plain])
                print(
                    f"by hand {times[plain]:.4f} s/step, trainer {times[trained]:.4f}, ratio {ratios[-1]:.3f}"
                )
    print(
        f"trainer / by hand: median {statistics.median(ratios):.3f}, {min(ratios):.3f} to {max(ratios):.3f}"
        f" over {len(ratios)} rounds, {asked.batch} samples a step, {device}"
    )


if __name__ == "__main__":
    main()
