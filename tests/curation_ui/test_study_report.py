"""The account of a study: known votes, known answers, exclusions, and a page that needs nothing else."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from curation_ui.study.design import Design, Study
from curation_ui.study.pairs import Pair
from curation_ui.study.report import axis, page, write_report
from curation_ui.study.results import annotators, export, results
from curation_ui.study.server import StudySettings, open_study
from curation_ui.study.votes import EXPORT, Trial, Vote, write_trial, write_vote
from store.digest import settings
from store.errors import MashbillError
from tests.curation_ui.study_fixture import make, small, write_models

MODELS = ["good", "plain", "<img src=x onerror=alert(1)>"]


def simulated(design: Design, prompts: int = 40, people: int = 6, seed: int = 0):
    """Votes by people of whom the first chooses the left always and the second fails every known answer."""
    rng = np.random.default_rng(seed)
    pairs = [
        Pair(i, i // 3, f"prompt {i // 3}", 0, a, b, 0, 1, 3)
        for i, (a, b) in enumerate([(0, 1), (0, 2), (1, 2)] * prompts)
    ]
    trials, votes = [], []
    strength = (0.8, 0.0, -0.8)
    for question in design.questions:
        for person in range(people):
            for position, pair in enumerate(pairs):
                kind = "gold" if position % 12 == 0 else "vote"
                left = bool(rng.random() < 0.5)
                token = f"{question.name}-{person}-{position}"
                trials.append(
                    Trial(token, f"p{person}", question.name, position, kind, pair.index, -1, 0, left, 0, 9)
                )
                p = 1 / (1 + np.exp(strength[pair.b] - strength[pair.a]))
                choice = "left" if (rng.random() < p) == left else "right"
                choice = str(rng.choice([choice, "both", "none"], p=[0.8, 0.15, 0.05]))
                if person == 0:
                    choice = "left"
                elif kind == "gold":
                    choice = "left" if left == (person != 1) else "right"
                rt = 300 if person == 2 else 2000
                votes.append(Vote(f"u{token}", token, choice, rt, 50, 800, 600, 1.0, "", 10.0))
    return pairs, trials, votes


def accounted(design: Design):
    """``results`` of simulated votes."""
    pairs, trials, votes = simulated(design)
    record = {
        "name": "duel",
        "digest": "0123456789ab",
        "seed": 3,
        "models": [{"label": label} for label in MODELS],
        "prompts": 40,
        "pairs": 120,
        "broken": 1,
        "missing": [{"a": 0, "b": 1, "only_a": 2, "only_b": 0}],
        "design": json.loads(json.dumps(settings(design))),
    }
    return results(record, design, export(trials, votes, pairs, MODELS))


def results_of(design: Design) -> dict[str, Any]:
    return accounted(design)[0]


@pytest.fixture(scope="module")
def found():
    return accounted(small(gold=0.05, retest=0.05))


def test_ratings_follow_the_truth(found):
    for question in found[0]["questions"]:
        ratings = question["without_excluded"]["ratings"]
        assert ratings["elo"][0] > ratings["elo"][1] > ratings["elo"][2]
        assert ratings["rank_low"] == [1, 2, 3] == ratings["rank_high"]
        for low, elo, high in zip(ratings["low"], ratings["elo"], ratings["high"], strict=True):
            assert low < elo < high
        spread = np.array(ratings["elo_davidson"]) - ratings["elo"]
        assert abs(spread).max() < 150


def test_people_are_left_out_by_the_rules_and_told_why(found):
    people = {person["annotator"]: person for person in found[0]["annotators"]}
    assert people["p0"]["excluded"] == ["gold", "side"]
    assert people["p1"]["excluded"] == ["gold"]
    assert people["p1"]["gold_right"] == 0
    assert people["p3"]["excluded"] == []
    assert people["p2"]["fast"] == people["p2"]["votes"]
    for question in found[0]["questions"]:
        assert question["all"]["annotators"] == 6
        assert question["without_excluded"]["annotators"] == 4
        assert question["all"]["side"]["coefficient"] > question["without_excluded"]["side"]["coefficient"]
        assert question["all"]["side"]["low"] > 0


def test_every_vote_is_in_the_table(found):
    table = found[1]
    assert table.schema == EXPORT
    assert table.num_rows == 6 * 120 * 2
    assert set(table.filter(np.array(table["annotator"]) == "p0")["excluded"].to_pylist()) == {"gold,side"}
    gold = table.filter(np.array(table["kind"]) == "gold")
    assert gold["right"].null_count == 0
    assert sum(q["all"]["votes"] for q in found[0]["questions"]) == table.num_rows - gold.num_rows


def test_shares_by_vote_and_by_majority(found):
    for question in found[0]["questions"]:
        for c in question["all"]["comparisons"]:
            for shares in (c["by_vote"], c["by_majority"]):
                parts = [shares[n] for n in ("win", "loss", "both", "none", "no_majority")]
                assert sum(parts) == pytest.approx(1)
                assert shares["low"] <= shares["rate"] <= shares["high"]
            assert c["by_vote"]["no_majority"] == 0
            assert c["p"] <= c["p_holm"]


def test_a_retest_that_says_the_opposite_counts_against_a_person():
    design = small(questions=small().questions[:1])
    pairs, trials, votes = simulated(design, people=2)
    kept = [t for t in trials if t.annotator == "p1" and t.kind == "vote"][:20]
    for n, trial in enumerate(kept):
        token = f"again{n}"
        choice = next(v.choice for v in votes if v.trial == trial.token)
        trials.append(replace(trial, token=token, kind="retest", left_is_a=not trial.left_is_a))
        votes.append(Vote(f"u{token}", token, choice, 900, 50, 1, 1, 1.0, "", 1.0))
    people = annotators(export(trials, votes, pairs, MODELS), design, MODELS)
    by_name = {person["annotator"]: person for person in people}
    assert by_name["p1"]["retests"] == 20
    assert by_name["p1"]["retests_same"] < 10  # only ties are the same on both sides
    assert "retest" in by_name["p1"]["excluded"]


def test_the_page_is_whole_and_hostile_labels_are_text(found):
    text = page(found[0] | {"made_at": 0.0})
    assert "<img src=x" not in text
    assert "&lt;img src=x" in text
    assert not re.search(r"(src|href)=[\"']?(http|//)", text)
    assert "<script" not in text
    assert "2 and 0 images had no counterpart" in text
    assert text.count("<h3>Without those whom the rules leave out") == 2


def test_axis_places_best_first():
    found = axis(
        {
            "models": ["a", "b"],
            "elo": [990.0, 1010.0],
            "low": [980.0, 1000.0],
            "high": [1000.0, 1020.0],
            "rank_low": [1, 1],
            "rank_high": [2, 1],
        }
    )
    assert [whisker.label for whisker in found.whiskers] == ["b", "a"]
    assert [whisker.rank for whisker in found.whiskers] == ["1", "1–2"]
    assert all(0 <= w.low < w.at < w.high <= 100 for w in found.whiskers)
    assert [tick for _, tick in found.ticks] == [980, 990, 1000, 1010, 1020]


def voted(study: Study) -> None:
    server = open_study(StudySettings(study))
    trials, new = server.desk.next("someone", 4, 0.0)

    def write(connection):
        for number, trial in enumerate(new, 1):
            write_trial(connection, trial)
            vote = Vote(f"u{number}", trial.token, "left", 900, 40, 9, 9, 1.0, "", 5.0)
            write_vote(connection, number, vote)

    server.database.submit(write).result()
    server.close()
    assert len(trials) == 4


def test_files_of_a_report(tmp_path: Path):
    study = make(tmp_path, small(), write_models(tmp_path))
    with pytest.raises(MashbillError, match="nobody has voted"):
        write_report(study)
    voted(study)
    result, files = write_report(study)
    html, plain, parquet = map(Path, files)
    assert "study-of" in html.read_text()
    assert json.loads(plain.read_text()) == json.loads(json.dumps(result))
    table = pq.read_table(parquet)
    assert table.num_rows == 4
    assert table["question"].to_pylist() == ["quality"] * 4
    assert table.schema.field("server_at").type == EXPORT.field("server_at").type
    assert "NaN" not in plain.read_text()
