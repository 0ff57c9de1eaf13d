"""Sizes by aspect: what a pack stores and what a run may ask for."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.aspects import STEP_PX, bucket_size, covering, nearest_aspect

ASPECTS = st.floats(0.1, 10.0)
SIDES = st.integers(1, 6000)


@pytest.mark.parametrize(
    ("aspect", "at_64", "at_512", "at_1024"),
    [
        (1.0, (64, 64), (512, 512), (1024, 1024)),
        (4 / 3, (80, 48), (592, 448), (1184, 880)),
        (3 / 2, (80, 48), (624, 416), (1248, 832)),
        (16 / 9, (80, 48), (688, 384), (1360, 768)),
        (2 / 3, (48, 80), (416, 624), (832, 1248)),
    ],
)
def test_sizes(
    aspect: float, at_64: tuple[int, int], at_512: tuple[int, int], at_1024: tuple[int, int]
) -> None:
    assert [bucket_size(aspect, px) for px in (64, 512, 1024)] == [at_64, at_512, at_1024]


def test_a_square_has_the_side_that_was_asked() -> None:
    assert [bucket_size(1.0, px) for px in (1, 24, 100, 512)] == [(1, 1), (24, 24), (100, 100), (512, 512)]
    assert bucket_size(1.01, 20) == (20, 20)


@given(ASPECTS, st.integers(STEP_PX, 2048))
def test_a_size_has_the_area_of_its_square_and_nearly_the_aspect(aspect: float, resolution: int) -> None:
    width, height = bucket_size(aspect, resolution)
    assert min(width, height) <= resolution <= max(width, height)
    if width == height:
        assert width == resolution
        return
    assert width % STEP_PX == height % STEP_PX == 0
    for side, exact in ((width, resolution * aspect**0.5), (height, resolution / aspect**0.5)):
        assert side == STEP_PX or abs(side - exact) <= STEP_PX / 2 + 1e-9


@given(st.lists(ASPECTS, min_size=2, max_size=12), st.integers(1, 1024))
def test_no_two_sizes_have_one_aspect(aspects: list[float], resolution: int) -> None:
    sizes = {bucket_size(aspect, resolution) for aspect in aspects}
    assert len({width / height for width, height in sizes}) == len(sizes)


def test_the_nearest_aspect_is_the_nearest_on_a_log_scale() -> None:
    aspects = (1.0, 1.5, 2 / 3)
    assert [nearest_aspect(a, aspects) for a in (1.0, 1.22, 1.23, 0.82, 0.81, 9.0, 0.1)] == [
        *(0, 0, 1, 0, 2, 1, 2)
    ]
    assert nearest_aspect(1.0, (1.5, 2 / 3)) == 0  # both as far
    assert nearest_aspect(1.0, (2 / 3, 1.5)) == 0


@given(ASPECTS, st.lists(ASPECTS, min_size=1, max_size=9))
def test_no_other_aspect_is_nearer(aspect: float, aspects: list[float]) -> None:
    chosen = aspects[nearest_aspect(aspect, aspects)]
    assert all(abs(math.log(chosen / aspect)) <= abs(math.log(a / aspect)) + 1e-12 for a in aspects)


def test_a_covering_box_is_the_middle() -> None:
    assert covering((100, 50), (32, 32)) == (25, 0, 75, 50)
    assert covering((50, 100), (48, 32)) == pytest.approx((0, 33.333, 50, 66.667), abs=1e-3)
    assert covering((834, 417), (624, 416)) == (104.25, 0, 729.75, 417)  # once it began over the top edge


@given(SIDES, SIDES, SIDES, SIDES)
def test_a_covering_box_lies_in_the_image_and_touches_two_sides(
    width: int, height: int, wide: int, tall: int
) -> None:
    left, top, right, bottom = covering((width, height), (wide, tall))
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height
    assert (left, right) == (0, width) or (top, bottom) == (0, height)
    assert (right - left) / (bottom - top) == pytest.approx(wide / tall, rel=1e-9)
