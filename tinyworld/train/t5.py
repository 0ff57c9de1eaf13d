"""The T5 text encoder, trained as one half of a T5 that mends and retells captions, and by heads on its
states: without them, after 700 steps it did not know which color belongs to which shape.

N captions, L tokens, D width.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from transformers import T5Config, T5ForConditionalGeneration, T5Tokenizer

from tinyworld.caption import caption
from tinyworld.scene import Scene
from tinyworld.train.loop import fit
from tinyworld.train.token_heads import TokenHeads
from tinyworld.train.tokens import MAX_TOKENS

STEPS = 700
_BATCH = 32
_LEARNING_RATE = 1e-3
_BIAS_SPREAD = 2.0
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
        tie_word_embeddings=True,
        decoder_start_token_id=tokenizer.pad_token_id,
    )
    model = T5ForConditionalGeneration(config)
    # At the usual small start the biases hardly move in a thousand steps, and words do not know their
    # neighbors: 0.59 of shapes could be read off their color's state after that, 0.91 so after 200 steps.
    for stack in (model.encoder, model.decoder):
        torch.nn.init.normal_(
            stack.block[0].layer[0].SelfAttention.relative_attention_bias.weight, std=_BIAS_SPREAD
        )
    return model


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


@dataclass(frozen=True)
class Lesson:
    """Token ids in and out, ends included; the first ``len(scenes)`` are whole captions to be retold in
    other words, the others captions with gaps to be mended."""

    sources: list[list[int]]
    goals: list[list[int]]
    scenes: list[Scene]
    is_long: list[bool]


def lesson(scenes: Sequence[Scene], tokenizer: T5Tokenizer, rng: random.Random) -> Lesson:
    """One row for each scene: the first half to be retold, the other to be mended."""
    half = len(scenes) // 2
    is_long = [rng.random() < 0.7 for _ in scenes]
    texts = [_caption(scene, long) for scene, long in zip(scenes, is_long, strict=True)]
    retold = [
        _caption(replace(scene, variant=scene.variant + 1 + rng.randrange(2)), long)
        for scene, long in zip(scenes[:half], is_long, strict=False)
    ]
    sentinels = [tokenizer.convert_tokens_to_ids(f"<extra_id_{i}>") for i in range(12)]
    whole = tokenizer(texts, add_special_tokens=False).input_ids
    broken = [corrupt(tokens, sentinels, rng) for tokens in whole[half:]]
    goals = tokenizer(retold, add_special_tokens=False).input_ids
    end = [tokenizer.eos_token_id]
    return Lesson(
        [tokens + end for tokens in whole[:half]] + [source + end for source, _ in broken],
        [tokens + end for tokens in goals] + [goal + end for _, goal in broken],
        list(scenes[:half]),
        is_long[:half],
    )


def _caption(scene: Scene, long: bool) -> str:
    return caption(scene, "long" if long else "short")


def _padded(rows: list[list[int]], value: int, width: int) -> Tensor:
    return torch.tensor([row + [value] * (width - len(row)) for row in rows])


def t5_loss(
    model: T5ForConditionalGeneration, heads: TokenHeads, tokenizer: T5Tokenizer, taught: Lesson, masked: bool
) -> Tensor:
    """Cross entropy of the goals, and what the heads read off the states of whole captions.

    Not ``masked``: padded to the full length and all of it attended to, as Stable Diffusion 3 uses its T5.
    """
    pad = int(model.config.pad_token_id)
    inputs = _padded(taught.sources, pad, max(map(len, taught.sources)) if masked else MAX_TOKENS)
    labels = _padded(taught.goals, _NO_LABEL, max(map(len, taught.goals)))
    present = (inputs != pad).long()
    mask = present if masked else torch.ones_like(inputs)
    output = model(input_ids=inputs, attention_mask=mask, labels=labels)
    count = len(taught.scenes)
    words = [tokenizer.convert_ids_to_tokens(row) for row in taught.sources[:count]]
    states_NLD = output.encoder_last_hidden_state[:count]
    read: Tensor = heads(states_NLD, present[:count], taught.scenes, words, taught.is_long)
    loss: Tensor = output.loss + read
    return loss


def train_t5(
    scenes: Sequence[Scene], tokenizer: T5Tokenizer, steps: int, seed: int
) -> tuple[T5ForConditionalGeneration, list[float]]:
    """The trained model and the loss of every step."""
    torch.manual_seed(seed)
    rng = random.Random(f"t5 {seed}")
    model = build_t5(tokenizer).train()
    heads = TokenHeads(model.config.d_model)

    def loss_of_step(step: int) -> Tensor:
        taught = lesson(rng.choices(scenes, k=_BATCH), tokenizer, rng)
        return t5_loss(model, heads, tokenizer, taught, masked=step % 2 == 0)

    losses = fit([*model.parameters(), *heads.parameters()], loss_of_step, steps, _LEARNING_RATE, "t5")
    return model.eval(), losses
