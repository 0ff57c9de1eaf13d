"""Scenes, their boxes and attributes: determinism, geometry, near misses."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise

import pytest

from store.errors import UsageError
from tinyworld.scene import (
    BACKGROUNDS,
    RELATIONS,
    STYLES,
    Thing,
    attributes,
    boxes,
    mirrored,
    near_miss,
    random_scene,
)
from tinyworld.shapes import COLORS, SHAPES, color_distance

SCENES = [random_scene(seed) for seed in range(300)]


def test_a_seed_is_one_scene_and_seeds_differ() -> None:
    assert [random_scene(seed) for seed in range(300)] == SCENES
    assert len(set(SCENES)) == 300


def test_everything_is_drawn_by_lot() -> None:
    assert {s.style for s in SCENES} == set(STYLES)
    assert {s.background.kind for s in SCENES} == set(BACKGROUNDS)
    assert {s.relation for s in SCENES} == {None, *RELATIONS}
    assert {t.shape for s in SCENES for t in s.things} == set(SHAPES)
    assert {t.color for s in SCENES for t in s.things} == set(COLORS)
    assert {len(s.things) for s in SCENES} == {1, 2, 3, 4}


def test_colors_are_well_apart() -> None:
    values = list(COLORS.values())
    assert len(values) >= 10
    gaps = [color_distance(a, b) for i, a in enumerate(values) for b in values[:i]]
    assert min(gaps) > 75


@pytest.mark.parametrize("size", [(400, 400), (640, 360), (300, 600)])
def test_things_stay_inside_and_apart(size: tuple[int, int]) -> None:
    for scene in [*SCENES, *(near_miss(s, i) for i, s in enumerate(SCENES))]:
        found = boxes(scene, *size)
        assert len(found) == len(scene.things)
        for box in found:
            assert 0 <= box.left < box.right <= size[0]
            assert 0 <= box.top < box.bottom <= size[1]
        for i, a in enumerate(scene.things):
            for b in scene.things[:i]:
                apart = ((a.x - b.x) ** 2 + (a.y - b.y) ** 2) ** 0.5
                assert apart >= (a.size + b.size) / 2


def test_relations_hold_in_pixels() -> None:
    for scene in SCENES:
        found = boxes(scene, 500, 500)
        if scene.relation in ("left of", "in a row"):
            assert all(a.right <= b.left for a, b in pairwise(found))
        elif scene.relation in ("above", "in a column"):
            assert all(a.bottom <= b.top for a, b in pairwise(found))
        elif scene.relation == "in a square":
            assert max(found[0].right, found[2].right) <= min(found[1].left, found[3].left)
            assert max(found[0].bottom, found[1].bottom) <= min(found[2].top, found[3].top)


def test_an_anchor_of_zero_leaves_the_center_crop() -> None:
    scene = replace(SCENES[0], anchor=0.0)
    assert all(box.right <= 300 for box in boxes(scene, 600, 300))
    assert all(box.bottom <= 300 for box in boxes(scene, 300, 600))


def test_attributes_are_json_and_say_what_is_there() -> None:
    for scene in SCENES:
        said = json.loads(json.dumps(attributes(scene)))
        assert said["count"] == len(scene.things)
        assert [t["shape"] for t in said["things"]] == [t.shape for t in scene.things]
        assert [t["color"] for t in said["things"]] == [t.color for t in scene.things]
        assert said["relation"] == scene.relation


def test_a_near_miss_changes_one_thing_only() -> None:
    for seed, scene in enumerate(SCENES):
        other = near_miss(scene, seed)
        changed = [a != b for a, b in zip(scene.things, other.things, strict=True)]
        assert sum(changed) == 1
        assert replace(other, things=scene.things) == scene


def test_mirrored_twice_is_the_scene() -> None:
    for scene in SCENES:
        again = mirrored(mirrored(scene))
        assert [t.shape for t in again.things] == [t.shape for t in scene.things]
        assert [t.x for t in again.things] == pytest.approx([t.x for t in scene.things])
        found = boxes(mirrored(scene), 500, 400)
        if scene.relation == "left of":
            assert found[0].right <= found[1].left


def test_an_unknown_shape_lists_the_shapes() -> None:
    with pytest.raises(UsageError, match=r"'blob'.*'circle'"):
        Thing("blob", "red", 0.3, 0.5, 0.5)
