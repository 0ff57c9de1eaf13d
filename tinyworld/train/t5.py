"""The T5 text encoder, trained as one half of a T5 that mends and retells captions."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor
from transformers import T5Config, T5ForConditionalGeneration, T5Tokenizer

from tinyworld.caption import caption
from tinyworld.scene import Scene
from tinyworld.train.loop import fit
from tinyworld.train.tokens import MAX_TOKENS

STEPS = 700
_BATCH = 48
_LEARNING_RATE = 1e-3
_NOISE_SHARE = 0.25
_MEAN_SPAN = 2.0
_NO_LABEL = -100


def build_t5(tokenizer: T5Tokenizer) -> T5ForConditionalGeneration:
    """Random weights: width 192, 3 encoder and 2 decoder layers, gated GELU as in T5 1.1.

    Not narrower than both CLIP text encoders side by side: SD3 pads their tokens to this width.
    """
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=192,
        d_kv=48,
        d_ff=384,
        num_layers=3,
        num_decoder_layers=2,
        num_heads=6,
        dropout_rate=0.0,
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,
        decoder_start_token_id=tokenizer.pad_token_id,
    )
    return T5ForConditionalGeneration(config)


def corrupt(
    tokens: Sequence[int], sentinels: Sequence[int], rng: random.Random
) -> tuple[list[int], list[int]]:
    """Input and target of span corruption (Raffel et al. 2020, section 3.1.4), without their ends.

    About a quarter of the tokens go, in spans of two on average; each span leaves a sentinel.
    """
    source: list[int] = []
    target: list[int] = []
    spans, position = 0, 0
    while position < len(tokens):
        if spans < len(sentinels) and rng.random() < _NOISE_SHARE / _MEAN_SPAN:
            length = 1 + (rng.random() < 0.5) + (rng.random() < 0.5)
            source.append(sentinels[spans])
            target += [sentinels[spans], *tokens[position : position + length]]
            spans += 1
            # One token stays between spans, as one sentinel for two gaps could not be told apart.
            source += tokens[position + length : position + length + 1]
            position += length + 1
        else:
            source.append(tokens[position])
            position += 1
    return source, target


def pairs(
    scenes: Sequence[Scene], tokenizer: T5Tokenizer, rng: random.Random
) -> tuple[list[list[int]], list[list[int]]]:
    """Token ids in and out, ends included: half to mend, half to retell in other words."""
    sentinels = [tokenizer.convert_tokens_to_ids(f"<extra_id_{i}>") for i in range(12)]
    end = tokenizer.eos_token_id
    sources: list[list[int]] = []
    goals: list[list[int]] = []
    for scene in scenes:
        length: Literal["long", "short"] = "long" if rng.random() < 0.7 else "short"
        text = caption(scene, length)
        tokens = tokenizer(text, add_special_tokens=False).input_ids
        if rng.random() < 0.5:
            source, goal = corrupt(tokens, sentinels, rng)
        else:
            source = tokens
            retold = caption(replace(scene, variant=scene.variant + 1 + rng.randrange(2)), length)
            goal = tokenizer(retold, add_special_tokens=False).input_ids
        sources.append([*source, end])
        goals.append([*goal, end])
    return sources, goals


def _padded(rows: list[list[int]], value: int, width: int) -> Tensor:
    return torch.tensor([row + [value] * (width - len(row)) for row in rows])


def t5_loss(
    model: T5ForConditionalGeneration, sources: list[list[int]], goals: list[list[int]], masked: bool
) -> Tensor:
    """Cross entropy of the goals. Not ``masked``: padded to the full length and all of it attended to,
    as Stable Diffusion 3 uses its T5."""
    pad = int(model.config.pad_token_id)
    inputs = _padded(sources, pad, max(map(len, sources)) if masked else MAX_TOKENS)
    labels = _padded(goals, _NO_LABEL, max(map(len, goals)))
    mask = (inputs != pad).long() if masked else torch.ones_like(inputs)
    loss: Tensor = model(input_ids=inputs, attention_mask=mask, labels=labels).loss
    return loss


def train_t5(
    scenes: Sequence[Scene], tokenizer: T5Tokenizer, steps: int, seed: int
) -> tuple[T5ForConditionalGeneration, list[float]]:
    """The trained model and the loss of every step."""
    torch.manual_seed(seed)
    rng = random.Random(f"t5 {seed}")
    model = build_t5(tokenizer).train()

    def loss_of_step(step: int) -> Tensor:
        sources, goals = pairs(rng.choices(scenes, k=_BATCH), tokenizer, rng)
        return t5_loss(model, sources, goals, masked=step % 2 == 0)

    losses = fit(model.parameters(), loss_of_step, steps, _LEARNING_RATE, "t5")
    return model.eval(), losses
