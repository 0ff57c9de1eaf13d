"""The prompt writer: a Llama that turns wanted attributes into a prompt, and answers like a chat endpoint.

B batch, L tokens.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypedDict

import torch
from torch import Tensor
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from store.errors import UsageError
from tinyworld.caption import caption
from tinyworld.scene import Scene
from tinyworld.train.answers import lesson_of, small_llama
from tinyworld.train.loop import fit

STEPS = 1000
_BATCH = 48
_LEARNING_RATE = 2e-3
_MAX_NEW_TOKENS = 64


class Message(TypedDict):
    """One turn of a chat; ``role`` is "user" or "assistant"."""

    role: str
    content: str


def wish(scene: Scene, rng: random.Random | None = None) -> str:
    """What a user asks for, as a list: "two things, red star, blue ring, left of, on stripes of mint and
    peach, crayon". With ``rng`` some of relation, background, its colors and style are left out."""

    def kept() -> bool:
        return rng is None or rng.random() < 0.75

    count = len(scene.things)
    parts = [f"{('one', 'two', 'three', 'four')[count - 1]} thing{'s' if count > 1 else ''}"]
    parts += [f"{thing.color} {thing.shape}" for thing in scene.things]
    if scene.relation is not None and kept():
        parts.append(scene.relation)
    if kept():
        colors = scene.background.colors if kept() else ()
        parts.append(f"on {scene.background.kind}" + (f" of {' and '.join(colors)}" if colors else ""))
    if kept():
        parts.append(scene.style)
    return ", ".join(parts)


def build_prompt_writer(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """Random weights; width 96, 3 layers."""
    config = small_llama(tokenizer, 96)
    config._attn_implementation = "eager"
    return LlamaForCausalLM(config)


def lesson(
    scenes: Sequence[Scene], tokenizer: PreTrainedTokenizerFast, rng: random.Random
) -> tuple[Tensor, Tensor]:
    """Token ids and labels, int64 [B, L]: a wish for each scene and its long caption, which alone counts."""
    questions, answers = [], []
    for scene in scenes:
        questions.append(_chat(tokenizer, [{"role": "user", "content": wish(scene, rng)}]))
        answers.append(f"{caption(scene)}</s>")
    return lesson_of(tokenizer, questions, answers)


def _chat(tokenizer: PreTrainedTokenizerFast, messages: Sequence[Message]) -> str:
    text: str = tokenizer.apply_chat_template(list(messages), add_generation_prompt=True, tokenize=False)
    return text


def train_prompt_writer(
    scenes: Sequence[Scene], tokenizer: PreTrainedTokenizerFast, steps: int, seed: int
) -> tuple[LlamaForCausalLM, list[float]]:
    """The trained model and the loss of every step."""
    torch.manual_seed(seed)
    rng = random.Random(f"prompt writer {seed}")
    model = build_prompt_writer(tokenizer).train()

    def loss_of_step(_: int) -> Tensor:
        tokens, labels = lesson(rng.choices(scenes, k=_BATCH), tokenizer, rng)
        loss: Tensor = model(input_ids=tokens, labels=labels).loss
        return loss

    losses = fit(model.parameters(), loss_of_step, steps, _LEARNING_RATE, "prompt-writer")
    return model.eval(), losses


def load_prompt_writer(folder: Path) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    """A saved prompt writer and its tokenizer."""
    model = LlamaForCausalLM.from_pretrained(folder).eval()
    return model, PreTrainedTokenizerFast.from_pretrained(folder)


@torch.no_grad()
def write_prompts(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    chats: Sequence[Sequence[Message]],
    seed: int,
) -> list[str]:
    """One answer for each chat, drawn from the likeliest words (nucleus of 0.9)."""
    for messages in chats:
        if not messages or messages[-1]["role"] != "user":
            raise UsageError(f"the last of {len(messages)} messages must have role 'user'; add one")
    prompts = [_chat(tokenizer, messages) for messages in chats]
    inputs = tokenizer(prompts, padding=True, return_tensors="pt")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tokens = model.generate(**inputs, max_new_tokens=_MAX_NEW_TOKENS, do_sample=True, top_p=0.9, top_k=0)
    texts: list[str] = tokenizer.batch_decode(
        tokens[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True
    )
    return texts


def open_prompt_writer(folder: Path) -> Callable[[Sequence[Message], int], str]:
    """Load a saved prompt writer; the function answers messages as a chat endpoint does.

    Its second argument is a seed: the same messages and seed give the same prompt, another seed other
    words, and other choices where the wish leaves something open.
    """
    model, tokenizer = load_prompt_writer(folder)

    def answer(messages: Sequence[Message], seed: int) -> str:
        return write_prompts(model, tokenizer, [messages], seed)[0]

    return answer
