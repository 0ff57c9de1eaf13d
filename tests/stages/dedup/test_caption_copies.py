"""Captions but for one word: as comparing every pair finds them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.dedup.caption_copies import CaptionIndex, Words, words_of

CAPTIONS = [
    "A red car parks on the street.",
    "a dog",
    "two boys sit on a red bench",
    "ein großer Hund im Wald",
]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a RED car, parks on the street", 0),
        ("A red car\tparks  on the street!!!", 0),
        ("a red car parks on the old street", 0),
        ("red car parks on the street", 0),
        ("a blue car parks on the street", 0),
        ("a blue car parks on a street", None),
        ("the car parks on a red street", None),
        ("car a red parks on the street", None),  # moved: one word out and one in
        ("a dog", None),  # too short to look for
        ("EIN GROSSER HUND IM WALD", 3),
        ("a red car parks on the street two boys sit on a red bench", None),
        ("", None),
        (None, None),
    ],
)
def test_known_texts(text: str | None, expected: int | None) -> None:
    assert CaptionIndex.of(CAPTIONS, 5).find(text) == expected


def test_words() -> None:
    assert words_of("It's  a ﬁne—day_2!") == ("it", "s", "a", "fine", "day", "2")
    assert words_of("红色的car") == ("红", "色", "的", "car")


def test_the_same_words_win_over_near_ones_and_the_first_over_later_ones() -> None:
    index = CaptionIndex.of(["a b c d e", "a b c d f", "A B C D F"], 5)
    assert [index.find(text) for text in ("a b c d f", "a b c d e", "a b c d g")] == [1, 0, 0]


def one_word_apart(one: Words, two: Words) -> bool:
    """At most one word added, left out or changed, tried out."""
    if len(one) == len(two):
        return sum(a != b for a, b in zip(one, two, strict=True)) <= 1
    long, short = sorted((one, two), key=len, reverse=True)
    return len(long) == len(short) + 1 and any(
        long[:place] + long[place + 1 :] == short for place in range(len(long))
    )


TEXTS = st.lists(st.sampled_from("abcd"), max_size=7).map(" ".join)


@settings(deadline=None, max_examples=300)
@given(st.lists(TEXTS, max_size=6), TEXTS, st.integers(2, 5))
def test_as_comparing_every_pair_finds_them(captions: list[str], text: str, min_words: int) -> None:
    words = words_of(text)
    near = [
        number
        for number, caption in enumerate(captions)
        if len(words_of(caption)) >= min_words and one_word_apart(words_of(caption), words)
    ]
    same = [number for number in near if words_of(captions[number]) == words]
    expected = min(same, default=min(near, default=None))
    assert CaptionIndex.of(captions, min_words).find(text) == expected
