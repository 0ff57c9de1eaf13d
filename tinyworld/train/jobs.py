"""One function per tiny model: draw, train, save. ``run`` adds the measuring and the model card."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from transformers import (
    CLIPModel,
    CLIPProcessor,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5EncoderModel,
)

from store.errors import UsageError
from tinyworld.train import MODELS, captioner, clip, prompt_writer, t5, tokens, vae
from tinyworld.train.card import write_card
from tinyworld.train.corpus import Corpus, training_corpus, training_scenes
from tinyworld.train.measure import MEASURES, SCENES
from tinyworld.train.saving import save_half

_CORPUS = 24_000
_TOKENIZER_SCENES = 4_000
_RECONSTRUCTED_SHARE = 1 / 3
_LATENT_NOISE = 0.1


@dataclass(frozen=True)
class Job:
    """What to train, and with what. ``cache`` keeps drawn images for the next job."""

    name: str
    out: Path
    steps: int
    seed: int
    cache: Path | None

    @property
    def count(self) -> int:
        """How many scenes to learn from: all in a full training, fewer for a few steps."""
        return min(_CORPUS, max(8, 64 * self.steps))

    def corpus(self) -> Corpus:
        """The scenes, drawn."""
        return training_corpus(self.count, self.cache)


def texts() -> list[str]:
    """What all tokenizers are learned from: captions of 4,000 training scenes."""
    return tokens.caption_texts(training_scenes(_TOKENIZER_SCENES))


def _train_vae_4(job: Job) -> list[float]:
    torch.manual_seed(job.seed)
    model = vae.build_vae(4)
    losses = vae.train_vae(job.corpus(), model, job.steps, job.seed)
    save_half(model, job.out)
    return losses


def _train_vae_16(job: Job) -> list[float]:
    torch.manual_seed(job.seed)
    model = vae.build_vae(16)
    vae.start_from(model, AutoencoderKL.from_pretrained(MODELS / "vae-4"))
    losses = vae.train_vae(job.corpus(), model, job.steps, job.seed)
    save_half(model, job.out)
    return losses


def _train_clip(job: Job) -> list[float]:
    """Also writes the text tower alone, beside ``job.out``, as ``clip-text``."""
    tokens.train_clip_tokenizer(texts()).save_pretrained(job.out)
    tokenizer = CLIPTokenizer.from_pretrained(job.out)
    corpus = job.corpus()
    model, losses = clip.train_clip(corpus, tokenizer, job.steps, job.seed)
    save_half(model, job.out)
    clean = CLIPTokenizer.from_pretrained(job.out)
    CLIPProcessor(image_processor=clip.build_image_processor(), tokenizer=clean).save_pretrained(job.out)
    text = CLIPTextModelWithProjection(model.config.text_config)
    text.load_state_dict(
        {name: value for name, value in model.state_dict().items() if name.startswith("text_")}
    )
    save_half(text, job.out.with_name(f"{job.out.name}-text"))
    clean.save_pretrained(job.out.with_name(f"{job.out.name}-text"))
    return losses + go_on_with_images(job, corpus)


def go_on_with_images(job: Job, corpus: Corpus) -> list[float]:
    """The second part of the training of ``clip``, another image tower: from the folder, into the folder."""
    tokenizer = CLIPTokenizer.from_pretrained(job.out)
    model = clip.with_local_tower(CLIPModel.from_pretrained(job.out), job.seed)
    shares = [max(1, job.steps * steps // clip.STEPS) for steps in (clip.SHAPE_STEPS, clip.IMAGE_STEPS)]
    losses = clip.train_shapes(corpus, model, shares[0], job.seed)
    losses += clip.train_image_tower(corpus, model, tokenizer, shares[1], job.seed)
    save_half(model, job.out)
    return losses


def _train_second_text_encoder(job: Job) -> list[float]:
    judge = CLIPModel.from_pretrained(MODELS / "clip").eval()
    CLIPTokenizer.from_pretrained(MODELS / "clip").save_pretrained(job.out)
    tokenizer = CLIPTokenizer.from_pretrained(job.out)
    model, losses = clip.train_second_text_encoder(job.corpus(), judge, tokenizer, job.steps, job.seed)
    save_half(model, job.out)
    return losses


def _train_t5(job: Job) -> list[float]:
    tokenizer = tokens.train_t5_tokenizer(texts())
    tokenizer.save_pretrained(job.out)
    model, losses = t5.train_t5(training_scenes(job.count), tokenizer, job.steps, job.seed)
    encoder = T5EncoderModel(model.config)
    encoder.load_state_dict(model.state_dict(), strict=False)  # the decoder stays behind
    save_half(encoder, job.out)
    return losses


def _train_captioner(job: Job) -> list[float]:
    requests = [request for some in captioner.REQUESTS.values() for request in some]
    tokenizer = tokens.train_chat_tokenizer([*texts(), *requests])
    captioner.build_captioner_processor(tokenizer).save_pretrained(job.out)
    judge = CLIPModel.from_pretrained(MODELS / "clip").eval()
    corpus = _partly_reconstructed(job.corpus(), job.seed)
    model, losses = captioner.train_captioner(corpus, judge, tokenizer, job.steps, job.seed)
    save_half(model, job.out)
    return losses


def _partly_reconstructed(corpus: Corpus, seed: int) -> Corpus:
    """A third of the images through vae-4 with a little noise on the latents, as generated images are."""
    model = AutoencoderKL.from_pretrained(MODELS / "vae-4").eval()
    rng = np.random.default_rng(seed)
    chosen = np.flatnonzero(rng.random(len(corpus.images)) < _RECONSTRUCTED_SHARE)
    images = corpus.images.copy()
    for part in np.array_split(chosen, max(1, len(chosen) // 256)):
        latents = vae.encode(model, images[part])
        noise = torch.from_numpy(rng.standard_normal(latents.shape, dtype=np.float32))
        images[part] = vae.decode(model, latents + _LATENT_NOISE * noise)
    return Corpus(corpus.scenes, images)


def _train_prompt_writer(job: Job) -> list[float]:
    scenes = training_scenes(job.count)
    wishes = [prompt_writer.wish(scene) for scene in training_scenes(_TOKENIZER_SCENES)]
    tokenizer = tokens.train_chat_tokenizer([*texts(), *wishes])
    tokenizer.save_pretrained(job.out)
    model, losses = prompt_writer.train_prompt_writer(scenes, tokenizer, job.steps, job.seed)
    save_half(model, job.out)
    return losses


JOBS: dict[str, tuple[Callable[[Job], list[float]], int]] = {
    "vae-4": (_train_vae_4, vae.STEPS),
    "vae-16": (_train_vae_16, vae.DEEPER_STEPS),
    "clip": (_train_clip, clip.STEPS),
    "clip-text-2": (_train_second_text_encoder, clip.SECOND_STEPS),
    "t5": (_train_t5, t5.STEPS),
    "captioner": (_train_captioner, captioner.STEPS),
    "prompt-writer": (_train_prompt_writer, prompt_writer.STEPS),
}


def run(name: str, out: Path, steps: int | None, seed: int, cache: Path | None) -> str:
    """Train model ``name`` into the new folder ``out``, measure it, write its card; the closing line.

    Without ``steps`` as many as the shipped model had. On one machine with one number of threads the same
    seed gives the same weights.
    """
    train, usual_steps = JOBS[name]
    steps = usual_steps if steps is None else steps
    if steps < 1:
        raise UsageError(f"--steps is {steps}; use 1 or more")
    if out.exists() and any(out.iterdir()):
        raise UsageError(f"{out} is not empty; name a new folder")
    started = time.perf_counter()
    losses = train(Job(name, out, steps, seed, cache))
    seconds = time.perf_counter() - started
    figures = MEASURES[name](out, SCENES if steps >= usual_steps else SCENES // 5)
    write_card(out, name, {"steps": steps, "seed": seed, "seconds": round(seconds)}, figures)
    if name == "clip":
        text = out.with_name(f"{out.name}-text")
        write_card(text, "clip-text", {"steps": steps, "seed": seed, "seconds": round(seconds)}, figures)
    rounded = {key: round(value, 4) for key, value in figures.items()}
    last = sum(losses[-20:]) / len(losses[-20:])
    return f"{out}: {steps} steps in {seconds:.0f} s, last loss {last:.4f}, {json.dumps(rounded)}"
