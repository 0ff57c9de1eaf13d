"""How far annotators agree with each other, with themselves, and with known answers.

Legend: U units (pairs of images), C answers. ``counts_UC``: how often each answer was given to a unit. Low
agreement is normal where taste decides: it is told, and gates nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from curation_ui.study.stats import LOSS, WIN, Floats, Integers, Votes, draws, interval


@dataclass(frozen=True)
class Agreement:
    """None where it cannot be told. ``alpha``: Krippendorff's, nominal, with its prompt-clustered 95 %
    interval. ``fleiss``: only where every unit has equally many votes. ``raw``: the share of pairs of votes
    on one unit that say the same. ``units``: those with two votes or more."""

    units: int
    alpha: float | None
    low: float | None
    high: float | None
    fleiss: float | None
    gwet: float | None
    raw: float | None


def counts_by_unit(votes: Votes) -> tuple[Integers, Integers]:
    """Prompts [U] and answers counted [U, 4]."""
    pairs, first, number = np.unique(votes.pair, return_index=True, return_inverse=True)
    table = np.bincount(number * 4 + votes.outcome, minlength=4 * len(pairs)).reshape(-1, 4)
    return votes.prompt[first], table


def agreement(votes: Votes, resamples: int = 1000, seed: int = 0) -> Agreement:
    """Agreement of the annotators of one question."""
    prompt, table = counts_by_unit(votes)
    more = table.sum(1) > 1
    prompt, table = prompt[more], table[more]
    if not len(table):
        return Agreement(0, None, None, None, None, None, None)
    low, high = _alpha_interval(prompt, table, resamples, seed)
    alpha = krippendorff(table)
    edges = (low, high) if alpha is not None else (None, None)
    return Agreement(len(table), alpha, *edges, fleiss(table), gwet(table), raw(table))


def krippendorff(counts_UC: Integers) -> float | None:
    """Alpha for nominal answers, some missing: 1 - D_o / D_e. None where every vote says the same.

    Krippendorff, Computing Krippendorff's Alpha-Reliability (2011), section C.
    """
    found = float(_alpha(*(part.sum(0) for part in _alpha_parts(counts_UC))))
    return None if np.isnan(found) else found


def _alpha_parts(counts_UC: Integers) -> tuple[Floats, Floats]:
    """What sums over units: observed disagreement [U], and the answers that can be paired [U, C]."""
    votes = counts_UC.sum(1)
    paired = np.where(votes[:, None] > 1, counts_UC, 0).astype(float)
    differ = (paired * (votes[:, None] - paired)).sum(1) / np.maximum(votes - 1, 1)
    return differ, paired


def _alpha(differ: Floats, values: Floats) -> Floats:
    n = values.sum(-1)
    expected = (values * (n[..., None] - values)).sum(-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Floats = 1 - (n - 1) * differ / expected
    return found


def _alpha_interval(
    prompt: Integers, counts_UC: Integers, resamples: int, seed: int
) -> tuple[float | None, float | None]:
    differ, paired = _alpha_parts(counts_UC)
    _, number = np.unique(prompt, return_inverse=True)
    sums = [np.bincount(number, column) for column in (differ, *paired.T)]
    again = draws(len(sums[0]), resamples, np.random.default_rng(seed)) @ np.stack(sums, 1)
    found = _alpha(again[:, 0], again[:, 1:])
    found = found[~np.isnan(found)]
    if not len(found):
        return None, None
    low, high = interval(found)
    return float(low), float(high)


def raw(counts_UC: Integers) -> float | None:
    """Mean over units of the share of pairs of votes that agree; units with one vote do not count."""
    table = counts_UC[counts_UC.sum(1) > 1].astype(float)
    if not len(table):
        return None
    votes = table.sum(1)
    return float(((table * (table - 1)).sum(1) / (votes * (votes - 1))).mean())


def fleiss(counts_UC: Integers) -> float | None:
    """Kappa of Fleiss (1971). None where units have unequally many votes, or every vote says the same."""
    votes, seen = counts_UC.sum(1), raw(counts_UC)
    if seen is None or len(set(votes.tolist())) != 1:
        return None
    expected = float(((counts_UC.sum(0) / counts_UC.sum()) ** 2).sum())
    return None if expected == 1 else float((seen - expected) / (1 - expected))


def gwet(counts_UC: Integers) -> float | None:
    """Gwet's AC1, over the answers that were given at all: steadier than kappa where one answer rules.

    Gwet, British Journal of Mathematical and Statistical Psychology 61 (2008).
    """
    seen = raw(counts_UC)
    used = counts_UC[:, counts_UC.sum(0) > 0]
    if seen is None or used.shape[1] < 2:
        return None
    share = (used / used.sum(1, keepdims=True)).mean(0)
    expected = float((share * (1 - share)).sum()) / (used.shape[1] - 1)
    return float((seen - expected) / (1 - expected))


def with_the_others(votes: Votes) -> tuple[Integers, Integers]:
    """For each annotator: votes that could be compared, and those that say what most others say of the pair.

    The others are those on the same pair without the annotator; where no answer leads among them, the vote
    is not compared.
    """
    _, number = np.unique(votes.pair, return_inverse=True)
    table = np.bincount(number * 4 + votes.outcome, minlength=4 * (int(number.max(initial=-1)) + 1))
    others = table.reshape(-1, 4)[number].copy()
    others[np.arange(len(votes)), votes.outcome] -= 1
    best = others.max(1, initial=0)
    clear = ((others == best[:, None]).sum(1) == 1) & (best > 0)
    same = clear & (others.argmax(1) == votes.outcome)
    people = int(votes.annotator.max(initial=-1)) + 1
    compared = np.bincount(votes.annotator[clear], minlength=people)
    return compared, np.bincount(votes.annotator[same], minlength=people)


def side_z(votes: Votes) -> Floats:
    """For each annotator: how many standard deviations the left was chosen more often than the right."""
    people = int(votes.annotator.max(initial=-1)) + 1
    chosen = (votes.outcome == WIN) | (votes.outcome == LOSS)
    left = (votes.outcome == WIN) == votes.left_is_a
    lefts = np.bincount(votes.annotator[chosen & left], minlength=people)
    rights = np.bincount(votes.annotator[chosen & ~left], minlength=people)
    z: Floats = (lefts - rights) / np.sqrt(np.maximum(lefts + rights, 1))
    return z


def chance(outcome: Integers) -> float:
    """How often two answers drawn from these shares agree: what a retest must beat."""
    share = np.bincount(outcome, minlength=4) / max(len(outcome), 1)
    return float((share**2).sum())
