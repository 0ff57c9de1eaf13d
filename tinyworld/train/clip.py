"""The CLIP of the tiny world: the judge of pictures, and the text encoder of the image models.

B batch, T texts, D projection width, L tokens.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
)

from tinyworld.caption import caption
from tinyworld.scene import Scene
from tinyworld.train.attribute_heads import AttributeHeads
from tinyworld.train.corpus import IMAGE_SIZE, Corpus
from tinyworld.train.local_start import NEIGHBORS, start_locally
from tinyworld.train.loop import fit
from tinyworld.train.patch_heads import PatchHeads
from tinyworld.train.pixels import to_pixels
from tinyworld.train.tokens import MAX_TOKENS
from tinyworld.train.wrong import ATTRIBUTES, wrong_scene

STEPS = 1300
SHAPE_STEPS = 6000
IMAGE_STEPS = 1500
SECOND_STEPS = 600
_BATCH = 96
_WRONG = 1
_WRONG_FOR_IMAGES = 2
_LEARNING_RATE = 1e-3
_SHAPE_BATCH = 32
_SHAPE_LEARNING_RATE = 2e-3
_PROJECTION = 128
_ACTIVATION = "relu"


def text_config(tokenizer: CLIPTokenizer, width: int, layers: int) -> CLIPTextConfig:
    """Configuration of a text tower over this tokenizer."""
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=4 * width,
        projection_dim=_PROJECTION,
        num_hidden_layers=layers,
        num_attention_heads=width // 32,
        max_position_embeddings=MAX_TOKENS,
        hidden_act=_ACTIVATION,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )


def build_clip(tokenizer: CLIPTokenizer) -> CLIPModel:
    """Random weights; 64 pixels in patches of 8, width 128, 4 image and 3 text layers."""
    vision = {
        "hidden_size": 128,
        "intermediate_size": 512,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "image_size": IMAGE_SIZE,
        "patch_size": 8,
        "projection_dim": _PROJECTION,
        "hidden_act": _ACTIVATION,
    }
    text = text_config(tokenizer, 128, 3).to_dict()
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=_PROJECTION)
    # On CPUs the fused attention's backward pass takes three times as long as the plain one.
    config._attn_implementation = "eager"
    return CLIPModel(config)


def build_image_processor() -> CLIPImageProcessorPil:
    """Shorter side to 64 pixels, center crop, [-1, 1]; works without torchvision."""
    return CLIPImageProcessorPil(
        size={"shortest_edge": IMAGE_SIZE},
        crop_size={"height": IMAGE_SIZE, "width": IMAGE_SIZE},
        image_mean=[0.5, 0.5, 0.5],
        image_std=[0.5, 0.5, 0.5],
    )


def embed_texts(
    model: CLIPModel | CLIPTextModelWithProjection, tokenizer: CLIPTokenizer, texts: list[str]
) -> Tensor:
    """float [T, D], not normalized."""
    tokens = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
    embeddings_TD: Tensor
    if isinstance(model, CLIPTextModelWithProjection):
        embeddings_TD = model(**tokens).text_embeds
    else:
        embeddings_TD = model.text_projection(model.text_model(**tokens).pooler_output)
    return embeddings_TD


def embed_images(model: CLIPModel, images: NDArray[np.uint8]) -> Tensor:
    """uint8 [B, H, W, C] to float [B, D], not normalized."""
    pooled = model.vision_model(pixel_values=to_pixels(images)).pooler_output
    embeddings_BD: Tensor = model.visual_projection(pooled)
    return embeddings_BD


def contrast(images_BD: Tensor, texts_TD: Tensor, scale: Tensor) -> Tensor:
    """Cross entropy both ways: image b belongs to text b; texts from B on belong to no image."""
    logits_BT = scale * F.normalize(images_BD.float(), dim=1) @ F.normalize(texts_TD.float(), dim=1).T
    right = torch.arange(len(images_BD))
    return (F.cross_entropy(logits_BT, right) + F.cross_entropy(logits_BT[:, : len(right)].T, right)) / 2


def lesson(
    scenes: Sequence[Scene], rng: random.Random, wrong: int
) -> tuple[list[str], list[Scene], list[bool]]:
    """Texts, the scenes they tell of and whether they are long: first a right one for each scene, then
    ``wrong`` rounds of wrong ones, each with one attribute changed."""
    told = list(scenes)
    long = [rng.random() < 0.7 for _ in scenes]
    for _ in range(wrong):
        told += [_some_wrong(scene, rng) for scene in scenes]
    is_long = long * (1 + wrong)
    texts = [caption(scene, "long" if i else "short") for scene, i in zip(told, is_long, strict=True)]
    return texts, told, is_long


def _some_wrong(scene: Scene, rng: random.Random) -> Scene:
    while (wrong := wrong_scene(scene, rng.choice(ATTRIBUTES), rng)) is None:
        pass
    return wrong


def train_clip(
    corpus: Corpus, tokenizer: CLIPTokenizer, steps: int, seed: int
) -> tuple[CLIPModel, list[float]]:
    """The trained model and the loss of every step."""
    torch.manual_seed(seed)
    rng = random.Random(f"clip {seed}")
    model = build_clip(tokenizer).train()
    heads = torch.nn.ModuleList([AttributeHeads(_PROJECTION), AttributeHeads(_PROJECTION)])

    def loss_of_step(_: int) -> Tensor:
        chosen = some_pairs(len(corpus.scenes), rng)
        scenes = [corpus.scenes[i] for i in chosen]
        texts, told, is_long = lesson(scenes, rng, _WRONG)
        with torch.autocast("cpu", torch.bfloat16):
            images_BD = embed_images(model, corpus.images[chosen])
            texts_TD = embed_texts(model, tokenizer, texts)
        scale = model.logit_scale.exp().clamp(max=100)
        everywhere = torch.ones(len(scenes), dtype=torch.bool)
        named: Tensor = heads[0](images_BD, scenes, everywhere)
        named = named + heads[1](texts_TD, told, torch.tensor(is_long))
        return contrast(images_BD, texts_TD, scale) + named

    losses = fit([*model.parameters(), *heads.parameters()], loss_of_step, steps, _LEARNING_RATE, "clip")
    return model.eval(), losses


def some_pairs(count: int, rng: random.Random) -> list[int]:
    """A batch of indices: a third are scenes together with their near misses (see ``corpus``)."""
    fours = [4 * rng.randrange(count // 4) for _ in range(_BATCH // 6)]
    pairs = [index for four in fours for index in (four + 2, four + 3)]
    return pairs + [rng.randrange(count) for _ in range(_BATCH - len(pairs))]


def with_local_tower(model: CLIPModel, seed: int) -> CLIPModel:
    """The same text tower beside a fresh image tower that begins by looking at neighbors."""
    torch.manual_seed(seed)
    config = CLIPConfig.from_dict(model.config.to_dict())
    config.vision_config.num_attention_heads = len(NEIGHBORS)
    config._attn_implementation = "eager"
    fresh = CLIPModel(config)
    fresh.text_model.load_state_dict(model.text_model.state_dict())
    fresh.text_projection.load_state_dict(model.text_projection.state_dict())
    start_locally(fresh.vision_model)
    return fresh


def train_shapes(corpus: Corpus, model: CLIPModel, steps: int, seed: int) -> list[float]:
    """Teach the image tower, in place, what lies on each patch; the loss of every step."""
    torch.manual_seed(seed)
    rng = random.Random(f"clip shapes {seed}")
    tower = model.vision_model.train()
    heads = PatchHeads(model.config.vision_config.hidden_size)

    def loss_of_step(_: int) -> Tensor:
        chosen = [rng.randrange(len(corpus.scenes)) for _ in range(_SHAPE_BATCH)]
        with torch.autocast("cpu", torch.bfloat16):
            seen = tower(pixel_values=to_pixels(corpus.images[chosen])).last_hidden_state
        loss: Tensor = heads(seen[:, 1:], [corpus.scenes[i] for i in chosen])
        return loss

    trained = [*tower.parameters(), *heads.parameters()]
    return fit(trained, loss_of_step, steps, _SHAPE_LEARNING_RATE, "clip shapes")


def train_image_tower(
    corpus: Corpus, model: CLIPModel, tokenizer: CLIPTokenizer, steps: int, seed: int
) -> list[float]:
    """Go on with the image tower alone, in place, against the text tower as it is; the loss of every step.

    Pairs alone teach shapes too slowly: ``train_shapes`` comes first.
    """
    torch.manual_seed(seed)
    rng = random.Random(f"clip images {seed}")
    pooled_heads, patch_heads = (
        AttributeHeads(_PROJECTION),
        PatchHeads(model.config.vision_config.hidden_size),
    )
    model.train()
    trained = [*model.vision_model.parameters(), *model.visual_projection.parameters(), model.logit_scale]

    def loss_of_step(_: int) -> Tensor:
        chosen = some_pairs(len(corpus.scenes), rng)
        scenes = [corpus.scenes[i] for i in chosen]
        texts, _told, _is_long = lesson(scenes, rng, _WRONG_FOR_IMAGES)
        with torch.autocast("cpu", torch.bfloat16):
            with torch.no_grad():
                texts_TD = embed_texts(model, tokenizer, texts)
            seen = model.vision_model(pixel_values=to_pixels(corpus.images[chosen]))
            images_BD = model.visual_projection(seen.pooler_output)
        named: Tensor = pooled_heads(images_BD, scenes, torch.ones(len(scenes), dtype=torch.bool))
        named = named + patch_heads(seen.last_hidden_state[:, 1:], scenes)
        return contrast(images_BD, texts_TD, model.logit_scale.exp().clamp(max=100)) + named

    trained += [*pooled_heads.parameters(), *patch_heads.parameters()]
    losses = fit(trained, loss_of_step, steps, _LEARNING_RATE, "clip images")
    model.eval()
    return losses


def train_second_text_encoder(
    corpus: Corpus, clip: CLIPModel, tokenizer: CLIPTokenizer, steps: int, seed: int
) -> tuple[CLIPTextModelWithProjection, list[float]]:
    """A text tower of width 64 for the same images, whose tower stays as it is."""
    torch.manual_seed(seed)
    rng = random.Random(f"clip-text-2 {seed}")
    model = CLIPTextModelWithProjection(text_config(tokenizer, 64, 2)).train()
    heads = AttributeHeads(_PROJECTION)
    with torch.no_grad():
        images_ND = torch.cat(
            [
                embed_images(clip, part)
                for part in np.array_split(corpus.images, max(1, len(corpus.images) // 250))
            ]
        )
        scale = clip.logit_scale.exp()

    def loss_of_step(_: int) -> Tensor:
        chosen = some_pairs(len(corpus.scenes), rng)
        texts, told, is_long = lesson([corpus.scenes[i] for i in chosen], rng, _WRONG)
        texts_TD = embed_texts(model, tokenizer, texts)
        named: Tensor = heads(texts_TD, told, torch.tensor(is_long))
        return contrast(images_ND[chosen], texts_TD, scale) + named

    losses = fit(
        [*model.parameters(), *heads.parameters()], loss_of_step, steps, _LEARNING_RATE, "clip-text-2"
    )
    return model.eval(), losses
