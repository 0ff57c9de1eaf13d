"""Captions that are wrong in one attribute: hard negatives to learn from, and to measure with."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

from tinyworld.scene import BACKGROUNDS, RELATIONS, STYLES, Background, Scene, Thing
from tinyworld.shapes import BACKGROUND_COLORS, COLORS, DARK, SHAPES

ATTRIBUTES = ("color", "shape", "relation", "count", "background", "style")

_RELATIONS_OF = {
    1: (None,),
    2: ("left of", "above"),
    3: ("in a row", "in a column"),
    4: ("in a square",),
}


def wrong_scene(scene: Scene, attribute: str, rng: random.Random) -> Scene | None:
    """The scene with one of ``ATTRIBUTES`` changed, for its caption; never to be drawn.

    None where the attribute has nothing to change: the relation of one thing, or of four alike.
    """
    return _CHANGES[attribute](scene, rng)


def _with_thing(scene: Scene, index: int, thing: Thing) -> Scene:
    return replace(scene, things=(*scene.things[:index], thing, *scene.things[index + 1 :]))


def _color(scene: Scene, rng: random.Random) -> Scene:
    index = rng.randrange(len(scene.things))
    thing = scene.things[index]
    color = rng.choice([name for name in COLORS if name != thing.color])
    return _with_thing(scene, index, replace(thing, color=color))


def _shape(scene: Scene, rng: random.Random) -> Scene:
    index = rng.randrange(len(scene.things))
    thing = scene.things[index]
    shape = rng.choice([name for name in SHAPES if name != thing.shape])
    return _with_thing(scene, index, replace(thing, shape=shape))


def _relation(scene: Scene, rng: random.Random) -> Scene | None:
    """Another relation of as many things, or two unlike things with their places exchanged."""
    others = [name for name in _RELATIONS_OF[len(scene.things)] if name != scene.relation]
    unlike = [
        (i, j)
        for j in range(len(scene.things))
        for i in range(j)
        if looks(scene.things[i]) != looks(scene.things[j])
    ]
    if unlike and (not others or rng.random() < 0.5):
        i, j = rng.choice(unlike)
        things = list(scene.things)
        things[i], things[j] = things[j], things[i]
        return replace(scene, things=tuple(things))
    return replace(scene, relation=rng.choice(others)) if others else None


def looks(thing: Thing) -> tuple[str, str]:
    """Shape and color."""
    return thing.shape, thing.color


def _count(scene: Scene, rng: random.Random) -> Scene:
    """One thing more or fewer; alike things stay alike."""
    count = len(scene.things)
    wanted = rng.choice([n for n in (count - 1, count + 1) if 1 <= n <= 4])
    things = scene.things[:wanted]
    if wanted > count:
        alike = len({looks(thing) for thing in scene.things}) == 1
        copied = alike and (count > 1 or rng.random() < 0.5)
        extra = Thing(rng.choice(list(SHAPES)), rng.choice(list(COLORS)), 0.2, 0.5, 0.5)
        things = (*things, scene.things[0] if copied else extra)
    relation = rng.choice(_RELATIONS_OF[wanted])
    if scene.relation in ("above", "in a column") and wanted in (2, 3):
        relation = {2: "above", 3: "in a column"}[wanted]
    return replace(scene, things=things, relation=relation)


def _background(scene: Scene, rng: random.Random) -> Scene:
    """Another kind, or another color; on stripes and checkers a mere exchange would not be wrong."""
    old = scene.background
    names = list(DARK) if set(old.colors) & set(DARK) else [n for n in BACKGROUND_COLORS if n not in DARK]
    if old.colors and rng.random() < 0.5:
        index = rng.randrange(len(old.colors))
        color = rng.choice([name for name in names if name not in old.colors])
        return replace(
            scene, background=replace(old, colors=(*old.colors[:index], color, *old.colors[index + 1 :]))
        )
    kinds = ("plain", "gradient", "meadow") if scene.style == "night" else BACKGROUNDS
    kind = rng.choice([name for name in kinds if name != old.kind])
    fresh = [*old.colors, *rng.sample([n for n in names if n not in old.colors], 2)]
    number = {"plain": 1, "meadow": 0}.get(kind, 2)
    return replace(scene, background=Background(kind, tuple(fresh[:number])))


def _style(scene: Scene, rng: random.Random) -> Scene:
    """Another style; "at night" only where the background could be one of the night."""
    nightly = scene.background.kind == "meadow" or (
        scene.background.kind in ("plain", "gradient") and set(scene.background.colors) <= set(DARK)
    )
    styles = [name for name in STYLES if name != scene.style and (nightly or name != "night")]
    return replace(scene, style=rng.choice(styles))


_CHANGES: dict[str, Callable[[Scene, random.Random], Scene | None]] = {
    "color": _color,
    "shape": _shape,
    "relation": _relation,
    "count": _count,
    "background": _background,
    "style": _style,
}
assert set(RELATIONS) == {name for names in _RELATIONS_OF.values() for name in names if name}
