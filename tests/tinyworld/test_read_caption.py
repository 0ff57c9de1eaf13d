"""Captions read back: everything a caption says agrees with its scene, and it says what it should."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.errors import UsageError
from tinyworld.accuracy import ATTRIBUTES, attribute_accuracy
from tinyworld.caption import caption
from tinyworld.read_caption import Named, Said, read_caption
from tinyworld.scene import MONOCHROME, Background, Scene, Thing, attributes, near_miss, random_scene

STAR = Thing("star", "red", 0.3, 0.27, 0.5)
RING = Thing("ring", "blue", 0.3, 0.73, 0.5)
SCENE = Scene(Background("stripes", ("cream", "mint")), "flat", (STAR, RING), "left of")

seeds = st.integers(0, 10**12)
variants = st.integers(0, 2)


def long_truth(scene: Scene) -> Said:
    """What a long caption of the scene must say, from its attributes."""
    truth = attributes(scene)
    colored = scene.style != MONOCHROME
    return Said(
        count=truth["count"],
        things=tuple(Named(thing["color"], thing["shape"]) for thing in truth["things"]),
        relation=truth["relation"],
        background=truth["background"],
        background_colors=(
            tuple(truth["background_colors"]) if colored or truth["background"] == "meadow" else None
        ),
        style=truth["style"],
    )


@given(seeds, variants, st.booleans())
def test_a_long_caption_says_everything(seed: int, variant: int, black_and_white: bool) -> None:
    scene = replace(random_scene(seed), variant=variant)
    if black_and_white:
        scene = replace(scene, style=MONOCHROME)
    assert read_caption(caption(scene)) == long_truth(scene)


@given(seeds, variants)
def test_a_short_caption_says_the_things_and_no_more(seed: int, variant: int) -> None:
    scene = replace(near_miss(random_scene(seed), seed), variant=variant)
    style = scene.style if variant == 0 else None
    expected = replace(long_truth(scene), background=None, background_colors=None, style=style)
    assert read_caption(caption(scene, "short")) == expected


@given(st.text(max_size=80))
def test_any_text_is_read_without_an_error(text: str) -> None:
    assert isinstance(read_caption(text), Said)


def test_half_a_caption_gives_what_is_known() -> None:
    said = read_caption("a red star and two somethings on pale blue stripes by a string")
    assert said == Said(1, (Named("red", "star"),), None, "stripes", ("pale blue",), None)


def test_everything_right_is_one_everywhere() -> None:
    scenes = [random_scene(seed) for seed in range(50)]
    right = attribute_accuracy(scenes, [caption(scene) for scene in scenes])
    assert right == dict.fromkeys((*ATTRIBUTES, "mean", "whole"), 1.0)


def test_each_wrong_attribute_is_counted_where_it_belongs() -> None:
    right = attribute_accuracy(
        [SCENE], ["A flat illustration of a red heart above a green ring on cream dots."]
    )
    assert right["count"] == right["style"] == 1
    assert right["shape"] == right["color"] == 0.5
    assert right["relation"] == right["background"] == right["background_colors"] == right["whole"] == 0


def test_things_are_matched_by_place_and_missing_things_are_wrong() -> None:
    swapped = replace(SCENE, things=(RING, STAR))
    right = attribute_accuracy([SCENE, SCENE], [caption(swapped), "A flat illustration of a red star."])
    assert right["shape"] == right["color"] == 0.25
    assert right["count"] == right["relation"] == 0.5


def test_the_order_of_stripe_colors_cannot_be_seen_and_does_not_count() -> None:
    turned = replace(SCENE, background=Background("stripes", ("mint", "cream")))
    assert attribute_accuracy([SCENE], [caption(turned)])["whole"] == 1


def test_absent_attributes_are_left_out_of_the_means() -> None:
    alone = Scene(Background("meadow"), "crayon", (STAR,))
    right = attribute_accuracy([alone], [caption(alone)])
    assert set(right) == {"count", "shape", "color", "background", "style", "mean", "whole"}


def test_unequal_lists_are_a_usage_error() -> None:
    with pytest.raises(UsageError, match="2 scenes and 1 captions"):
        attribute_accuracy([SCENE, SCENE], ["a red star"])
    with pytest.raises(UsageError, match="0 scenes"):
        attribute_accuracy([], [])
