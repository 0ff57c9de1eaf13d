"""The tokenizers: byte-level BPE as CLIP has it, and Unigram as T5 has it, learned from captions."""

from __future__ import annotations

import json
import math
import re
import string
from collections import Counter
from collections.abc import Iterable

from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import CLIPTokenizer, PreTrainedTokenizerFast, T5Tokenizer

from tinyworld.caption import caption
from tinyworld.scene import Scene

MAX_TOKENS = 48
"""The longest caption of the tiny world takes 44 CLIP tokens or 43 T5 tokens, with their ends."""
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|{{ message['role'] }}|>"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
"""One turn after another: a role, an image or a text, and an end after each answer."""
_BPE_SIZE = 900
_SENTINELS = 20
_LETTER_SCORE = -20.0
_PRINTABLE = string.ascii_letters + string.digits + string.punctuation


def caption_texts(scenes: Iterable[Scene]) -> list[str]:
    """The long and the short caption of every scene."""
    return [text for scene in scenes for text in (caption(scene), caption(scene, "short"))]


def train_clip_tokenizer(texts: list[str]) -> CLIPTokenizer:
    """Lower-case BPE over bytes: every text has tokens, words of captions are one token each."""
    learner = CLIPTokenizer().backend_tokenizer
    learner.model = models.BPE(end_of_word_suffix="</w>")
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    learner.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=_BPE_SIZE,
            initial_alphabet=alphabet,
            special_tokens=[*alphabet, *(letter + "</w>" for letter in alphabet)],
            end_of_word_suffix="</w>",
            show_progress=False,
        ),
    )
    learned = json.loads(learner.to_str())["model"]
    words = sorted(learned["vocab"], key=learned["vocab"].__getitem__)
    vocabulary = {word: i for i, word in enumerate([*words, "<|startoftext|>", "<|endoftext|>"])}
    merges = [tuple(pair) for pair in learned["merges"]]
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=MAX_TOKENS)


def train_t5_tokenizer(texts: list[str]) -> T5Tokenizer:
    """Unigram over the words of captions, and all printable ASCII characters; others are unknown.

    A word's score is the logarithm of its share of all words; that of a character is below them all.
    """
    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *_unigrams(texts)]
    return T5Tokenizer(vocab=vocabulary, extra_ids=_SENTINELS, model_max_length=MAX_TOKENS)


def train_chat_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """The same pieces without T5's ends and sentinels, with a chat template and a token for an image."""
    special = ["<pad>", "</s>", "<unk>", "<s>", "<image>", "<|user|>", "<|assistant|>"]
    vocabulary = [*((token, 0.0) for token in special), *_unigrams(texts)]
    inner = Tokenizer(models.Unigram(vocabulary, unk_id=2, byte_fallback=False))
    pattern = T5Tokenizer().backend_tokenizer
    inner.pre_tokenizer, inner.decoder = pattern.pre_tokenizer, pattern.decoder
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        bos_token="<s>",
        extra_special_tokens={"image_token": "<image>"},
        additional_special_tokens=special[5:],
        chat_template=CHAT_TEMPLATE,
        padding_side="left",
        model_max_length=256,
    )


def _unigrams(texts: list[str]) -> list[tuple[str, float]]:
    counts = Counter(word for text in texts for word in split_words(text))
    total = sum(counts.values())
    words = [(word, math.log(count / total)) for word, count in sorted(counts.items())]
    return [*words, *((letter, _LETTER_SCORE) for letter in ["▁", *_PRINTABLE] if letter not in counts)]


def split_words(text: str) -> list[str]:
    """Words with the mark of a space before them, and what stands between words."""
    return re.findall(r"▁[A-Za-z]+|[^▁A-Za-z]", "▁" + text.replace(" ", "▁"))
