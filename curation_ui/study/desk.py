"""Hands out trials: who sees which pair next, so that every pair gets its votes and nobody sees one twice.

All it knows is read from trials and votes, so a new start continues where the last one stopped. It is used
by one thread at a time: the writer of the study's database.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from curation_ui.study.design import Design
from curation_ui.study.pairs import Pair, draw, gold_of, kind_at, left_is_a
from curation_ui.study.votes import Trial, Vote, token_of

LEASE_S = 300.0
"""How long a trial waits for its vote before another may have its place."""
RETEST_AFTER = 20
"""Trials between a pair and its retest, at least."""
ANSWERS = {"both": 2, "none": 3}

Counts = NDArray[np.int64]


@dataclass
class _Person:
    """What one person was given, by question: trials in order, and which of them they answered."""

    trials: dict[str, list[Trial]] = field(default_factory=lambda: defaultdict(list))
    answered: set[str] = field(default_factory=set)
    skipped: set[str] = field(default_factory=set)
    prompts: list[int] = field(default_factory=list)
    shown: set[int] = field(default_factory=set)
    """Prompts whose words they have read."""
    order: dict[str, Counts] = field(default_factory=dict)


@dataclass
class _Pass:
    """One question over all pairs: answers counted [N, 4], places given and not yet answered [N], votes
    wanted [N], and the slots that are taken, once for each who has or had them."""

    answers: Counts
    held: Counts
    wanted: Counts
    slots: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))


class Desk:
    """The trials of one study. ``salt`` makes their tokens."""

    def __init__(self, design: Design, pairs: Sequence[Pair], seed: int, salt: str) -> None:
        self.design, self.pairs, self.seed, self._salt = design, pairs, seed, salt
        self._prompt = np.array([pair.prompt for pair in pairs])
        base = np.array([pair.votes for pair in pairs])
        count = len(pairs)
        self._passes = {
            question.name: _Pass(np.zeros((count, 4), np.int64), np.zeros(count, np.int64), base.copy())
            for question in design.questions
        }
        self._people: dict[str, _Person] = defaultdict(_Person)
        self.trials: dict[str, Trial] = {}
        self._live: dict[str, Trial] = {}

    # What happened.

    def load(self, trials: Sequence[Trial], votes: Sequence[Vote]) -> None:
        """Take in what the database holds."""
        for trial in trials:
            self.gave(trial)
        for vote in votes:
            self.voted(vote)

    def gave(self, trial: Trial) -> None:
        """A trial was written."""
        person = self._people[trial.annotator]
        person.trials[trial.question].append(trial)
        person.prompts.append(int(self._prompt[trial.pair]))
        if self.design.question(trial.question).shows_prompt:
            person.shown.add(int(self._prompt[trial.pair]))
        self.trials[trial.token] = trial
        self._hold(trial)

    def voted(self, vote: Vote) -> None:
        """A vote was written. Where the trial's end had passed the vote counts all the same."""
        trial = self.trials[vote.trial]
        person = self._people[trial.annotator]
        person.answered.add(trial.token)
        self._release(trial)
        if vote.choice == "skip":
            person.skipped.add(trial.token)
        elif trial.kind == "vote":
            self._count(trial, vote.choice)

    def _count(self, trial: Trial, choice: str) -> None:
        own = self._passes[trial.question]
        own.slots[trial.pair].append(trial.slot)
        answer = ANSWERS.get(choice, int((choice == "left") != trial.left_is_a))
        own.answers[trial.pair, answer] += 1
        given = own.answers[trial.pair]
        best = np.sort(given)[-2:]
        most = self.pairs[trial.pair].votes + self.design.extra_votes
        if best[0] == best[1] and own.wanted[trial.pair] <= given.sum() < most:
            own.wanted[trial.pair] = given.sum() + 1

    def _hold(self, trial: Trial) -> None:
        if trial.kind == "vote":
            own = self._passes[trial.question]
            own.held[trial.pair] += 1
            own.slots[trial.pair].append(trial.slot)
            self._live[trial.token] = trial

    def _release(self, trial: Trial) -> None:
        if self._live.pop(trial.token, None) is not None:
            own = self._passes[trial.question]
            own.held[trial.pair] -= 1
            own.slots[trial.pair].remove(trial.slot)

    def voted_on(self, trial: Trial) -> bool:
        """Whether the person of a trial has answered it, or voted on its pair by another trial."""
        person = self._people[trial.annotator]
        same = (
            other.token
            for other in person.trials[trial.question]
            if (other.kind, other.pair) == (trial.kind, trial.pair) and not other.known
        )
        return trial.token in person.answered or any(token in person.answered for token in same)

    # What comes next.

    def next(self, annotator: str, count: int, now: float) -> tuple[list[Trial], list[Trial]]:
        """Up to ``count`` trials of one question for a person: those given before that still wait for their
        vote, then new ones. Second, those that are new and must be written; the end of the others moves to
        ``now`` plus ``LEASE_S``."""
        self._sweep(now)
        person = self._people[annotator]
        found = self._waiting(person, now)[:count]
        new: list[Trial] = []
        question = found[0].question if found else self._question(annotator)
        while question is not None and len(found) < count:
            trial = self._new(annotator, question, now)
            if trial is None:
                break
            self.gave(trial)
            new.append(trial)
            found.append(trial)
        return found, new

    def _sweep(self, now: float) -> None:
        """Free the places of trials whose end has passed."""
        for trial in [trial for trial in self._live.values() if trial.expires_at <= now]:
            self._release(trial)

    def _waiting(self, person: _Person, now: float) -> list[Trial]:
        """A person's trials without a vote, of the newest question, whose place is still theirs."""
        for question in reversed(self.design.questions):
            found = []
            for trial in person.trials[question.name]:
                if trial.token in person.answered or not self._theirs(trial):
                    continue
                later = replace(trial, expires_at=now + LEASE_S)
                if trial.kind == "vote" and trial.token not in self._live:
                    self._hold(later)
                elif trial.kind == "vote":
                    self._live[trial.token] = later
                found.append(later)
            if found:
                return found
        return []

    def _theirs(self, trial: Trial) -> bool:
        own = self._passes[trial.question]
        if trial.kind != "vote" or trial.token in self._live:
            return True
        return bool(self._open(own)[trial.pair]) and trial.slot not in own.slots[trial.pair]

    @staticmethod
    def _open(own: _Pass) -> NDArray[np.bool_]:
        free: NDArray[np.bool_] = own.answers.sum(1) + own.held < own.wanted
        return free

    def _question(self, annotator: str) -> str | None:
        """The first question of which there is something for this person; None when they are done."""
        return next(
            (q.name for q in self.design.questions if self._candidates(annotator, q.name).any()), None
        )

    def _candidates(self, annotator: str, question: str) -> NDArray[np.bool_]:
        """Pairs [N] that a person may be given."""
        person = self._people[annotator]
        mine = [
            trial.pair
            for trial in person.trials[question]
            if trial.kind == "vote" and (trial.token in person.answered or trial.token in self._live)
        ]
        limit = self.design.per_person
        if limit and len(mine) >= limit:
            return np.zeros(len(self.pairs), bool)
        free = self._open(self._passes[question])
        free[mine] = False
        if not self.design.question(question).shows_prompt and person.shown:
            free &= ~np.isin(self._prompt, list(person.shown))
        return free

    def _new(self, annotator: str, question: str, now: float) -> Trial | None:
        free = self._candidates(annotator, question)
        if not free.any():
            return None
        person = self._people[annotator]
        position = len(person.trials[question])
        kind = kind_at(self.design, self.seed, annotator, question, position)
        token = token_of(self._salt, annotator, question, position)
        plain = Trial(token, annotator, question, position, kind, 0, -1, 0, True, now, now + LEASE_S)
        again = self._retest(person, question) if kind == "retest" else None
        if again is not None:
            return replace(plain, pair=again.pair, slot=again.slot, left_is_a=not again.left_is_a)
        if kind in ("gold", "practice"):
            return self._known(plain)
        pair = self._pick(person, annotator, question, free)
        own = self._passes[question]
        slot = next(n for n in range(len(own.slots[pair]) + 1) if n not in own.slots[pair])
        side = left_is_a(self.seed, pair, question, slot)
        return replace(plain, kind="vote", pair=pair, slot=slot, left_is_a=side)

    def _pick(self, person: _Person, annotator: str, question: str, free: NDArray[np.bool_]) -> int:
        """Of the pairs with the fewest votes the first in this person's order, whose prompt they have not
        just seen; where all were just seen, the one they saw longest ago."""
        if question not in person.order:
            rng = np.random.default_rng(draw(self.seed, "order", annotator, question))
            person.order[question] = rng.permutation(len(self.pairs))
        own = self._passes[question]
        recent = person.prompts[-self.design.apart :] if self.design.apart else []
        ago = np.zeros(len(self.pairs), np.int64)
        for age, prompt in enumerate(recent, 1):
            ago[self._prompt == prompt] = age
        given = own.answers.sum(1) + own.held
        cost = (ago * (given.max() + 1) + given) * len(self.pairs) + person.order[question]
        return int(np.where(free, cost, np.iinfo(np.int64).max).argmin())

    def _retest(self, person: _Person, question: str) -> Trial | None:
        """The oldest vote of a person that is far enough back and was not asked again."""
        trials = person.trials[question]
        asked = {trial.pair for trial in trials if trial.kind == "retest"}
        for trial in trials[: max(len(trials) - RETEST_AFTER, 0)]:
            voted = trial.token in person.answered and trial.token not in person.skipped
            if trial.kind == "vote" and voted and trial.pair not in asked:
                return trial
        return None

    def _known(self, plain: Trial) -> Trial:
        pair, other, of_a, left = gold_of(
            self.seed, plain.annotator, plain.question, plain.position, len(self.pairs)
        )
        swapped = self.design.question(plain.question).gold == "swapped"
        if swapped:
            far = np.flatnonzero(np.roll(self._prompt, -other) != self._prompt[pair])
            swapped, other = bool(len(far)), int(far[0] + other) % len(self.pairs) if len(far) else -1
        slot = 0 if of_a else 1
        return replace(plain, pair=pair, other=other if swapped else -1, slot=slot, left_is_a=left)

    # How far it is.

    def progress(self, annotator: str) -> dict[str, int]:
        """``done``: a person's answers. ``left``: pairs they might still be given."""
        person = self._people[annotator]
        left = sum(int(self._candidates(annotator, q.name).sum()) for q in self.design.questions)
        return {"done": len(person.answered), "left": left}

    def totals(self) -> dict[str, dict[str, int]]:
        """Of each question: ``votes`` given, and ``wanted``."""
        return {
            name: {"votes": int(own.answers.sum()), "wanted": int(own.wanted.sum())}
            for name, own in self._passes.items()
        }
