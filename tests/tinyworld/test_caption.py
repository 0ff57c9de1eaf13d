"""Captions, read back by a small parser of the test's own and held against the scene."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from tinyworld.caption import caption
from tinyworld.scene import MONOCHROME, Scene, near_miss, random_scene
from tinyworld.shapes import BACKGROUND_COLORS, COLORS, SHAPES

SCENES = [random_scene(seed) for seed in range(400)]
SCENES += [near_miss(scene, seed) for seed, scene in enumerate(SCENES[:200])]
NUMBERS = {"two": 2, "three": 3, "four": 4}
STYLE_WORDS = {
    "flat": "flat",
    "outlined": "outline",
    "glossy": "glossy",
    "crayon": "crayon",
    "night": "night",
}
NOUN = re.compile(rf"(?:\b(two|three|four) )?\b({'|'.join(COLORS)}) ({'|'.join(SHAPES)})(?:e?s)?\b")


def read_things(text: str) -> list[tuple[str, str]]:
    """(color, shape) in the order of the scene's relation, as the words put them."""
    things: list[tuple[str, str]] = []
    for number, color, shape in NOUN.findall(text.lower()):
        things += [(color, shape)] * NUMBERS.get(number, 1)
    if re.search(r"\b(right of|below)\b", text):
        things.reverse()
    return things


def read_relation(text: str) -> str | None:
    if re.search(r"left of|right of|side by side", text):
        return "left of"
    if re.search(r"\babove\b|\bbelow\b", text):
        return "above"
    found = re.search(r"in a (row|column|square)", text)
    return found[0] if found else None


@pytest.mark.parametrize("style", ["long", "short"])
def test_captions_read_back_as_the_scene(style: str) -> None:
    for scene in SCENES:
        text = caption(scene, style)  # type: ignore[arg-type]
        assert read_things(text) == [(t.color, t.shape) for t in scene.things], text
        assert read_relation(text) == scene.relation, text


def test_long_captions_name_background_style_and_number() -> None:
    for scene in SCENES:
        text = caption(scene).lower()
        assert STYLE_WORDS[scene.style] in text
        named = set(re.findall("|".join(BACKGROUND_COLORS), text))
        assert named == set(scene.background.colors), text
        assert ("meadow" in text) == (scene.background.kind == "meadow")
        for kind in ("plain", "stripes", "checker", "dots"):
            assert (kind in text) == (scene.background.kind == kind), text
        if len(scene.things) > 2:
            assert f"{('three', 'four')[len(scene.things) - 3]} " in text
        assert re.fullmatch(r"(\S+ )+\S+\.", text)
        assert ",," not in text


def test_short_is_shorter_and_phrasings_vary() -> None:
    for scene in SCENES:
        assert len(caption(scene, "short")) < len(caption(scene))
        assert caption(scene) == caption(scene)
    scene: Scene = SCENES[0]
    assert len({caption(replace(scene, variant=v)) for v in range(6)}) == 3


def test_black_and_white_names_no_color() -> None:
    for scene in SCENES:
        text = caption(replace(scene, style=MONOCHROME))
        assert "black and white" in text
        rest = text.lower().replace("black and white", "")
        assert not re.search(rf"\b({'|'.join([*COLORS, *BACKGROUND_COLORS])})\b", rest), text
