"""Which images meet, where they stand, and who is given what."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation_ui.study.design import Design, Question, check
from curation_ui.study.desk import LEASE_S, RETEST_AFTER, Desk
from curation_ui.study.pairs import Pair, Picture, left_is_a, pairs_of
from curation_ui.study.questions import ALIGNMENT, QUALITY
from curation_ui.study.votes import Trial, Vote
from store.errors import UsageError

PLAIN = Design("plain", (QUALITY,), votes=3, gold=0.0, retest=0.0, practice=0, apart=2)
BOTH = replace(PLAIN, questions=(QUALITY, ALIGNMENT), gold=0.05, retest=0.05, practice=2)


def pictures(*models: dict[str, list[int | None]]) -> list[Picture]:
    found = [(n, text, seed) for n, model in enumerate(models) for text in model for seed in model[text]]
    return [Picture(index, *entry) for index, entry in enumerate(found)]


def pairs(count: int, votes: int = 3, per_prompt: int = 2) -> list[Pair]:
    return [Pair(i, i // per_prompt, f"p{i // per_prompt}", 0, 0, 1, i, i, votes) for i in range(count)]


class Robot:
    """Answers trials as the page would, or goes away in the middle."""

    def __init__(self, desk: Desk, name: str, seed: int) -> None:
        self.desk, self.name, self.rng = desk, name, random.Random(seed)
        self.seen: list[Trial] = []
        self.late: list[Trial] = []

    def turn(self, now: float, drops: float = 0.0, skips: float = 0.0) -> bool:
        """One visit; False when there is nothing left."""
        given, _ = self.desk.next(self.name, self.rng.randint(1, 5), now)
        for trial in given:
            if self.rng.random() < drops:
                self.late.append(trial)
                return True
            self.vote(trial, now, "skip" if self.rng.random() < skips else None)
        return bool(given)

    def vote(self, trial: Trial, now: float, choice: str | None = None) -> None:
        if self.desk.voted_on(trial):
            return
        self.seen.append(trial)
        choice = choice or self.rng.choice(self.desk.design.question(trial.question).choices)
        uuid = f"{self.name}{trial.question}{trial.position}"
        self.desk.voted(Vote(uuid, trial.token, choice, 900, 50, 1000, 800, 1.0, "", now))


def run(desk: Desk, robots: list[Robot], drops: float = 0.0, skips: float = 0.0) -> float:
    """Everybody works, in turn and at random, until nobody is given anything."""
    now, rng, idle = 0.0, random.Random(5), 0
    for _ in range(40_000):
        now += 5
        idle = 0 if rng.choice(robots).turn(now, drops, skips) else idle + 1
        if idle > 3 * len(robots):
            if all(not robot.turn(now + LEASE_S + 1, 0, skips) for robot in robots):
                return now
            now, idle = now + LEASE_S + 1, 0
    raise AssertionError("the study does not end")


def counted(robots: list[Robot], desk: Desk) -> Counter[tuple[str, int]]:
    return Counter((t.question, t.pair) for robot in robots for t in robot.seen if t.kind == "vote")


def test_images_meet_on_prompt_and_seed():
    here = {"a": [1, 2], "b": [1], "c": [7]}
    there = {"a": [2, 3], "b": [1], "d": [1]}
    found, missing = pairs_of(pictures(here, there), 2, PLAIN, seed=1)
    assert {(pair.text, pair.seed) for pair in found} == {("a", 2), ("b", 1)}
    assert [(m.only_a, m.only_b) for m in missing] == [(2, 2)]
    by_text = {pair.text: pair for pair in found}
    assert by_text["a"].image_a == 1  # the second of the first model's images
    assert by_text["a"].image_b == 4


def test_images_meet_by_number_where_seeds_mean_nothing():
    here, there = {"a": [11, 12]}, {"a": [93, 94]}
    assert pairs_of(pictures(here, there), 2, PLAIN, 1)[0] == []
    found, _ = pairs_of(pictures(here, there), 2, replace(PLAIN, match="number"), 1)
    assert [(pair.image_a, pair.image_b) for pair in found] == [(0, 2), (1, 3)]


def test_every_pair_of_models_or_the_first_with_each():
    models = [{"a": [0]}] * 4
    assert len(pairs_of(pictures(*models), 4, PLAIN, 0)[0]) == 6
    found, missing = pairs_of(pictures(*models), 4, replace(PLAIN, pairing="first"), 0)
    assert [(pair.a, pair.b) for pair in found] == [(0, 1), (0, 2), (0, 3)]
    assert len(missing) == 3


def test_prompts_and_seeds_are_drawn_by_the_seed():
    model = {f"p{n}": [0, 1, 2] for n in range(50)}
    few = replace(PLAIN, prompts=10, seeds=2, overlap=0.5)
    found, _ = pairs_of(pictures(model, model), 2, few, seed=3)
    assert len(found) == 20
    assert found == pairs_of(reversed(pictures(model, model)), 2, few, seed=3)[0]
    assert {pair.text for pair in found} != {
        pair.text for pair in pairs_of(pictures(model, model), 2, few, seed=4)[0]
    }
    assert {pair.votes for pair in found} == {3, 4}


@given(st.integers(0, 2**31), st.integers(0, 10_000), st.integers(0, 10))
@settings(max_examples=50, deadline=None)
def test_sides_take_turns_within_a_pair(seed: int, pair: int, slot: int):
    assert left_is_a(seed, pair, "quality", slot) != left_is_a(seed, pair, "quality", slot + 1)


def test_sides_are_balanced_across_pairs():
    left = sum(left_is_a(1, pair, "quality", 0) for pair in range(4000))
    assert 1880 < left < 2120
    assert any(left_is_a(1, p, "quality", 0) != left_is_a(1, p, "alignment", 0) for p in range(9))


def test_every_pair_gets_its_votes_of_different_people():
    desk = Desk(replace(PLAIN, extra_votes=0), pairs(200), 1, "salt")
    robots = [Robot(desk, f"r{n}", n) for n in range(8)]
    run(desk, robots)
    assert counted(robots, desk) == {("quality", pair): 3 for pair in range(200)}
    for robot in robots:
        assert len({trial.pair for trial in robot.seen}) == len(robot.seen)


def test_people_who_go_away_strand_nothing_and_lose_nothing():
    desk = Desk(replace(BOTH, extra_votes=0), pairs(120), 2, "salt")
    robots = [Robot(desk, f"r{n}", n) for n in range(8)]
    run(desk, robots, drops=0.2)
    votes = counted(robots, desk)
    assert votes == {(q, pair): 3 for pair in range(120) for q in ("quality", "alignment")}
    late = sum(len(robot.late) for robot in robots)
    assert late > 50
    for robot in robots:
        for trial in robot.late:
            robot.vote(trial, 1e9)
    more = counted(robots, desk)
    assert sum(more.values()) >= sum(votes.values())
    everything = Counter((r.name, t.question, t.pair, t.kind) for r in robots for t in r.seen if not t.known)
    assert set(everything.values()) == {1}


def test_a_skipped_pair_is_given_to_another_and_never_again():
    desk = Desk(replace(PLAIN, extra_votes=0), pairs(60), 3, "salt")
    robots = [Robot(desk, f"r{n}", n) for n in range(6)]
    run(desk, robots, skips=0.1)
    shown = counted(robots, desk)
    assert sum(shown.values()) > 180
    assert desk.totals()["quality"]["votes"] == 180
    for robot in robots:
        assert len({trial.pair for trial in robot.seen}) == len(robot.seen)


def test_one_more_place_opens_where_no_answer_leads():
    desk = Desk(replace(PLAIN, extra_votes=2), pairs(1), 1, "salt")
    for n, choice in enumerate(("left", "both", "none")):
        [trial], _ = desk.next(f"r{n}", 1, 0)
        want = choice if choice != "left" else ("left" if trial.left_is_a else "right")
        desk.voted(Vote(f"u{n}", trial.token, want, 0, 0, 0, 0, 1, "", 0))
    [fourth], _ = desk.next("r3", 1, 0)
    desk.voted(Vote("u3", fourth.token, "both", 0, 0, 0, 0, 1, "", 0))
    assert desk.next("r4", 1, 0) == ([], [])
    assert desk.totals()["quality"] == {"votes": 4, "wanted": 4}


def test_what_a_person_sees_keeps_the_rules():
    desk = Desk(replace(BOTH, gold=0.1, retest=0.1, apart=10), pairs(300, per_prompt=2), 4, "salt")
    robots = [Robot(desk, f"r{n}", n) for n in range(4)]
    run(desk, robots)
    kinds: Counter[str] = Counter()
    for robot in robots:
        by_question: dict[str, list[Trial]] = defaultdict(list)
        for trial in robot.seen:
            by_question[trial.question].append(trial)
            kinds[trial.kind] += 1
        read: set[int] = set()
        for trial in robot.seen:
            if trial.question == "alignment":
                read.add(trial.pair // 2)
            else:
                assert trial.pair // 2 not in read
        for trials in by_question.values():
            assert [t.kind for t in trials[:2]] == ["practice", "practice"]
            first = {t.pair: t for t in trials if t.kind == "vote"}
            for trial in (t for t in trials if t.kind == "retest"):
                assert trial.left_is_a != first[trial.pair].left_is_a
                assert trial.position - first[trial.pair].position >= RETEST_AFTER
        early = robot.seen[:120]
        near = [
            (one.pair // 2, other.pair // 2)
            for at, one in enumerate(early)
            for other in early[at + 1 : at + 11]
            if one.kind == other.kind == "vote"
        ]
        assert all(one != other for one, other in near)
    total = sum(kinds.values())
    assert 0.06 < kinds["gold"] / total < 0.15
    assert 0.04 < kinds["retest"] / total < 0.15


def test_people_see_different_orders():
    desk = Desk(PLAIN, pairs(100), 1, "salt")
    orders = [[t.pair for t in desk.next(f"r{n}", 20, 0)[0]] for n in range(2)]
    assert orders[0] != orders[1]


def test_a_reload_shows_the_same_trials():
    desk = Desk(PLAIN, pairs(50), 1, "salt")
    first, new = desk.next("ana", 4, 0)
    again, none = desk.next("ana", 4, 10)
    assert [replace(t, expires_at=0) for t in first] == [replace(t, expires_at=0) for t in again]
    assert (len(new), none) == (4, [])
    assert again[0].expires_at == 10 + LEASE_S


def test_a_new_start_knows_what_was_given_and_answered():
    desk = Desk(BOTH, pairs(80), 6, "salt")
    robots = [Robot(desk, f"r{n}", n) for n in range(3)]
    trials: list[Trial] = []
    votes: list[Vote] = []
    gave, voted = desk.gave, desk.voted
    desk.gave = lambda trial: (trials.append(trial), gave(trial))[1]  # type: ignore[method-assign]
    desk.voted = lambda vote: (votes.append(vote), voted(vote))[1]  # type: ignore[method-assign]
    for turn in range(40):
        robots[turn % 3].turn(turn, drops=0.1)
    again = Desk(BOTH, pairs(80), 6, "salt")
    again.load(trials, votes)
    assert again.totals() == desk.totals()
    for robot in robots:
        assert again.progress(robot.name) == desk.progress(robot.name)
        ours, theirs = desk.next(robot.name, 8, 1000), again.next(robot.name, 8, 1000)
        assert [t.token for t in ours[0]] == [t.token for t in theirs[0]]


def test_a_person_has_a_limit():
    desk = Desk(replace(PLAIN, per_person=7), pairs(50), 1, "salt")
    robot = Robot(desk, "ana", 0)
    while robot.turn(0):
        pass
    assert len(robot.seen) == 7


def test_swapped_gold_shows_another_prompts_image():
    desk = Desk(replace(BOTH, practice=30), pairs(40), 1, "salt")
    given, _ = desk.next("ana", 30, 0)
    assert {t.other for t in given} == {-1}  # quality: the same image corrupted
    single = Desk(replace(BOTH, questions=(ALIGNMENT,), practice=30), pairs(40), 1, "salt")
    given, _ = single.next("ana", 30, 0)
    assert all(t.other // 2 != t.pair // 2 for t in given)
    assert {t.left_is_a for t in given} == {True, False}
    assert {t.slot for t in given} == {0, 1}


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"questions": ()}, "questions"),
        ({"questions": (ALIGNMENT, QUALITY)}, "hide the prompt"),
        ({"questions": (replace(QUALITY, gold="swapped"),)}, "swapped"),
        ({"questions": (Question("q", "?", True, "corrupted", ("left", "maybe")),)}, "maybe"),
        ({"votes": 0}, "votes=0"),
        ({"gold": 1.5}, "gold=1.5"),
        ({"gold": 0.4, "retest": 0.4}, "half"),
        ({"layout": "stacked"}, "layout"),
    ],
)
def test_designs_that_make_no_sense_are_refused(change: dict[str, object], word: str):
    with pytest.raises(UsageError, match=word):
        check(replace(BOTH, **change))
