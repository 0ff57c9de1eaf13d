"""Prompts for the tiny world's text-to-image models, to a specification: what its words can say.

    mashbill build tiny-prompts --set source.samples=2000

Things of one prompt look alike, so that color and shape have one share each. A relation needs its number of
things, and with whole numbers of each the two match exactly.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product

from pipelines.dataset import Dataset
from stages.dedup.prompt_copies import PromptCopies
from stages.pack.pack import Pack
from stages.prompt.specification import UNSAID, Attribute, Specification, Value
from stages.select.caption_length import CaptionLength
from stages.select.no_prompt_copies import NoPromptCopies
from stages.select.split import Split
from stages.source.asked import Asked
from stages.text.clean_caption import CleanCaption
from tinyworld.shapes import BACKGROUND_COLORS, COLORS, SHAPES, color_distance

RELATIONS = {
    "two": ("side by side", "one above the other"),
    "three": ("in a row", "in a column"),
    "four": ("in a square",),
}
"""By number of things; of one thing neither is said."""
ALL = tuple(relation for some in RELATIONS.values() for relation in some)
BACKGROUNDS = {"cream": 0.3, "mint": 0.3, "navy": 0.2, "maroon": 0.2}
CONTRAST = 105
"""The least distance of a thing's color from what is behind it, as in drawn scenes."""


def equal(names: Iterable[str]) -> tuple[Value, ...]:
    listed = list(names)
    return tuple(Value(name, 1 / len(listed)) for name in listed)


SPECIFICATION = Specification(
    attributes=(
        Attribute(
            "style", equal(("flat illustration", "outlined drawing", "glossy rendering", "crayon drawing"))
        ),
        Attribute("count", (Value("two", 0.3), Value("three", 0.2), Value("four", 0.1))),
        Attribute(
            "relation",
            (
                Value("side by side", 0.15),
                Value("one above the other", 0.15),
                Value("in a row", 0.1),
                Value("in a column", 0.1),
                Value("in a square", 0.1),
            ),
        ),
        Attribute("color", equal(COLORS)),
        Attribute("shape", equal(SHAPES)),
        Attribute("background", tuple(Value(name, share) for name, share in BACKGROUNDS.items())),
    ),
    templates=(
        "a(n) {style} of [{count} {color} {shape:count} {relation}|a(n) {color} {shape}] "
        "on a plain {background} background.",
    ),
    forbidden=(
        *(("count=", f"relation={relation}") for relation in ALL),
        *(
            (f"count={count}", f"relation={relation}")
            for count, fits in RELATIONS.items()
            for relation in (UNSAID, *ALL)
            if relation not in fits
        ),
        *(
            (f"color={color}", f"background={behind}")
            for color, behind in product(COLORS, BACKGROUNDS)
            if color_distance(COLORS[color], BACKGROUND_COLORS[behind]) < CONTRAST
        ),
    ),
)


def tiny_prompts() -> Dataset:
    return Dataset(
        name="tiny-prompts",
        source=Asked(specification=SPECIFICATION),
        columns=(CleanCaption(), PromptCopies(similarity=1.0), Split()),
        select=(CaptionLength(), NoPromptCopies()),
        pack=Pack(resolutions=()),
    )
