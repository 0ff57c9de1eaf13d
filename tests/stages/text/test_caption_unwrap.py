"""What is taken off an answer, and what stays."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.text.caption_unwrap import unwrap


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("  A red\n\nstar. ", "A red star."),
        ('"A red star."', "A red star."),
        ("“A red star.”", "A red star."),
        ('"Stop" and "Go"', '"Stop" and "Go"'),
        ('A sign says "Stop"', 'A sign says "Stop"'),
        ("'A dog's bone'", "'A dog's bone'"),
        ("```\nA red star.\n```", "A red star."),
        ('```json\n{"caption": "A red star."}\n```', "A red star."),
        ('{"caption": "A red star.", "confidence": 0.9}', "A red star."),
        ('{"anything": "A red star."}', "A red star."),
        ('["A red star."]', "A red star."),
        ('{"a": "one", "b": "two"}', '{"a": "one", "b": "two"}'),
        ('{"caption": "A red', '{"caption": "A red'),
        ("{not json}", "{not json}"),
        ("**A red star** on `blue`.", "A red star on blue."),
        ("# Caption\nA star", "Caption A star"),
        ("- A star\n- A ring", "A star A ring"),
        ("2 stars and 3 rings", "2 stars and 3 rings"),
        ("5 * 3 * 2", "5 * 3 * 2"),
        ("Sure! Here is a caption for the image: A red star.", "A red star."),
        ("Here's a short description:\n\nA red star.", "A red star."),
        ("Caption: A red star.", "A red star."),
        ('Image caption: "A red star."', "A red star."),
        ("Here are two cats: one black, one white.", "Here are two cats: one black, one white."),
        ("Sure footing: a goat on a cliff.", "Sure footing: a goat on a cliff."),
        ("<think>I see a star.\n</think>\nA red star.", "A red star."),
        ("A red star.<|im_end|></s>", "A red star."),
        ("A &amp; B", "A & B"),
        ("", ""),
        ('""', ""),
        ("```\n```", ""),
    ],
)
def test_what_is_taken_off(answer: str, words: str) -> None:
    assert unwrap(answer) == words


@settings(deadline=None, max_examples=150)
@given(st.text())
def test_any_text_becomes_one_line(answer: str) -> None:
    text = unwrap(answer)
    assert text == text.strip()
    assert "\n" not in text
