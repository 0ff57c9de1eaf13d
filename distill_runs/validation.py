"""The loss on samples that are never trained on: the same samples, times and noise every time."""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from distill_runs.loader import Loader
from distill_runs.packs import Pack, check_pack
from distill_runs.progress import Chosen
from distill_runs.trainer import Trainer


class Validation:
    """Measures a trainer's student, or its average where it has one."""

    def __init__(self, trainer: Trainer, pack: Pack) -> None:
        """``pack``: the ``validation`` split. Its first samples in the run's shuffled order are taken."""
        run, ranks = trainer.run, trainer.ranks
        data = replace(run.stages[-1].data, split="validation", captions="first", flip=0.0)
        check_pack(pack, data, trainer.model.vae_facts, ranks.world_size)
        wanted = min(run.validation.samples, pack.samples)
        self.batches = max(1, wanted // (data.batch_size * ranks.world_size))
        self.pack, self.data = pack, data

    @torch.no_grad()
    def loss(self, trainer: Trainer) -> float:
        """The method's loss, captions whole; the mean over all samples and ranks."""
        student, run = trainer.roles["student"], trainer.run
        noise = torch.Generator().manual_seed(trainer.ranks.rank)
        losses = []
        batches = Loader(self.pack, self.data, run.seed, trainer.ranks.rank, trainer.ranks.world_size)
        with trainer.evaluated(student):
            for _ in range(self.batches):
                example = trainer.example(next(batches), run.stages[-1].steps - 1, noise, drop=False)
                terms = trainer.losses(run.method.turns[-1], example, noise)
                losses.append(torch.stack([term.float() for term in terms.values()]).sum())
        return float(trainer.ranks.mean(torch.stack(losses).mean()))

    def choose(self, trainer: Trainer, loss: float) -> None:
        """Remember the weights where their loss is the lowest so far."""
        lowest = trainer.chosen.loss if trainer.chosen else math.inf
        if loss < lowest:  # never where it is not a number
            student = trainer.roles["student"]
            with trainer.evaluated(student):
                weights = student.weights()
            trainer.chosen = Chosen(trainer.counts.step, loss, weights)
