"""Reads a caption of ``tinyworld.caption`` back into what it says, and nothing it does not say."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

from tinyworld.scene import MONOCHROME
from tinyworld.shapes import BACKGROUND_COLORS, COLORS, SHAPES

_NUMBERS = {"one": 1, "two": 2, "three": 3, "four": 4}
_STYLES = (
    (MONOCHROME, r"black and white"),
    ("flat", r"\bflat\b"),
    ("outlined", r"\boutline"),
    ("glossy", r"\bglossy\b"),
    ("crayon", r"\bcrayon\b"),
    ("night", r"\bnight\b"),
)
_BACKGROUNDS = (
    ("meadow", r"\bmeadow\b"),
    ("gradient", r"\b(?:fading|gradient)\b"),
    ("stripes", r"\bstripe[sd]\b"),
    ("checker", r"\bchecker(?:board|ed)\b"),
    ("dots", r"\bdot(?:s|ted)\b"),
    ("plain", r"\bplain\b"),
)
_RELATIONS = (
    ("in a row", r"\bin a row\b"),
    ("in a column", r"\bin a column\b"),
    ("in a square", r"\bin a square\b"),
    ("left of", r"\b(?:left|right) of\b|\bside by side\b"),
    ("above", r"\b(?:above|below)\b"),
)
_COUNTED = re.compile(rf"\b({'|'.join(_NUMBERS)}) shapes\b")
_NOUN = re.compile(
    rf"(?:\b({'|'.join(_NUMBERS)}) )?(?:\b({'|'.join(COLORS)}) )?\b({'|'.join(SHAPES)})(?:e?s)?\b"
)
_BACKGROUND_COLOR = re.compile(rf"\b({'|'.join(BACKGROUND_COLORS)})\b")


class Named(NamedTuple):
    """A thing as a caption names it; the color is None where the caption names none."""

    color: str | None
    shape: str


@dataclass(frozen=True)
class Said:
    """What a caption says; None where it says nothing.

    ``things`` stand in the order of the relation, as in ``Scene.things``, however the words turn it.
    ``background_colors`` is empty for a meadow, whose colors have no names.
    """

    count: int | None
    things: tuple[Named, ...]
    relation: str | None
    background: str | None
    background_colors: tuple[str, ...] | None
    style: str | None


def read_caption(text: str) -> Said:
    """What ``text`` says. Never fails: of a text that is no such caption it gives what it knows."""
    words = " ".join(text.lower().split())
    # "in a square" is a relation, not a thing.
    things = _things(re.sub(r"\bin a square\b", "", words))
    relation = _first(_RELATIONS, words)
    if re.search(r"\b(?:right of|below)\b", words):
        things.reverse()
    counted = _COUNTED.search(words)
    background = _first(_BACKGROUNDS, words)
    colors = tuple(_BACKGROUND_COLOR.findall(words))
    return Said(
        count=_NUMBERS[counted[1]] if counted else len(things) or None,
        things=tuple(things),
        relation=relation,
        background=background,
        background_colors=colors if colors or background == "meadow" else None,
        style=_first(_STYLES, words),
    )


def _things(words: str) -> list[Named]:
    found: list[Named] = []
    for number, color, shape in _NOUN.findall(words):
        found += [Named(color or None, shape)] * _NUMBERS.get(number, 1)
    return found


def _first(table: tuple[tuple[str, str], ...], words: str) -> str | None:
    return next((name for name, pattern in table if re.search(pattern, words)), None)
