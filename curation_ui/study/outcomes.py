"""What came of the comparison of two models: shares, majorities, and whether chance explains it.

"Majority" is short for the answer that is given most often, alone (a plurality): of four answers it may be
that of fewer than half. Majorities inflate: where 60 % of votes go to one model, it has the majority of
three in 65 % and of five in 68 % of pairs. So both are always told.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from curation_ui.study.stats import LOSS, WIN, Floats, Integers, Votes, draws, interval

NO_MAJORITY = 4
"""Two answers are given most often, equally often."""
EXACT_PROMPTS = 14
"""Up to so many prompts every sign is tried."""


@dataclass(frozen=True)
class Shares:
    """Shares of what was counted: votes, or pairs by their majority. ``rate``: wins and half the ties, with
    its prompt-clustered 95 % interval. ``no_majority`` is a tie too; 0 among votes."""

    count: int
    win: float
    loss: float
    both: float
    none: float
    no_majority: float
    rate: float
    low: float
    high: float


def vote_shares(votes: Votes, resamples: int = 1000, seed: int = 0) -> Shares:
    """Of the votes on two models, as ``Votes.between`` gives them. There must be a vote."""
    return _shares(votes.prompt, votes.outcome, resamples, seed)


def majority_shares(votes: Votes, resamples: int = 1000, seed: int = 0) -> Shares:
    """The same of pairs, each counted once by its majority."""
    prompt, outcome = majorities(votes)
    return _shares(prompt, outcome, resamples, seed)


def majorities(votes: Votes) -> tuple[Integers, Integers]:
    """For each pair that was voted on: its prompt, and the answer given most often, alone; else NO_MAJORITY.

    With three answers or an odd number of votes below four that is the answer of more than half.
    """
    pairs, first, number = np.unique(votes.pair, return_index=True, return_inverse=True)
    count = np.bincount(number * 4 + votes.outcome, minlength=4 * len(pairs)).reshape(-1, 4)
    best = count.max(1, keepdims=True)
    alone = (count == best).sum(1) == 1
    return votes.prompt[first], np.where(alone, count.argmax(1), NO_MAJORITY)


def _shares(prompt: Integers, outcome: Integers, resamples: int, seed: int) -> Shares:
    prompts = int(prompt.max()) + 1
    table = np.bincount(prompt * 5 + outcome, minlength=5 * prompts).reshape(prompts, 5).astype(float)
    table = table[table.sum(1) > 0]
    again = draws(len(table), resamples, np.random.default_rng(seed)) @ table
    low, high = interval(_rate(again))
    share = table.sum(0) / table.sum()
    win, loss, both, none, no_majority = share.tolist()
    rate = float(_rate(table.sum(0)))
    return Shares(int(table.sum()), win, loss, both, none, no_majority, rate, float(low), float(high))


def _rate(counts: Floats) -> Floats:
    total = counts.sum(-1)
    rate: Floats = (counts[..., WIN] + 0.5 * (total - counts[..., WIN] - counts[..., LOSS])) / total
    return rate


def sign_flip(votes: Votes, flips: int = 10_000, seed: int = 0) -> float:
    """Two-sided p of "the two models are equally often preferred on every prompt".

    Under it the sign of each prompt's balance (wins minus losses) is a coin. Exact up to 14 prompts; above,
    prompts of one size are drawn together: how many of n coins show heads is binomial.
    """
    balance = np.bincount(votes.prompt, (votes.outcome == WIN) * 1.0 - (votes.outcome == LOSS))
    balance = balance[balance != 0]
    seen, count = abs(balance.sum()) - 1e-9, len(balance)
    if count <= EXACT_PROMPTS:
        signs = 1.0 - 2 * ((np.arange(2**count)[:, None] >> np.arange(count)) & 1)
        return float((np.abs(signs @ balance) >= seen).mean())
    sizes, times = np.unique(np.abs(balance), return_counts=True)
    heads = np.random.default_rng(seed).binomial(times, 0.5, (flips, len(times)))
    extreme = int((np.abs((2.0 * heads - times) @ sizes) >= seen).sum())
    return (extreme + 1) / (flips + 1)


def holm(p: Floats) -> Floats:
    """p of several claims, adjusted so that one false one among them is as rare as they say. Holm (1979)."""
    order, adjusted = np.argsort(p), np.empty(len(p))
    steps = (len(p) - np.arange(len(p))) * p[order]
    adjusted[order] = np.minimum(1, np.maximum.accumulate(steps))
    return adjusted
