"""Which part of an image is kept, and on what evidence."""

from __future__ import annotations

import hashlib
import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.image.crop import Crop, candidates
from stages.image.crop_scorers import Center, Clip, Detector, KnownBoxes, mean_kept
from stages.stage import Batch, View
from store.errors import UsageError


def crop(stage: Crop, width: int | None, height: int | None, **columns: Any) -> dict[str, Any]:
    given = {"width": [width], "height": [height]} | {name: [value] for name, value in columns.items()}
    result = stage.open()(Batch(1, given))
    return {name: values[0] for name, values in result.items()}


def window(found: dict[str, Any]) -> tuple[int, ...]:
    return tuple(found[f"crop_{side}"] for side in ("left", "top", "right", "bottom"))


@pytest.mark.parametrize(
    ("size", "aspect", "expected"),
    [
        (
            (300, 200),
            1.0,
            {"center": (50, 0, 250, 200), "start": (0, 0, 200, 200), "end": (100, 0, 300, 200)},
        ),
        (
            (200, 301),
            1.0,
            {"center": (0, 50, 200, 250), "start": (0, 0, 200, 200), "end": (0, 101, 200, 301)},
        ),
        ((200, 200), 1.0, {"whole": (0, 0, 200, 200)}),
        ((300, 200), 1.5, {"whole": (0, 0, 300, 200)}),
        (
            (200, 200),
            2.0,
            {"center": (0, 50, 200, 150), "start": (0, 0, 200, 100), "end": (0, 100, 200, 200)},
        ),
        ((1, 1), 1.0, {"whole": (0, 0, 1, 1)}),
    ],
)
def test_candidates(size: tuple[int, int], aspect: float, expected: dict[str, Any]) -> None:
    assert candidates(*size, aspect) == expected


BEFORE = "7b2cfee7f9f437c3bf94806c39873f4367ec19b2814508f2a6a5df3e46f48e49"
"""SHA-256 of what version 1, which had one aspect, wrote for the sizes below."""


def test_a_square_is_cropped_as_it_always_was() -> None:
    sizes = list(itertools.product([*range(1, 40), 300, 301, 640, 4999], repeat=2))
    columns = {"width": [width for width, _ in sizes], "height": [height for _, height in sizes]}
    written = Crop().open()(Batch(len(sizes), columns))
    assert set(written.pop("crop_aspect")) == {1.0}
    lines = "\n".join(map(repr, zip(*written.values(), strict=True)))
    assert hashlib.sha256(lines.encode()).hexdigest() == BEFORE


SEVERAL = Crop(aspects=(1.0, 1.5, 2 / 3))


@pytest.mark.parametrize(
    ("size", "aspect", "box"),
    [
        ((300, 300), 1.0, (0, 0, 300, 300)),
        ((366, 300), 1.0, (33, 0, 333, 300)),
        ((368, 300), 1.5, (0, 27, 368, 272)),
        ((640, 427), 1.5, (0, 0, 640, 427)),
        ((1600, 900), 1.5, (125, 0, 1475, 900)),
        ((427, 640), 2 / 3, (0, 0, 427, 640)),
        ((100, 5000), 2 / 3, (0, 2425, 100, 2575)),
    ],
)
def test_an_image_gets_the_aspect_nearest_to_its_own(
    size: tuple[int, int], aspect: float, box: tuple[int, ...]
) -> None:
    found = crop(SEVERAL, *size)
    assert (found["crop_aspect"], window(found)) == (aspect, box)


@given(
    st.integers(1, 5000),
    st.integers(1, 5000),
    st.lists(st.floats(0.1, 10.0), min_size=1, max_size=6, unique=True),
)
def test_a_crop_has_its_aspect_lies_inside_and_is_the_largest(
    width: int, height: int, aspects: list[float]
) -> None:
    found = crop(Crop(aspects=tuple(aspects)), width, height)
    left, top, right, bottom = window(found)
    aspect, wide, tall = found["crop_aspect"], right - left, bottom - top
    assert aspect in aspects
    assert min(abs(wide - tall * aspect), abs(tall - wide / aspect)) <= 1  # of the side that is cut
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height
    # one pixel more would not fit, or would be past the aspect
    assert wide == width or tall == height
    if wide < width:
        assert wide + 1 > height * aspect
    if tall < height:
        assert tall + 1 > width / aspect


