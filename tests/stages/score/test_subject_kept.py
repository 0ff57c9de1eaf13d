"""How much of known subjects a crop keeps."""

from __future__ import annotations

import json
from typing import Any

import pytest

from stages.score.subject_kept import CROP, SubjectKept
from stages.stage import Batch

WINDOW = (50, 0, 150, 100)


def kept(meta: str | None, window: tuple[int | None, ...] = WINDOW, field: str = "truth_boxes") -> Any:
    columns = {"meta": [meta]} | {name: [side] for name, side in zip(CROP, window, strict=True)}
    return SubjectKept(field=field).open()(Batch(1, columns))["subject_kept"][0]


@pytest.mark.parametrize(
    ("boxes", "share"),
    [
        ([[60, 10, 90, 90]], 1.0),
        ([[0, 0, 50, 100]], 0.0),
        ([[0, 0, 100, 100]], 0.5),
        ([[60, 10, 90, 90], [0, 0, 50, 100]], 0.5),  # the mean, however large each is
        ([[100, 50, 200, 150]], 0.25),
        ([[70, 70, 70, 90]], 0.0),  # a box without area is not kept
        ([[60, 10, 90, 90, 0.7]], 1.0),  # what follows four numbers is not a side
        ([], None),
    ],
)
def test_mean_share_of_each_box(boxes: list[list[float]], share: float | None) -> None:
    assert kept(json.dumps({"truth_boxes": boxes})) == share
    assert kept(json.dumps({"truth_boxes": json.dumps(boxes)})) == share  # as a CSV brings it


def test_nothing_known_or_no_crop_is_null() -> None:
    boxes = json.dumps({"truth_boxes": [[0, 0, 9, 9]]})
    assert kept(None) is None
    assert kept("{}") is None
    assert kept(boxes, (None, None, None, None)) is None
    assert kept(boxes, field="other") is None


@pytest.mark.parametrize(
    "value", ["a word", 7, {"left": 1}, [1, 2, 3, 4], [["a", 1, 2, 3]], [[1, 2]], [None]]
)
def test_what_is_no_list_of_boxes_is_no_evidence(value: Any) -> None:
    """The field comes from strangers: whatever else is in it must not end a build."""
    assert kept(json.dumps({"truth_boxes": value})) is None
