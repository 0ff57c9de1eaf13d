"""What the captioner and the prompt writer share: a small Llama, and lessons of which only the answer counts.

B batch, L tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import LlamaConfig, PreTrainedTokenizerFast

_NO_LABEL = -100


def small_llama(tokenizer: PreTrainedTokenizerFast, width: int) -> LlamaConfig:
    """Three layers of four heads, for up to 256 tokens; the words of input and output are the same."""
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=256,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=256,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=True,
    )


def lesson_of(
    tokenizer: PreTrainedTokenizerFast, questions: Sequence[str], answers: Sequence[str]
) -> tuple[Tensor, Tensor]:
    """Token ids and labels, int64 [B, L]: each question and its answer; labels of the question and of the
    padding do not count."""
    asked, told = ([tokenizer(text).input_ids for text in texts] for texts in (questions, answers))
    width = max(len(ask) + len(tell) for ask, tell in zip(asked, told, strict=True))
    rows, labels = [], []
    for ask, tell in zip(asked, told, strict=True):
        left = width - len(ask) - len(tell)
        rows.append(ask + tell + [tokenizer.pad_token_id] * left)
        labels.append([_NO_LABEL] * len(ask) + tell + [_NO_LABEL] * left)
    return torch.tensor(rows), torch.tensor(labels)
