"""What a scene shows, in words. Every word is true of the picture; the phrasing varies by scene."""

from __future__ import annotations

from typing import Literal

from tinyworld.scene import MONOCHROME, Background, Scene, Thing

_NUMBERS = ("no", "one", "two", "three", "four")
_STYLES = {
    "flat": ("in flat colors", "A flat illustration of"),
    "outlined": ("with dark outlines", "An outlined drawing of"),
    "glossy": ("with a glossy finish", "A glossy rendering of"),
    "crayon": ("drawn in crayon", "A crayon drawing of"),
    "night": ("at night", "A night picture of"),
    MONOCHROME: ("in black and white", "A black and white picture of"),
}


def caption(scene: Scene, style: Literal["long", "short"] = "long") -> str:
    """One sentence with count, colors, shapes, relation, background and style ("long"), or only the
    things and their relation ("short"). The same scene always gets the same words."""
    choice = scene.variant % 3
    if style == "short":
        things = _things(scene, choice, "")
        return things if choice else f"{things} {_STYLES[scene.style][0]}"
    subject, place = _subject(scene, choice), _place(scene)
    ending, opening = _STYLES[scene.style]
    if choice == 0:
        return f"{opening} {subject} {place}."
    if choice == 1:
        return f"{_capital(subject)} {place}, {ending}."
    verb = "is" if len(scene.things) == 1 else "are"
    return f"{_capital(place)} there {verb} {subject.rstrip(',')}, {ending}."


def _subject(scene: Scene, choice: int) -> str:
    things = _things(scene, choice // 2, "a ")
    count = len(scene.things)
    if count > 2 and not _alike(scene):
        return f"{_NUMBERS[count]} shapes, {things},"
    return things


def _things(scene: Scene, choice: int, article: str) -> str:
    """The things and how they stand to each other."""
    count = len(scene.things)
    if count > 1 and _alike(scene):
        return f"{_NUMBERS[count]} {_noun(scene, scene.things[0])}{_plural(scene)} {_alike_how(scene)}"
    nouns = [_with_article(article, _noun(scene, thing)) for thing in scene.things]
    if count == 1:
        return nouns[0]
    if scene.relation == "left of":
        first, second = nouns if choice == 0 else nouns[::-1]
        side = "left" if choice == 0 else "right"
        how = f"to the {side} of" if article else f"{side} of"
        return f"{first} {how} {second}"
    if scene.relation == "above":
        first, second = nouns if choice == 0 else nouns[::-1]
        return f"{first} {'above' if choice == 0 else 'below'} {second}"
    order = {
        "in a row": "in a row from left to right",
        "in a column": "in a column from top to bottom",
        "in a square": "in a square line by line",
    }[str(scene.relation)]
    return f"{', '.join(nouns[:-1])} and {nouns[-1]} {order}"


def _alike(scene: Scene) -> bool:
    return len({_noun(scene, thing) for thing in scene.things}) == 1


def _alike_how(scene: Scene) -> str:
    words = {"left of": "side by side", "above": "one above the other"}
    return words.get(str(scene.relation), str(scene.relation))


def _noun(scene: Scene, thing: Thing) -> str:
    return thing.shape if scene.style == MONOCHROME else f"{thing.color} {thing.shape}"


def _plural(scene: Scene) -> str:
    return "es" if scene.things[0].shape == "cross" else "s"


def _with_article(article: str, noun: str) -> str:
    if not article:
        return noun
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


def _place(scene: Scene) -> str:
    background: Background = scene.background
    named = scene.style != MONOCHROME
    if background.kind == "meadow":
        if scene.style == "night":
            return "in a dark meadow under a night sky"
        return "in a green meadow under a blue sky" if named else "in a meadow under the sky"
    if not named:
        pattern = {"checker": "checkered", "dots": "dotted", "stripes": "striped"}
        return f"on a {pattern.get(background.kind, background.kind)} background"
    first, second = (*background.colors, "")[:2]
    return {
        "plain": f"on a plain {first} background",
        "gradient": f"on a background fading from {first} to {second}",
        "stripes": f"on {first} and {second} stripes",
        "checker": f"on a {first} and {second} checkerboard",
        "dots": f"on a {first} background with {second} dots",
    }[background.kind]


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
