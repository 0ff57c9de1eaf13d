"""How good the tiny models are, on scenes they have never seen.

``python -m tinyworld.train.measure NAME [FOLDER]`` loads a model with its stock class and prints its figures.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor
from torch.nn import functional as F
from transformers import (
    AutoModelForImageTextToText,
    AutoProcessor,
    CLIPModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5EncoderModel,
    T5Tokenizer,
)

from store.errors import MashbillError
from tinyworld.accuracy import attribute_accuracy
from tinyworld.caption import caption
from tinyworld.read_caption import read_caption
from tinyworld.scene import RELATIONS, Scene
from tinyworld.shapes import SHAPES
from tinyworld.train import MODELS, NAMES
from tinyworld.train.captioner import read_images, told
from tinyworld.train.clip import embed_images, embed_texts
from tinyworld.train.corpus import evaluation_corpus, evaluation_scenes
from tinyworld.train.pixels import psnr
from tinyworld.train.prompt_writer import Message, load_prompt_writer, wish, write_prompts
from tinyworld.train.token_heads import thing_words
from tinyworld.train.vae import encode, reconstruct
from tinyworld.train.wrong import ATTRIBUTES, looks, wrong_scene

SCENES = 500
_AMONG = 100


def measure_vae(folder: Path, count: int) -> dict[str, float]:
    """PSNR in dB, and mean and standard deviation of the scaled latents."""
    vae = AutoencoderKL.from_pretrained(folder).eval()
    images = evaluation_corpus(count).images
    latents = encode(vae, images)
    return {
        "psnr_db": psnr(images, reconstruct(vae, images)),
        "latent_mean": float(latents.mean()),
        "latent_std": float(latents.std()),
    }


@torch.no_grad()
def measure_clip(folder: Path, count: int) -> dict[str, float]:
    """See ``_judged``."""
    clip = CLIPModel.from_pretrained(folder).eval()
    tokenizer = CLIPTokenizer.from_pretrained(folder)
    return _judged(clip, lambda texts: embed_texts(clip, tokenizer, texts), count)


@torch.no_grad()
def measure_second_text_encoder(folder: Path, count: int) -> dict[str, float]:
    """See ``_judged``; images by the CLIP that comes with the project."""
    text = CLIPTextModelWithProjection.from_pretrained(folder).eval()
    tokenizer = CLIPTokenizer.from_pretrained(folder)
    clip = CLIPModel.from_pretrained(MODELS / "clip").eval()
    return _judged(clip, lambda texts: embed_texts(text, tokenizer, texts), count)


def _judged(clip: CLIPModel, embed: Callable[[list[str]], Tensor], count: int) -> dict[str, float]:
    """Share of images that are nearer to their own long caption than to one with one attribute changed,
    by attribute; then how often the nearest of 100 captions (images) is an image's (caption's) own."""
    corpus = evaluation_corpus(count)
    images_ND = F.normalize(
        torch.cat([embed_images(clip, p) for p in np.array_split(corpus.images, 4)]), dim=1
    )
    texts = [caption(scene) for scene in corpus.scenes]
    right_ND = F.normalize(embed(texts), dim=1)
    own = (images_ND * right_ND).sum(1)
    found: dict[str, float] = {}
    for attribute in ATTRIBUTES:
        rng = random.Random(f"measure {attribute}")
        wrong = [wrong_scene(scene, attribute, rng) for scene in corpus.scenes]
        has = torch.tensor([scene is not None for scene in wrong])
        others = F.normalize(embed([caption(scene) for scene in wrong if scene]), dim=1)
        found[attribute] = float((own[has] > (images_ND[has] * others).sum(1)).float().mean())
    found["mean"] = sum(found.values()) / len(found)
    hits = [_hits(images_ND[i : i + _AMONG], right_ND[i : i + _AMONG]) for i in range(0, count, _AMONG)]
    found["text_of_image"], found["image_of_text"] = (sum(h) / len(h) for h in zip(*hits, strict=True))
    return found


def _hits(images_ND: Tensor, texts_ND: Tensor) -> tuple[float, float]:
    nearness, own = images_ND @ texts_ND.T, torch.arange(len(images_ND))
    return (
        float((nearness.argmax(1) == own).float().mean()),
        float((nearness.argmax(0) == own).float().mean()),
    )


@torch.no_grad()
def measure_t5(folder: Path, count: int) -> dict[str, float]:
    """Accuracy of least-squares probes on single states of the encoder: what a word's state knows of its
    sentence. From the state at a thing's color: the thing's shape; from that at its shape: its place in
    the relation, and the relation.

    Captions of ``count`` scenes fit the probes, those of as many others measure them.
    """
    encoder = T5EncoderModel.from_pretrained(folder).eval()
    tokenizer = T5Tokenizer.from_pretrained(folder)
    scenes = [scene for scene in evaluation_scenes(4 * count) if len(set(map(looks, scene.things))) > 1]
    at_color: list[Tensor] = []
    at_shape: list[Tensor] = []
    known: list[tuple[int, int, int]] = []
    for scene in scenes[: 2 * count]:
        tokens = tokenizer(caption(scene), return_tensors="pt")
        states_LD = encoder(**tokens).last_hidden_state[0]
        words = tokenizer.convert_ids_to_tokens(tokens.input_ids[0])
        for position, place in thing_words(scene, words):
            at_color.append(states_LD[position - 1])
            at_shape.append(states_LD[position])
            shape = list(SHAPES).index(scene.things[place].shape)
            known.append((shape, place, RELATIONS.index(str(scene.relation))))
    classes = torch.tensor(known)
    return {
        "shape_at_color": _probed(torch.stack(at_color), classes[:, 0]),
        "place_at_shape": _probed(torch.stack(at_shape), classes[:, 1]),
        "relation_at_shape": _probed(torch.stack(at_shape), classes[:, 2]),
    }


def _probed(states_ND: Tensor, classes_N: Tensor) -> float:
    """Accuracy on the second half of a linear map fitted to the first."""
    inputs = torch.cat([states_ND, torch.ones(len(states_ND), 1)], dim=1).double()
    half = len(inputs) // 2
    weights = torch.linalg.lstsq(inputs[:half], F.one_hot(classes_N[:half]).double(), driver="gelsd").solution
    return float(((inputs[half:] @ weights).argmax(1) == classes_N[half:]).float().mean())


def measure_captioner(folder: Path, count: int) -> dict[str, float]:
    """Attribute accuracies of greedy long captions, ``exact``: the share with every word right; then
    attribute accuracies after a round trip through the project's vae-4."""
    model = AutoModelForImageTextToText.from_pretrained(folder).eval()
    processor = AutoProcessor.from_pretrained(folder)
    vae = AutoencoderKL.from_pretrained(MODELS / "vae-4").eval()
    corpus = evaluation_corpus(count)
    read = read_images(model, processor, corpus.images)
    again = read_images(model, processor, reconstruct(vae, corpus.images))
    wanted = [caption(told(scene)) for scene in corpus.scenes]
    exact = sum(a == b for a, b in zip(read, wanted, strict=True)) / count
    through = attribute_accuracy(corpus.scenes, again)
    return {
        **attribute_accuracy(corpus.scenes, read),
        "exact": exact,
        **{f"{name}_through_vae": share for name, share in through.items()},
    }


