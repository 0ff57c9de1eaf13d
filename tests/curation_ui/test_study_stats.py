"""Ratings against published examples, against another implementation, and against known truth."""

from __future__ import annotations

import evalica
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation_ui.study.outcomes import (
    NO_MAJORITY,
    holm,
    majorities,
    majority_shares,
    sign_flip,
    vote_shares,
)
from curation_ui.study.power import expected
from curation_ui.study.stats import (
    BOTH,
    ELO,
    LOSS,
    NONE,
    WIN,
    Votes,
    bradley_terry,
    connected,
    davidson,
    draws,
    rate,
    resampled_wins,
    side_coefficient,
    wins,
    wins_by_prompt,
)

TEAMS = ("Milwaukee", "Detroit", "Toronto", "New York", "Boston", "Cleveland", "Baltimore")
HOME = """
Milwaukee Detroit 4 3 Toronto 4 2 NewYork 4 3 Boston 6 1 Cleveland 4 2 Baltimore 6 0
Detroit Milwaukee 3 3 Toronto 4 2 NewYork 4 3 Boston 6 0 Cleveland 6 1 Baltimore 4 3
Toronto Milwaukee 2 5 Detroit 4 3 NewYork 2 4 Boston 4 3 Cleveland 4 2 Baltimore 6 0
NewYork Milwaukee 3 3 Detroit 5 1 Toronto 2 5 Boston 4 3 Cleveland 4 2 Baltimore 6 1
Boston Milwaukee 5 1 Detroit 2 5 Toronto 3 3 NewYork 4 2 Cleveland 5 2 Baltimore 6 0
Cleveland Milwaukee 2 5 Detroit 3 3 Toronto 3 4 NewYork 4 3 Boston 4 2 Baltimore 2 4
Baltimore Milwaukee 2 5 Detroit 1 5 Toronto 1 6 NewYork 2 4 Boston 1 6 Cleveland 3 4
"""
"""American League 1987, from Agresti, Categorical Data Analysis: each line a home team, then its visitors
with the games that the home team and the visitor won."""


def votes_of(a, b, outcome, models=("A", "B"), prompt=None, pair=None, left=None, annotator=None) -> Votes:
    rows = np.arange(len(outcome))

    def of(given, otherwise):
        return np.asarray(otherwise if given is None else given)

    return Votes(
        models,
        of(prompt, rows).astype(np.int64),
        of(pair, rows).astype(np.int64),
        np.broadcast_to(a, len(outcome)).astype(np.int64),
        np.broadcast_to(b, len(outcome)).astype(np.int64),
        np.asarray(outcome, np.int64),
        of(left, rows % 2 == 0).astype(bool),
        of(annotator, rows * 0).astype(np.int64),
    )


def baseball() -> Votes:
    """The home team stands left."""
    names = [team.replace(" ", "") for team in TEAMS]
    a, b, outcome = [], [], []
    for line in HOME.split("\n"):
        home, *rest = line.split() or [""]
        for visitor, won, lost in zip(rest[::3], rest[1::3], rest[2::3], strict=True):
            games = [WIN] * int(won) + [LOSS] * int(lost)
            a += [names.index(home)] * len(games)
            b += [names.index(visitor)] * len(games)
            outcome += games
    return votes_of(a, b, outcome, TEAMS, left=np.ones(len(a)))


