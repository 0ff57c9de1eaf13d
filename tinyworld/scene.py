"""A scene: what is drawn, as a value. Its boxes, its attributes, and how to draw one by lot.

Positions and sizes are fractions of the *stage*: a square as wide as the image's shorter side. On
an image that is not square the stage sits somewhere along the longer side (``anchor``: 0 the left
or top end, 0.5 the middle, 1 the other end). So a scene keeps its layout at every size and aspect,
and a scene with anchor 0 on a wide image has its subject where a center crop loses it.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from store.errors import UsageError
from tinyworld.shapes import (
    BACKGROUND_COLORS,
    COLORS,
    DARK,
    MEADOW,
    NIGHT_MEADOW,
    RGB,
    SHAPES,
    color_distance,
)

STYLES = ("flat", "outlined", "glossy", "crayon", "night")
MONOCHROME = "monochrome"
"""A sixth style that ``random_scene`` never draws: black and white, its colors are not named."""
BACKGROUNDS = ("plain", "gradient", "stripes", "checker", "dots", "meadow")
RELATIONS = ("left of", "above", "in a row", "in a column", "in a square")

OUTLINE = 0.04
"""Width of the outline in style "outlined", as a fraction of the thing's size."""


@dataclass(frozen=True)
class Thing:
    """One drawn shape. ``x``, ``y``: its center; ``size``: diameter of the disc that holds it; all
    fractions of the stage. ``angle``: degrees clockwise."""

    shape: str
    color: str
    size: float
    x: float
    y: float
    angle: float = 0.0

    def __post_init__(self) -> None:
        for value, table in ((self.shape, SHAPES), (self.color, COLORS)):
            if value not in table:
                raise UsageError(f"no such shape or color: {value!r}; use one of {sorted(table)}")


@dataclass(frozen=True)
class Background:
    """``kind`` is one of ``BACKGROUNDS``; ``colors``: one for plain, none for meadow, else two."""

    kind: str
    colors: tuple[str, ...] = ()


@dataclass(frozen=True)
class Scene:
    """Everything that is drawn.

    ``relation`` (one of ``RELATIONS``, None for one thing) holds for ``things`` in order: first
    left of second, rows from left to right, squares line by line. ``variant`` settles texture
    and the choice of words, nothing a caption speaks of.
    """

    background: Background
    style: str
    things: tuple[Thing, ...]
    relation: str | None = None
    anchor: float = 0.5
    variant: int = 0


class Box(NamedTuple):
    """Pixels of the upright image; ``right`` and ``bottom`` are the first pixels outside."""

    left: int
    top: int
    right: int
    bottom: int
    label: str


def stage(scene: Scene, width: int, height: int) -> tuple[float, float, int]:
    """Left, top and side of the square that holds all things, in pixels."""
    side = min(width, height)
    return scene.anchor * (width - side), scene.anchor * (height - side), side


def outlines(scene: Scene, thing: Thing, width: int, height: int) -> list[list[tuple[float, float]]]:
    """The thing's outlines in pixels: the first filled, the others holes."""
    left, top, side = stage(scene, width, height)
    cos = round(math.cos(math.radians(thing.angle)), 6)
    sin = round(math.sin(math.radians(thing.angle)), 6)
    size, x0, y0 = thing.size * side, left + thing.x * side, top + thing.y * side
    return [
        [(x0 + size * (x * cos - y * sin), y0 + size * (x * sin + y * cos)) for x, y in outline]
        for outline in SHAPES[thing.shape]
    ]


def thing_box(scene: Scene, thing: Thing, width: int, height: int) -> Box:
    """The smallest box of whole pixels around the thing with its outline, within the image."""
    xs, ys = zip(*outlines(scene, thing, width, height)[0], strict=True)
    stroke = OUTLINE * thing.size * min(width, height) / 2 if scene.style == "outlined" else 0.0
    return Box(
        max(0, math.floor(min(xs) - stroke)),
        max(0, math.floor(min(ys) - stroke)),
        min(width, math.ceil(max(xs) + stroke)),
        min(height, math.ceil(max(ys) + stroke)),
        f"{thing.color} {thing.shape}" if scene.style != MONOCHROME else thing.shape,
    )


def boxes(scene: Scene, width: int, height: int) -> list[Box]:
    """One box per thing, in the scene's order, for an image of this size."""
    return [thing_box(scene, thing, width, height) for thing in scene.things]


def attributes(scene: Scene) -> dict[str, Any]:
    """What is true of the scene, as JSON-able values; colors are None in style monochrome."""
    colored = scene.style != MONOCHROME
    return {
        "count": len(scene.things),
        "things": [
            {
                "shape": thing.shape,
                "color": thing.color if colored else None,
                "size": thing.size,
                "x": thing.x,
                "y": thing.y,
            }
            for thing in scene.things
        ],
        "relation": scene.relation,
        "background": scene.background.kind,
        "background_colors": list(scene.background.colors) if colored else [],
        "style": scene.style,
        "anchor": scene.anchor,
    }


def background_rgb(background: Background, style: str) -> tuple[RGB, ...]:
    """The colors a background is painted with."""
    if background.kind == "meadow":
        return NIGHT_MEADOW if style == "night" else MEADOW
    return tuple(BACKGROUND_COLORS[name] for name in background.colors)


def colors_on(background: Background, style: str) -> list[str]:
    """The names of thing colors that stand out from this background."""
    behind = background_rgb(background, style)
    return [name for name, rgb in COLORS.items() if min(color_distance(rgb, b) for b in behind) >= 105]