def measure_prompt_writer(folder: Path, count: int) -> dict[str, float]:
    """Share of prompts that say all that was asked for, of full wishes and of wishes with gaps."""
    model, tokenizer = load_prompt_writer(folder)
    scenes = evaluation_scenes(count)
    found = {}
    for name, rng in (("full_wishes", None), ("wishes_with_gaps", random.Random("measure prompts"))):
        wishes = [wish(scene, rng) for scene in scenes]
        chats: list[list[Message]] = [[{"role": "user", "content": asked}] for asked in wishes]
        prompts = [
            prompt
            for start in range(0, count, 100)
            for prompt in write_prompts(model, tokenizer, chats[start : start + 100], seed=start)
        ]
        found[name] = sum(map(granted, scenes, wishes, prompts)) / count
    return found


def granted(scene: Scene, asked: str, prompt: str) -> bool:
    """Whether the prompt for the wish ``asked`` of this scene says everything in it."""
    said, truth = read_caption(prompt), read_caption(caption(scene))
    checks = [said.count == truth.count, said.things == truth.things]
    parts = asked.split(", ")
    checks += [said.relation == truth.relation] if scene.relation in parts else []
    checks += [said.style == truth.style] if scene.style in parts else []
    place = next((part for part in parts if part.startswith("on ")), "")
    checks += [said.background == truth.background] if place else []
    checks += [said.background_colors == truth.background_colors] if " of " in place else []
    return all(checks)


MEASURES: dict[str, Callable[[Path, int], dict[str, float]]] = {
    "vae-4": measure_vae,
    "vae-16": measure_vae,
    "clip": measure_clip,
    "clip-text-2": measure_second_text_encoder,
    "t5": measure_t5,
    "captioner": measure_captioner,
    "prompt-writer": measure_prompt_writer,
}


def main(arguments: list[str] | None = None) -> int:
    """Print the figures of one model as a line of JSON."""
    parser = argparse.ArgumentParser(prog="python -m tinyworld.train.measure", description=__doc__)
    parser.add_argument("name", choices=NAMES, metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("folder", type=Path, nargs="?", metavar="FOLDER", help="default: the one we ship")
    parser.add_argument("--scenes", type=int, default=SCENES, help=f"how many (default {SCENES})")
    options = parser.parse_args(arguments)
    try:
        folder = options.folder or MODELS / options.name
        if not (folder / "config.json").is_file():
            raise MashbillError(
                f"{folder} holds no model; train one: python -m tinyworld train {options.name}"
            )
        figures = MEASURES[options.name](folder, options.scenes)
    except MashbillError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(json.dumps({name: round(value, 4) for name, value in figures.items()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