@pytest.mark.parametrize("aspects", [(), (1.0, 1.0), (0.0,), (-1.5, 1.0), (float("nan"),), (float("inf"),)])
def test_wrong_aspects(aspects: tuple[float, ...]) -> None:
    with pytest.raises(UsageError, match=r"crop\.aspects=.* numbers over 0"):
        Crop(aspects=aspects)


@pytest.mark.parametrize("size", [(1, 5000), (5000, 1), (2, 3), (3, 2), (4999, 7)])
@pytest.mark.parametrize("aspect", [1.0, 1.5, 0.3, 16 / 9])
def test_every_candidate_lies_in_the_image(size: tuple[int, int], aspect: float) -> None:
    for left, top, right, bottom in candidates(*size, aspect).values():
        assert 0 <= left < right <= size[0]
        assert 0 <= top < bottom <= size[1]


def test_without_evidence_the_center_stays() -> None:
    found = crop(Crop(), 300, 200)
    assert window(found) == (50, 0, 250, 200)
    assert (found["crop_choice"], found["crop_evidence"]) == ("center", None)
    assert crop(Crop(), 200, 200)["crop_choice"] == "whole"
    assert set(crop(Crop(), None, None).values()) == {None}


@pytest.mark.parametrize(
    ("boxes", "choice", "evidence"),
    [
        ([[0, 0, 60, 200]], "start", "known_boxes"),
        ([[240, 0, 300, 200]], "end", "known_boxes"),
        ([[100, 0, 200, 200]], "center", "known_boxes"),
        ([[0, 0, 300, 200]], "center", "known_boxes"),  # all alike
        ([], "center", None),
        (None, "center", None),
    ],
)
def test_known_boxes_move_the_window(boxes: Any, choice: str, evidence: str | None) -> None:
    meta = None if boxes is None else json.dumps({"boxes": boxes})
    found = crop(Crop(scorer=KnownBoxes()), 300, 200, meta=meta)
    assert (found["crop_choice"], found["crop_evidence"]) == (choice, evidence)
    assert window(found) == candidates(300, 200, 1.0)[choice]


def test_the_window_moves_only_past_the_margin() -> None:
    meta = json.dumps({"boxes": [[0, 0, 200, 200]]})  # the center keeps 0.75 of it, the start all
    for margin, choice in ((0.0, "start"), (0.2, "start"), (0.25, "center"), (0.5, "center")):
        assert crop(Crop(scorer=KnownBoxes(), margin=margin), 300, 200, meta=meta)["crop_choice"] == choice


def test_a_scorer_decides_what_the_stage_reads_and_sees() -> None:
    assert (Crop().reads, Crop().view) == (("width", "height"), View.NONE)
    assert Crop(scorer=KnownBoxes()).reads == ("width", "height", "meta")
    assert (Crop(scorer=Clip()).reads, Crop(scorer=Clip()).view) == (
        ("width", "height", "caption"),
        View.FULL,
    )
    assert Crop(scorer=Detector(model="x")).view == View.FULL


def test_evidence_names_the_model() -> None:
    assert Center().evidence == "center"
    assert Detector(model="a/b", revision="c").evidence == "detector:a/b@c"
    assert Clip(model="a/b", revision="c").evidence == "clip:a/b@c"


def test_weights_count_boxes_by_their_confidence() -> None:
    boxes = [[0, 0, 10, 10], [90, 0, 100, 10]]
    assert mean_kept(boxes, (0, 0, 50, 10)) == 0.5
    assert mean_kept(boxes, (0, 0, 50, 10), [0.9, 0.1]) == pytest.approx(0.9)