def some_votes(models: int, count: int, seed: int) -> Votes:
    rng = np.random.default_rng(seed)
    a = rng.integers(0, models, count)
    b = (a + rng.integers(1, models, count)) % models
    return votes_of(
        a,
        b,
        rng.choice(4, count, p=[0.4, 0.3, 0.2, 0.1]),
        tuple("ABCDEFGH"[:models]),
        prompt=rng.integers(0, max(count // 10, 1), count),
        pair=rng.integers(0, max(count // 3, 1), count),
        left=rng.random(count) < 0.5,
        annotator=rng.integers(0, 7, count),
    )


def test_baseball_without_home_advantage():
    """Abilities relative to Baltimore, as fitted by R's BradleyTerry2 on the same games."""
    found = bradley_terry(wins(baseball()))
    assert found - found[-1] == pytest.approx([1.5814, 1.4364, 1.2945, 1.2476, 1.1077, 0.6839, 0.0], abs=2e-4)


def test_home_advantage_is_the_side_coefficient():
    assert side_coefficient(baseball()) == pytest.approx(0.3023, abs=2e-4)


def test_two_models_by_hand():
    """75 of 100 is a logit of ln 3, and 190.85 points of Elo."""
    found = rate(votes_of(0, 1, [WIN] * 75 + [LOSS] * 25), resamples=50)
    assert found.elo[0] - found.elo[1] == pytest.approx(400 * np.log10(3), abs=1e-2)
    assert found.elo.mean() == pytest.approx(1000)
    assert rate(votes_of(0, 1, [WIN, LOSS]), resamples=5, anchor=1).elo[1] == 1000


@pytest.mark.parametrize("seed", range(3))
def test_bradley_terry_as_evalica(seed: int):
    votes = some_votes(5, 3000, seed)
    verdicts = {
        WIN: evalica.Winner.X,
        LOSS: evalica.Winner.Y,
        BOTH: evalica.Winner.Draw,
        NONE: evalica.Winner.Draw,
    }
    xs, ys = [votes.models[i] for i in votes.a], [votes.models[i] for i in votes.b]
    winners = [verdicts[int(outcome)] for outcome in votes.outcome]
    theirs = evalica.bradley_terry(xs, ys, winners, tolerance=1e-10, limit=10_000).scores
    logits = np.log(theirs[list(votes.models)].to_numpy())
    assert bradley_terry(wins(votes)) == pytest.approx(logits - logits.mean(), abs=1e-5)
    newman = evalica.newman(xs, ys, winners, tolerance=1e-12, limit=100_000)
    logits = np.log(newman.scores[list(votes.models)].to_numpy())
    ours, nu = davidson(votes)
    assert ours == pytest.approx(logits - logits.mean(), abs=1e-4)
    assert nu == pytest.approx(2 * newman.v, rel=1e-3)  # Newman writes 2 v where Davidson writes nu


def test_davidson_by_hand():
    """Equal models with a third of ties: nu / (2 + nu) = 1/3."""
    logits, nu = davidson(votes_of(0, 1, [WIN] * 40 + [LOSS] * 40 + [BOTH] * 30 + [NONE] * 10))
    assert (*logits, nu) == pytest.approx((0, 0, 1), abs=1e-5)


@given(st.integers(2, 6), st.integers(1, 200), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_wins_count_every_vote_once(models: int, count: int, seed: int):
    votes = some_votes(models, count, seed)
    by_prompt = wins_by_prompt(votes)
    assert by_prompt.sum() == pytest.approx(count)
    assert by_prompt.sum(0) == pytest.approx(wins(votes))
    assert np.trace(wins(votes)) == 0


def test_orientation_does_not_matter():
    votes = some_votes(3, 500, 1)
    turned = votes_of(
        votes.b,
        votes.a,
        np.array([LOSS, WIN, BOTH, NONE])[votes.outcome],
        votes.models,
        left=~votes.left_is_a,
    )
    assert wins(votes) == pytest.approx(wins(turned))
    assert side_coefficient(votes) == pytest.approx(side_coefficient(turned))
    ours, theirs = votes.between(0, 2), turned.between(0, 2)
    assert (ours.outcome == theirs.outcome).all()
    assert (ours.left_is_a == theirs.left_is_a).all()


def test_a_model_that_never_wins_has_a_finite_rating_and_is_named_unbounded():
    lost = rate(votes_of(0, 1, [WIN] * 50), resamples=20)
    assert np.isfinite(lost.elo).all()
    assert lost.elo[0] > 1900
    assert lost.unbounded
    assert not connected(np.array([[0, 1.0, 0], [1, 0, 0], [0, 0, 0]]))
    assert connected(np.array([[0, 1.0, 0], [0, 0, 1], [1, 0, 0]]))


def test_resampling_draws_whole_prompts():
    votes = some_votes(3, 900, 2)
    rng = np.random.default_rng(3)
    again = resampled_wins(votes, 400, rng)
    assert again.mean(0) == pytest.approx(wins(votes), rel=0.05)
    assert draws(9, 50, rng).sum(1).tolist() == [9] * 50
    both = resampled_wins(votes, 400, rng, two_way=True)
    assert both.mean(0) == pytest.approx(wins(votes), rel=0.15)
    assert both[:, 0, 1].std() > again[:, 0, 1].std()


def test_two_way_is_the_sum_over_votes_of_both_weights():
    votes = some_votes(3, 80, 4)
    found = resampled_wins(votes, 6, np.random.default_rng(5), two_way=True)
    rng = np.random.default_rng(5)
    prompts, people = draws(votes.prompt.max() + 1, 6, rng), draws(votes.annotator.max() + 1, 6, rng)
    for r in range(6):
        assert found[r] == pytest.approx(wins(votes, prompts[r][votes.prompt] * people[r][votes.annotator]))


def test_shares_by_hand():
    votes = votes_of(0, 1, [WIN] * 5 + [LOSS] * 2 + [BOTH] * 2 + [NONE], prompt=[0] * 5 + [1] * 5)
    found = vote_shares(votes)
    assert (found.win, found.loss, found.both, found.none, found.no_majority) == (0.5, 0.2, 0.2, 0.1, 0)
    assert found.rate == pytest.approx(0.65)
    assert (found.low, found.high) == (pytest.approx(0.3), pytest.approx(1.0))


def test_majority_needs_an_answer_ahead_of_all_others():
    outcome = [WIN, WIN, LOSS, WIN, LOSS, BOTH, NONE, NONE, WIN, WIN, LOSS]
    votes = votes_of(0, 1, outcome, pair=[0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3], prompt=[0] * 6 + [1] * 5)
    prompt, found = majorities(votes)
    assert found.tolist() == [WIN, NO_MAJORITY, NONE, NO_MAJORITY]
    assert prompt.tolist() == [0, 0, 1, 1]
    shares = majority_shares(votes)
    assert (shares.count, shares.win, shares.none, shares.no_majority) == (4, 0.25, 0.25, 0.5)
    assert shares.rate == pytest.approx(0.625)


def test_majorities_inflate():
    """A vote share of 0.60 is 0.648 by majorities of three and 0.683 of five: binomial sums."""
    rng = np.random.default_rng(0)
    for votes_per_pair, share in ((3, 0.648), (5, 0.68256)):
        count = 40_000 * votes_per_pair
        outcome = np.where(rng.random(count) < 0.6, WIN, LOSS)
        found = majority_shares(votes_of(0, 1, outcome, pair=np.arange(count) // votes_per_pair), 10)
        assert found.win == pytest.approx(share, abs=0.008)


def test_sign_flip_by_hand():
    """Three prompts all for A: 2 of 8 signs are as extreme. Prompts in balance say nothing."""
    assert sign_flip(votes_of(0, 1, [WIN, WIN, WIN])) == 0.25
    assert sign_flip(votes_of(0, 1, [WIN, WIN, WIN, BOTH, NONE])) == 0.25
    assert sign_flip(votes_of(0, 1, [BOTH])) == 1
    assert sign_flip(votes_of(0, 1, [WIN] * 40)) == pytest.approx(1e-4, abs=1e-6)


def test_sign_flip_agrees_with_trying_every_sign():
    outcome, prompt = [WIN] * 12 + [LOSS] * 6, np.arange(18) % 16
    votes = votes_of(0, 1, outcome, prompt=prompt)
    balance = np.bincount(prompt, [1] * 12 + [-1] * 6)
    balance = balance[balance != 0]
    signs = 1 - 2 * ((np.arange(2 ** len(balance))[:, None] >> np.arange(len(balance))) & 1)
    exact = (abs(signs @ balance) >= abs(balance.sum())).mean()
    assert sign_flip(votes) == pytest.approx(exact, abs=0.015)


def test_holm_by_hand():
    """Holm's own kind of example: 0.01, 0.04, 0.03, 0.005 of four claims."""
    assert holm(np.array([0.01, 0.04, 0.03, 0.005])) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm(np.array([0.9, 0.8])).tolist() == [1, 1]


def test_rank_intervals_of_equal_and_of_unequal_models():
    even = rate(some_votes(3, 60, 7), resamples=300)
    assert even.rank_low.min() == 1
    assert even.rank_high.max() == 3
    sure = rate(votes_of([0, 1] * 300, [1, 0] * 300, ([WIN] * 2 + [LOSS, WIN, WIN, LOSS]) * 100), 300)
    assert (sure.rank_high >= sure.rank_low).all()
    clear = rate(votes_of(0, 1, ([WIN] * 9 + [LOSS]) * 30), 300)
    assert (clear.rank_low.tolist(), clear.rank_high.tolist()) == ([1, 2], [1, 2])


def test_expected_half_widths():
    """Independent comparisons as by the binomial; three designs as simulated before ours was written."""
    for count, points in ((500, 4.4), (1000, 3.1), (1500, 2.5), (6084, 1.3)):
        assert 100 * expected(count, 1, 1).half_width == pytest.approx(points, abs=0.06)
    assert expected(1500, 1, 1).elo == pytest.approx(18, abs=0.5)
    for design, width in (((507, 4, 3), 3.7), ((1000, 1, 5), 3.7), ((500, 1, 3), 5.9)):
        assert 200 * expected(*design).half_width == pytest.approx(width, abs=0.25)
    assert expected(1000, 1, 1).half_width < expected(500, 1, 2).half_width  # more prompts beat more votes


def simulated(rng: np.random.Generator, prompts: int, seeds: int, votes: int) -> Votes:
    """Two equal models: preferences differ by prompt and by seed, each with 0.8 logits."""
    of_prompt = rng.normal(0, 0.8, prompts)[:, None, None]
    of_seed = rng.normal(0, 0.8, (prompts, seeds, 1))
    p = 1 / (1 + np.exp(-(of_prompt + of_seed)))
    outcome = np.where(rng.random((prompts, seeds, votes)) < p, WIN, LOSS).ravel()
    prompt = np.repeat(np.arange(prompts), seeds * votes)
    return votes_of(0, 1, outcome, prompt=prompt, pair=np.arange(len(outcome)) // votes)


@pytest.mark.slow
@pytest.mark.parametrize("design", [(507, 4, 3), (1000, 1, 5), (500, 1, 3)])
def test_intervals_hold_what_they_promise(design: tuple[int, int, int]):
    """Nominal 95 % intervals of the win rate and of the rating hold in 0.93 to 0.97 of simulated studies."""
    rng, runs, rates, ratings, naive = np.random.default_rng(11), 1200, 0, 0, 0
    for run in range(runs):
        votes = simulated(rng, *design)
        share = vote_shares(votes, 400, run)
        rates += share.low <= 0.5 <= share.high
        rating = rate(votes, 400, run, anchor=1)
        ratings += rating.low[0] <= 1000 <= rating.high[0]
        alone = vote_shares(votes_of(0, 1, votes.outcome), 100, run) if run < 300 else None
        naive += alone is not None and alone.low <= 0.5 <= alone.high
    assert 0.93 <= rates / runs <= 0.97
    assert 0.93 <= ratings / runs <= 0.97
    assert naive / 300 < 0.91  # what votes taken for independent would promise
    assert share.high - share.low == pytest.approx(2 * expected(*design).half_width, rel=0.12)


def test_elo_scale():
    assert pytest.approx(173.7178, abs=1e-4) == ELO