_Slots = list[tuple[float, float]]
_LAYOUTS: dict[tuple[int, str | None], tuple[_Slots, tuple[float, float], tuple[float, float]]] = {
    # (things, relation): centers, jitter of x and y, smallest and largest size; discs never touch.
    (1, None): ([(0.5, 0.5)], (0.14, 0.14), (0.36, 0.62)),
    (2, "left of"): ([(0.27, 0.5), (0.73, 0.5)], (0.03, 0.16), (0.26, 0.39)),
    (2, "above"): ([(0.5, 0.27), (0.5, 0.73)], (0.16, 0.03), (0.26, 0.39)),
    (3, "in a row"): ([(0.19, 0.5), (0.5, 0.5), (0.81, 0.5)], (0.012, 0.05), (0.21, 0.28)),
    (3, "in a column"): ([(0.5, 0.19), (0.5, 0.5), (0.5, 0.81)], (0.05, 0.012), (0.21, 0.28)),
    (4, "in a square"): (
        [(0.28, 0.28), (0.72, 0.28), (0.28, 0.72), (0.72, 0.72)],
        (0.03, 0.03),
        (0.26, 0.37),
    ),
}


def _random_background(rng: random.Random, style: str) -> Background:
    if style == "night":
        kind = rng.choice(("plain", "gradient", "meadow"))
        names = list(DARK)
    else:
        kind = rng.choice(BACKGROUNDS)
        light = [name for name in BACKGROUND_COLORS if name not in DARK]
        names = light if rng.random() < 0.75 else list(DARK)
    if kind == "meadow":
        return Background(kind)
    first = rng.choice(names)
    if kind == "plain":
        return Background(kind, (first,))
    apart = [n for n in names if _background_distance(n, first) >= 48]
    return Background(kind, (first, rng.choice(apart)))


def _background_distance(first: str, second: str) -> float:
    return color_distance(BACKGROUND_COLORS[first], BACKGROUND_COLORS[second])


def _random_kinds(rng: random.Random, count: int, colors: list[str]) -> list[tuple[str, str]]:
    """A shape and a color for each thing: all alike, or no two alike in both."""
    if count > 1 and rng.random() < 0.25:
        return [(rng.choice(list(SHAPES)), rng.choice(colors))] * count
    pairs = [(shape, color) for shape in SHAPES for color in colors]
    return rng.sample(pairs, count)


def random_scene(seed: int) -> Scene:
    """The scene of this seed; the same on every machine."""
    rng = random.Random(f"tiny world scene {seed}")
    style = rng.choice(STYLES)
    background = _random_background(rng, style)
    layout = rng.choices(list(_LAYOUTS), weights=(30, 20, 20, 10, 10, 10))[0]
    centers, (jitter_x, jitter_y), (smallest, largest) = _LAYOUTS[layout]
    count, relation = layout
    size = rng.uniform(smallest, largest)
    things = tuple(
        Thing(
            shape,
            color,
            round(size * rng.uniform(0.92, 1.0), 4),
            round(x + rng.uniform(-jitter_x, jitter_x), 4),
            round(y + rng.uniform(-jitter_y, jitter_y), 4),
            round(rng.uniform(-14, 14), 1),
        )
        for (shape, color), (x, y) in zip(
            _random_kinds(rng, count, colors_on(background, style)), centers, strict=True
        )
    )
    anchor = rng.choice((0.5, 0.5, 0.5, 0.35, 0.65, 0.0, 1.0))
    return Scene(background, style, things, relation, anchor, rng.getrandbits(32))


def mirrored(scene: Scene) -> Scene:
    """The scene as it reads after its picture is flipped left to right."""
    things = [replace(t, x=round(1 - t.x, 4), angle=-t.angle) for t in scene.things]
    if scene.relation in ("left of", "in a row"):
        things.reverse()
    elif scene.relation == "in a square":
        things = [things[i] for i in (1, 0, 3, 2)]
    return replace(scene, things=tuple(things), anchor=1 - scene.anchor)


def near_miss(scene: Scene, seed: int) -> Scene:
    """Another scene with the same background and layout: one thing recolored, reshaped, moved
    or shrunk.

    A person calls the two pictures different, and a coarse hash does not.
    """
    rng = random.Random(f"tiny world near miss {seed}")
    index = rng.randrange(len(scene.things))
    thing = scene.things[index]
    change = rng.choice(("color", "shape", "place"))
    if change == "color":
        others = [c for c in colors_on(scene.background, scene.style) if c != thing.color]
        changed = replace(thing, color=rng.choice(others))
    elif change == "shape":
        changed = replace(thing, shape=rng.choice([s for s in SHAPES if s != thing.shape]))
    else:
        changed = _moved(thing, scene.relation)
    things = (*scene.things[:index], changed, *scene.things[index + 1 :])
    return replace(scene, things=things)


def _moved(thing: Thing, relation: str | None) -> Thing:
    """The thing a clear step along the axis its relation leaves free; in a square: smaller."""
    step = 0.17 if relation in (None, "left of", "above") else 0.12
    if relation in ("above", "in a column"):
        return replace(thing, x=round(thing.x + (step if thing.x < 0.5 else -step), 4))
    if relation == "in a square":
        return replace(thing, size=round(thing.size * 0.6, 4))
    return replace(thing, y=round(thing.y + (step if thing.y < 0.5 else -step), 4))
