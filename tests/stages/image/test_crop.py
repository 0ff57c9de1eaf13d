"""Which part of an image is kept, and on what evidence."""

from __future__ import annotations

import json
from typing import Any

import pytest

from stages.image.crop import Crop, candidates
from stages.image.crop_scorers import Center, Clip, Detector, KnownBoxes, mean_kept
from stages.stage import Batch, View


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
