"""Model cards: what a tiny model is, what it was made from, and how good it is."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

_WHAT = {
    "vae-4": "AutoencoderKL: 64 x 64 pixels to 16 x 16 latents with 4 channels. For UNet and PixArt.",
    "vae-16": "AutoencoderKL: 64 x 64 pixels to 8 x 8 latents with 16 channels, shift and scale as in SD3.",
    "clip": "CLIPModel for 64 x 64 pixels and captions of up to 48 tokens. Judges pictures.",
    "clip-text": (
        "The text tower of `clip`, for CLIPTextModel and CLIPTextModelWithProjection. Text encoder of the "
        "UNet, first text encoder of SD3."
    ),
    "clip-text-2": "CLIPTextModelWithProjection of width 64, for `clip`'s images. Second encoder of SD3.",
    "t5": "T5EncoderModel of width 192. Text encoder of PixArt, third text encoder of SD3.",
    "captioner": (
        "LlavaForConditionalGeneration that says what a picture shows, asked for a long or a short caption."
    ),
    "prompt-writer": "LlamaForCausalLM that writes a prompt from a list of wanted attributes.",
}
_LESSON = {
    "vae-4": "Absolute and squared error, absolute error of 4 x 4 means, a light KL.",
    "clip": (
        "Contrastive, with captions wrong in one attribute and near misses as negatives; linear heads on "
        "both embeddings name the attributes as a second lesson. Then another image tower, which begins by "
        "looking at neighbors, for the text tower as it is: 6000 steps of naming what lies on each patch, "
        "1500 contrastive ones."
    ),
    "clip-text-2": "As `clip`, against its image tower, which stays as it is.",
    "t5": "As one half of a T5: half span corruption, half retelling a caption in other words; linear heads "
    "on its states name the thing and the scene of each word as a second lesson.",
    "captioner": (
        "Cross entropy of captions; the image tower starts from `clip`; a third of the images went through "
        "`vae-4` with a little noise on the latents."
    ),
    "prompt-writer": "Cross entropy of long captions, given lists of attributes with gaps.",
}
_LESSON["vae-16"], _LESSON["clip-text"] = _LESSON["vae-4"], _LESSON["clip"]


def write_card(folder: Path, name: str, made: Mapping[str, int], figures: Mapping[str, float]) -> None:
    """Write ``README.md`` into ``folder``; ``made``: steps, seed and seconds."""
    measured = "\n".join(f"| {key} | {value:.4f} |" for key, value in figures.items())
    command = "clip" if name == "clip-text" else name
    text = f"""---
license: apache-2.0
library_name: {"diffusers" if name.startswith("vae") else "transformers"}
---
# {name}, of the tiny world

{_WHAT[name]}

- Data: drawn scenes of the tiny world and their exact captions, seeds 0 to 23,999, every fourth a near miss.
  Seeds from 1,000,000,000 on are kept for measuring.
- Lesson: {_LESSON[name]}
- Training: {made["steps"]} steps, seed {made["seed"]}, {made["seconds"]} s on {os.cpu_count()} CPU cores.
- Weights: float16 on disk, computed with as float32. Licence: Apache-2.0.
- Made by `python -m tinyworld train {command} --out FOLDER`.

Measured on scenes it has never seen, by `python -m tinyworld.train.measure {command}`:

| | |
|---|---|
{measured}
"""
    (folder / "README.md").write_text(text, encoding="utf-8")
