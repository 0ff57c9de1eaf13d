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


RIGHT = """
a unicorn, an uninhabited island, a uniform, an umbrella, an unidentified object, a used car, a utensil,
a European city, a UFO, a U-turn, a ukulele, a one-way street, an hourglass, an honest man, an heirloom,
a house, a horse, an orange, an x-ray, an F1 car, an 80s photo, an 11th hour, a 12th night, an 8 ball,
a 1 cent coin, an usher, an urn, an onion, an open door, an egg, a yellow hat
"""


@pytest.mark.parametrize("right", [" ".join(words.split()) for words in RIGHT.split(",")])
def test_articles_go_by_sound(right: str) -> None:
    assert worded("a(n) {x}", {"x": right.partition(" ")[2]}, {}) == right[:1].upper() + right[1:]
