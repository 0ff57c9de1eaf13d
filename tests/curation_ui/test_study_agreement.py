"""Agreement against published worked examples and another implementation."""

from __future__ import annotations

import evalica
import numpy as np
import pandas as pd
import pytest

from curation_ui.study.agreement import (
    agreement,
    chance,
    counts_by_unit,
    fleiss,
    gwet,
    krippendorff,
    raw,
    side_z,
    with_the_others,
)
from curation_ui.study.stats import BOTH, LOSS, NONE, WIN, Votes

KRIPPENDORFF = """
1 2 3 3 2 1 4 1 2 . . .
1 2 3 3 2 2 4 1 2 5 . 3
. 3 3 3 2 3 4 2 2 5 1 .
1 2 3 3 2 4 4 1 2 5 1 .
"""
"""Krippendorff (2011), section C: four observers, twelve units, any number of values missing."""
FLEISS = """
0 0 0 0 14
0 2 6 4 2
0 0 3 5 6
0 3 9 2 0
2 2 8 1 1
7 7 0 0 0
3 2 6 3 0
2 5 3 2 2
6 5 2 1 0
0 2 2 3 7
"""
"""The textbook example of Fleiss' kappa: ten subjects, fourteen raters, five categories."""


def table_of(text: str) -> np.ndarray:
    return np.array([line.split() for line in text.strip().splitlines()])


def counted(ratings: np.ndarray) -> np.ndarray:
    return np.array([[(unit == value).sum() for value in "12345"] for unit in ratings.T])


def votes_of(pair, annotator, outcome, left=None, prompt=None) -> Votes:
    rows = len(outcome)
    return Votes(
        ("A", "B"),
        np.asarray(pair if prompt is None else prompt, np.int64),
        np.asarray(pair, np.int64),
        np.zeros(rows, np.int64),
        np.ones(rows, np.int64),
        np.asarray(outcome, np.int64),
        np.ones(rows, bool) if left is None else np.asarray(left, bool),
        np.asarray(annotator, np.int64),
    )


def test_krippendorffs_example():
    assert krippendorff(counted(table_of(KRIPPENDORFF))) == pytest.approx(0.743, abs=5e-4)


def test_fleiss_example():
    assert fleiss(table_of(FLEISS).astype(int)) == pytest.approx(0.210, abs=5e-4)


def test_gwets_paradox():
    """118 of 125 subjects positive to both raters, 5 and 2 to one: kappa is -0.023, AC1 0.941."""
    table = np.array([[2, 0]] * 118 + [[1, 1]] * 7)
    assert raw(table) == pytest.approx(118 / 125)
    assert gwet(table) == pytest.approx(0.9408, abs=5e-5)


def test_alpha_as_evalica():
    rng = np.random.default_rng(0)
    for _ in range(5):
        ratings = rng.choice(list("1234"), (6, 40), p=[0.5, 0.2, 0.2, 0.1]).astype(object)
        ratings[rng.random(ratings.shape) < 0.4] = None
        table = np.array([[(unit == value).sum() for value in "1234"] for unit in ratings.T])
        theirs = evalica.alpha(pd.DataFrame(ratings), distance="nominal").alpha
        assert krippendorff(table) == pytest.approx(theirs, abs=1e-12)


def test_alpha_by_hand():
    """Two units, two votes each, one of them split: D_o = 2/4, D_e = 3*1*2/(4*3), alpha 0."""
    assert krippendorff(np.array([[2, 0], [1, 1]])) == pytest.approx(0.0)
    assert krippendorff(np.array([[2, 0], [3, 0]])) is None  # one answer alone tells nothing
    assert krippendorff(np.array([[1, 0], [0, 1]])) is None  # no unit has two votes


def test_agreement_of_votes():
    rng = np.random.default_rng(1)
    pair = np.repeat(np.arange(60), 3)
    truth = rng.integers(0, 2, 60)[pair]
    outcome = np.where(rng.random(180) < 0.85, truth, rng.integers(0, 4, 180))
    found = agreement(votes_of(pair, np.arange(180) % 9, outcome, prompt=pair // 2))
    assert found.units == 60
    assert None not in (found.alpha, found.low, found.high, found.fleiss, found.gwet, found.raw)
    assert found.low < found.alpha < found.high
    lone = agreement(votes_of([0, 1], [0, 0], [WIN, LOSS]))
    assert (lone.units, lone.alpha, lone.raw) == (0, None, None)
    uneven = agreement(votes_of([0, 0, 1, 1, 1], [0, 1, 0, 1, 2], [WIN, WIN, LOSS, WIN, LOSS]))
    assert uneven.fleiss is None
    assert uneven.raw == pytest.approx((1 + 1 / 3) / 2)


def test_alphas_interval_covers_prompts_not_votes():
    """Units of one prompt repeated ten times over say no more than once."""
    rng = np.random.default_rng(2)
    outcome = rng.integers(0, 2, 60)
    pair = np.repeat(np.arange(20), 3)
    once = agreement(votes_of(pair, np.tile(np.arange(3), 20), outcome))
    again = np.concatenate([pair + 20 * k for k in range(10)])
    copies = votes_of(again, np.tile(np.arange(3), 200), np.tile(outcome, 10), prompt=again % 20)
    found = agreement(copies)
    assert found.high - found.low == pytest.approx(once.high - once.low, rel=0.25)


def test_counts_by_unit():
    prompt, table = counts_by_unit(
        votes_of([7, 7, 3, 7], [0, 1, 0, 2], [WIN, NONE, BOTH, WIN], prompt=[1, 1, 0, 1])
    )
    assert prompt.tolist() == [0, 1]
    assert table.tolist() == [[0, 0, 1, 0], [2, 0, 0, 1]]


def test_leave_one_out():
    votes = votes_of(
        [0, 0, 0, 1, 1, 2, 2, 2], [0, 1, 2, 0, 1, 0, 1, 2], [WIN, WIN, LOSS, WIN, LOSS, WIN, LOSS, BOTH]
    )
    compared, same = with_the_others(votes)
    # pair 0: persons 0 and 1 see a split of the others, person 2 sees two wins; pair 1: each sees one other
    assert compared.tolist() == [1, 1, 1]
    assert same.tolist() == [0, 0, 0]
    agreed = with_the_others(votes_of([0, 0, 0], [0, 1, 2], [WIN, WIN, WIN]))
    assert (agreed[0].tolist(), agreed[1].tolist()) == ([1, 1, 1], [1, 1, 1])


def test_side_z():
    outcome, left = [WIN] * 9 + [LOSS] * 16 + [BOTH] * 5, [True] * 9 + [False] * 16 + [True] * 5
    assert side_z(votes_of(range(30), [0] * 30, outcome, left)) == pytest.approx([5.0])


def test_chance():
    assert chance(np.array([WIN, WIN, LOSS, BOTH])) == pytest.approx(0.25 + 2 / 16)
