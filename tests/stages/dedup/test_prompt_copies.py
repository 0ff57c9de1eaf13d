"""Prompt copies: equal words, nearly equal words, and what only looks alike."""

from __future__ import annotations

import hashlib
import random

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.dedup.prompt_copies import PromptCopies

WORDS = [f"word{number}" for number in range(400)]


def copies(prompts: list[str | None], similarity: float = 0.9) -> list[int | None]:
    """For each prompt the number of the one it copies."""
    ids = [f"{number:024x}" for number in range(len(prompts))]
    table = pa.table({"sample_id": ids, "caption": pa.array(prompts, pa.string())})
    found = PromptCopies(similarity).reduce(table, "")["prompt_copy_of"].to_pylist()
    return [None if key is None else ids.index(key) for key in found]


def test_words_count_and_not_their_order_or_case() -> None:
    assert copies(["A red star, at night.", "at NIGHT a red star", "a red star at dawn", None, ""]) == [
        None, 0, None, None, None,
    ]  # fmt: skip


def test_a_word_that_comes_twice_counts_twice() -> None:
    assert copies(["a star and a star", "a star and"], 1.0) == [None, None]


def test_one_word_of_twenty() -> None:
    long = " ".join(WORDS[:20])
    changed = " ".join([*WORDS[1:20], "other"])  # 19 words of 21 in common
    assert copies([long, changed], 0.9) == [None, 0]
    assert copies([long, changed], 0.91) == [None, None]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_every_copy_is_found_and_none_is_made_up(seed: int) -> None:
    rng = random.Random(seed)
    firsts = [" ".join(rng.sample(WORDS, 20)) for _ in range(60)]
    seconds = [" ".join(rng.sample(text.split(), 20)) for text in firsts]
    assert copies([*firsts, *seconds]) == [*[None] * 60, *range(60)]


def test_equal_words_are_found_among_many_alike() -> None:
    texts = [f"a {WORDS[n % 20]} {WORDS[20 + n // 20]} on a plain background of its own" for n in range(400)]
    assert copies([*texts, *texts], 1.0) == [*[None] * 400, *range(400)]


def test_a_copy_of_a_copy_is_compared_with_the_first() -> None:
    texts = [" ".join([*WORDS[change:20], *WORDS[100 : 100 + change]]) for change in range(4)]
    assert copies(texts, 0.9) == [None, 0, None, 2]


def test_the_answer_does_not_depend_on_the_order_of_rows() -> None:
    rng = random.Random(0)
    prompts = [" ".join(rng.choices(WORDS[:9], k=6)) for _ in range(300)]
    ids = [hashlib.sha256(str(number).encode()).hexdigest()[:24] for number in range(300)]
    mixed = rng.sample(range(300), 300)
    table = pa.table({"sample_id": ids, "caption": prompts})
    once = PromptCopies(0.6).reduce(table, "")["prompt_copy_of"].to_pylist()
    again = PromptCopies(0.6).reduce(table.take(mixed), "")["prompt_copy_of"].to_pylist()
    assert again == [once[number] for number in mixed]
