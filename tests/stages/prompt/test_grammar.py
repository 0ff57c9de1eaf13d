"""Asked attributes put into words."""

from __future__ import annotations

import pytest

from stages.prompt.grammar import plural, worded

TEMPLATE = "[a(n) {style} of ]{count} {color} {subject:count}[ {relation}][ in {setting}]."


@pytest.mark.parametrize(
    ("asked", "prompt"),
    [
        ({"count": "one", "color": "red", "subject": "cross"}, "One red cross."),
        ({"count": "two", "color": "red", "subject": "cross"}, "Two red crosses."),
        (
            {"style": "oil painting", "count": "three", "color": "blue", "subject": "city", "setting": "fog"},
            "An oil painting of three blue cities in fog.",
        ),
        ({"style": "photograph", "subject": "child"}, "A photograph of child."),
        ({"count": "four", "subject": "child", "relation": "in a row"}, "Four children in a row."),
    ],
)
def test_words(asked: dict[str, str], prompt: str) -> None:
    assert worded(TEMPLATE, asked, {"child": "children"}) == prompt


@pytest.mark.parametrize(
    ("noun", "many"),
    [
        ("star", "stars"),
        ("cross", "crosses"),
        ("box", "boxes"),
        ("city", "cities"),
        ("boy", "boys"),
        ("beach", "beaches"),
    ],
)
def test_plurals(noun: str, many: str) -> None:
    assert plural(noun) == many


def test_articles_follow_the_next_word() -> None:
    assert worded("a(n) {color} hat and A(n) {other} owl", {"color": "orange", "other": "brown"}, {}) == (
        "An orange hat and A brown owl"
    )


@pytest.mark.parametrize(
    ("asked", "prompt"),
    [({"n": "two"}, "Two owls."), ({"size": "big"}, "A big owl."), ({}, "An owl.")],
)
def test_the_first_choice_that_can_be_said(asked: dict[str, str], prompt: str) -> None:
    assert worded("[{n} owls|a(n) {size} owl|a(n) owl].", asked, {}) == prompt
