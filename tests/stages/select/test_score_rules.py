"""Rules over any score and over what was found."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from stages.select.nothing_found import NothingFound
from stages.select.score_within import ScoreWithin
from stages.stage import SelectStage
from store.errors import UsageError


def decide(rule: SelectStage, column: str, values: list[Any], kind: pa.DataType) -> list[str | None]:
    rows = pa.table({"sample_id": [f"{i:024x}" for i in range(len(values))], column: pa.array(values, kind)})
    return list(rule.decide(rows).to_pylist())


SCORES = [0.1, 0.2, 0.5, 0.8, 0.9, None, float("nan"), float("inf")]
LOW, HIGH, UNKNOWN = "s_low", "s_high", "s_unknown"


@pytest.mark.parametrize(
    ("rule", "reasons"),
    [
        (ScoreWithin("s"), [None] * 8),
        (ScoreWithin("s", minimum=0.2), [LOW] + [None] * 7),
        (ScoreWithin("s", maximum=0.8), [None] * 4 + [HIGH, None, None, HIGH]),
        (ScoreWithin("s", minimum=0.2, maximum=0.8), [LOW, None, None, None, HIGH, None, None, HIGH]),
        (ScoreWithin("s", minimum=0.2, drop_unknown=True), [LOW, *[None] * 4, UNKNOWN, UNKNOWN, None]),
    ],
)
def test_bounds_are_kept_and_the_unknown_stays_unless_told(rule: ScoreWithin, reasons: list[Any]) -> None:
    assert decide(rule, "s", SCORES, pa.float64()) == reasons
    assert set(reasons) <= {None, *rule.reasons}


def test_whole_numbers_and_truth_are_scores_too() -> None:
    assert decide(ScoreWithin("s", minimum=3, maximum=77), "s", [2, 3, 77, 78, None], pa.int32()) == [
        LOW,
        None,
        None,
        HIGH,
        None,
    ]
    assert decide(ScoreWithin("s", maximum=0), "s", [False, True, None], pa.bool_()) == [None, HIGH, None]
    assert decide(ScoreWithin("s", minimum=1), "s", [], pa.float32()) == []


def test_a_float32_column_meets_its_own_bound() -> None:
    """0.3 as float32 is a bit more than 0.3, 0.7 a bit less: what a recipe says must hold for both."""
    assert decide(ScoreWithin("s", minimum=0.7), "s", [0.7], pa.float32()) == [None]
    assert decide(ScoreWithin("s", maximum=0.3), "s", [0.3], pa.float32()) == [None]


def test_rules_are_named_by_their_columns() -> None:
    rule = ScoreWithin("clip_similarity", minimum=0.2)
    assert (rule.name, rule.reads) == ("clip_similarity_within", ("clip_similarity",))
    assert NothingFound("caption_personal").name == "no_caption_personal"


@pytest.mark.parametrize("bounds", [(2.0, 1.0), (float("nan"), None)])
def test_bounds_that_make_no_sense(bounds: tuple[float, float | None]) -> None:
    with pytest.raises(UsageError, match="s_within: minimum="):
        ScoreWithin("s", *bounds)


def test_whatever_was_found_is_dropped() -> None:
    found = decide(NothingFound("c"), "c", ["email,phone", "", None, "url"], pa.string())
    assert found == ["c", None, None, "c"]
    assert decide(NothingFound("c"), "c", [], pa.string()) == []
