"""The first losses of each family beside a plain loop of stock diffusers classes, and beside those of once.

``golden_losses.json`` holds what the plain loop came to when it was written. Where the random models of the
tests change it has to be written anew; a test that fails says where the new one lies.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler, DiffusionPipeline
from torch import Tensor

from distill_runs.loader import Loader
from distill_runs.packs import open_pack
from distill_runs.settings import Run
from tests.distill_runs.small_runs import small_run, staged, take, trainer_of

GOLDEN = Path(__file__).with_name("golden_losses.json")
STEPS = 20


def golden_run(student: Path) -> Run:
    return staged(small_run(student), {"steps": STEPS})


class PlainLoop:
    """Finetuning as a script would write it, on the trainer's draws."""

    def __init__(self, run: Run, pack: Path) -> None:
        self.run, self.family = run, Path(run.student).name
        self.parts = DiffusionPipeline.from_pretrained(run.student)
        self.net = self.parts.unet if self.family == "unet" else self.parts.transformer
        self.net.train()
        self.optimizer = torch.optim.AdamW(
            self.net.parameters(), lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0
        )
        self.random = torch.Generator().manual_seed(int(hashlib.sha256(b"0:0").hexdigest()[:15], 16))
        self.batches = Loader(open_pack(pack), run.stages[0].data, run.seed)
        schedule = {"unet": ("scaled_linear", 0.00085, 0.012), "pixart": ("linear", 1e-4, 0.02)}
        beta_schedule, start, end = schedule.get(self.family, ("linear", 1e-4, 0.02))
        self.scheduler = DDPMScheduler(beta_schedule=beta_schedule, beta_start=start, beta_end=end)

    def losses(self) -> Iterator[float]:
        for _ in range(STEPS):
            batch = next(self.batches)
            assert batch.images_BCHW is not None
            latents = self.latents(batch.images_BCHW)
            inputs = self.encode(self.with_dropout(batch.captions))
            loss = (
                self.flow_loss(latents, inputs) if self.family == "sd3" else self.noise_loss(latents, inputs)
            )
            self.optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
            self.optimizer.step()
            yield loss.item()

    @torch.no_grad()
    def latents(self, images_BCHW: Tensor) -> Tensor:
        vae = self.parts.vae
        latents: Tensor = vae.encode(images_BCHW).latent_dist.sample(self.random)
        return (latents - (vae.config.shift_factor or 0)) * vae.config.scaling_factor

    def with_dropout(self, captions: list[str]) -> list[list[str]]:
        """A tenth of the captions empty, for all encoders; each encoder draws once more, for nothing."""
        hidden = (torch.rand(len(captions), generator=self.random) < 0.1).tolist()
        for_encoders = []
        for _ in range(3 if self.family == "sd3" else 1):
            torch.rand(len(captions), generator=self.random)
            for_encoders.append(["" if hide else text for text, hide in zip(captions, hidden, strict=True)])
        return for_encoders

    @torch.no_grad()
    def encode(self, captions: list[list[str]]) -> dict[str, Any]:
        cpu = torch.device("cpu")
        if self.family == "unet":
            return {"encoder_hidden_states": self.parts.encode_prompt(captions[0], cpu, 1, False)[0]}
        if self.family == "pixart":
            tokens, mask, _, _ = self.parts.encode_prompt(
                captions[0], False, max_sequence_length=self.parts.tokenizer.model_max_length
            )
            return {"encoder_hidden_states": tokens, "encoder_attention_mask": mask}
        tokens, _, pooled, _ = self.parts.encode_prompt(
            *captions,
            do_classifier_free_guidance=False,
            max_sequence_length=self.parts.tokenizer_3.model_max_length,
        )
        return {"encoder_hidden_states": tokens, "pooled_projections": pooled}

    def noise_loss(self, latents: Tensor, inputs: dict[str, Any]) -> Tensor:
        timesteps = 999 - (torch.rand(len(latents), generator=self.random) * 1000).long()
        noise = torch.randn(latents.shape, generator=self.random)
        noisy = self.scheduler.add_noise(latents, noise, timesteps)
        predicted = self.net(noisy, timestep=timesteps, **inputs).sample
        return F.mse_loss(predicted[:, :4], noise)

    def flow_loss(self, latents: Tensor, inputs: dict[str, Any]) -> Tensor:
        sigmas = torch.randn(len(latents), generator=self.random).sigmoid()
        noise = torch.randn(latents.shape, generator=self.random)
        noisy = (1 - sigmas.view(-1, 1, 1, 1)) * latents + sigmas.view(-1, 1, 1, 1) * noise
        predicted = self.net(noisy, timestep=1000 * sigmas, **inputs).sample
        return F.mse_loss(predicted, noise - latents)


@pytest.fixture(scope="module")
def plain_losses(random_models: dict[str, Path], squares: Path) -> dict[str, list[float]]:
    return {
        family: list(PlainLoop(golden_run(folder), squares).losses())
        for family, folder in random_models.items()
    }


@pytest.mark.parametrize("family", ["unet", "pixart", "sd3"])
def test_ours_are_those_of_a_plain_loop(
    family: str,
    random_models: dict[str, Path],
    squares: Path,
    tmp_path: Path,
    plain_losses: dict[str, list[float]],
) -> None:
    with trainer_of(golden_run(random_models[family]), squares, tmp_path) as trainer:
        trainer.start()
        ours = [measured["loss/task"] for measured in take(trainer, STEPS)]
    assert ours == pytest.approx(plain_losses[family], rel=1e-5)


def test_they_are_those_of_once(plain_losses: dict[str, list[float]], tmp_path: Path) -> None:
    found = {family: [round(loss, 6) for loss in losses] for family, losses in plain_losses.items()}
    (tmp_path / GOLDEN.name).write_text(json.dumps(found, indent=1) + "\n")
    assert all(losses[-1] < losses[0] for losses in found.values())
    golden = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    assert golden.keys() == found.keys(), f"copy {tmp_path / GOLDEN.name} to {GOLDEN}"
    for family, losses in found.items():
        said = f"where the random models were changed on purpose, copy {tmp_path / GOLDEN.name} to {GOLDEN}"
        assert losses == pytest.approx(golden[family], rel=1e-3), said
