"""What came of a study: numbers for its page, its JSON and its Parquet file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curation_ui.study.agreement import agreement, chance, side_z, with_the_others
from curation_ui.study.design import Design
from curation_ui.study.outcomes import holm, majority_shares, sign_flip, vote_shares
from curation_ui.study.pairs import Pair
from curation_ui.study.stats import (
    BOTH,
    LOSS,
    NONE,
    WIN,
    Integers,
    Votes,
    davidson,
    draws,
    elo,
    interval,
    numbered,
    rate,
    side_coefficient,
)
from curation_ui.study.votes import EXPORT, Trial, Vote

RESAMPLES = 1000
SIDE_RESAMPLES = 200
CODES = {"both": BOTH, "none": NONE}
PERSON = ["annotator", "kind", "question", "pair", "choice", "left_is_a", "right", "rt_ms"]
"""What a person is judged by."""


def outcome_of(choice: str, left_is_a: bool) -> int:
    """What a choice says of model a."""
    return CODES.get(choice, WIN if (choice == "left") == left_is_a else LOSS)


def votes_of(table: pa.Table, models: Sequence[str], question: str, kind: str = "vote") -> Votes:
    """The votes of one question in a table of ``EXPORT``; what was skipped is none."""
    field = pc.field
    rows = table.filter(
        (field("question") == question) & (field("kind") == kind) & (field("choice") != "skip")
    )
    people = sorted(pc.unique(table["annotator"]).to_pylist())
    left_is_a, choice = rows["left_is_a"].to_numpy().astype(bool), rows["choice"]
    outcome = np.where(pc.equal(choice, "left").to_numpy() == left_is_a, WIN, LOSS)
    for name, code in CODES.items():
        outcome[pc.equal(choice, name).to_numpy().astype(bool)] = code

    def number(column: str, names: Sequence[str]) -> Integers:
        return _whole(pc.index_in(rows[column], pa.array(names, pa.string())))

    return Votes(
        tuple(models),
        _whole(rows["prompt"]),
        _whole(rows["pair"]),
        number("model_a", models),
        number("model_b", models),
        outcome.astype(np.int64),
        left_is_a,
        number("annotator", people),
    )


def _whole(column: pa.ChunkedArray) -> Integers:
    return np.array(column.to_numpy(), np.int64)


def export(
    trials: Sequence[Trial], votes: Sequence[Vote], pairs: Sequence[Pair], models: Sequence[str]
) -> pa.Table:
    """Every vote as a row of ``EXPORT``; nobody is excluded yet."""
    by_token = {trial.token: trial for trial in trials}
    rows = []
    for number, vote in enumerate(votes, 1):
        trial = by_token[vote.trial]
        pair = pairs[trial.pair]
        row = asdict(vote) | asdict(trial)
        row |= {"vote": number, "prompt": pair.prompt, "text": pair.text, "seed": pair.seed}
        row |= {"model_a": models[pair.a], "model_b": models[pair.b], "right": trial.right(vote.choice)}
        row |= {name: round(row[name] * 1e6) for name in ("given_at", "server_at")}
        rows.append({name: row.get(name) for name in EXPORT.names})
    return pa.Table.from_pylist(rows, EXPORT)


def annotators(table: pa.Table, design: Design, models: Sequence[str]) -> list[dict[str, Any]]:
    """Of each person what they did and which rules leave them out, by name."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in table.select(PERSON).to_pylist():
        rows.setdefault(row["annotator"], []).append(row)
    names = sorted(rows)
    compared, same, z = np.zeros(len(names)), np.zeros(len(names)), np.zeros((len(names), 0))
    expected: dict[str, float] = {}
    for question in design.questions:
        votes = votes_of(table, models, question.name)
        if not len(votes):
            continue
        found = with_the_others(votes)
        compared[: len(found[0])] += found[0]
        same[: len(found[1])] += found[1]
        own = np.zeros(len(names))
        own[: len(side_z(votes))] = side_z(votes)
        z = np.column_stack([z, own])
        expected[question.name] = chance(votes.outcome)
    people = []
    for index, name in enumerate(names):
        person = _person(name, rows[name], design, expected)
        person["compared"] = int(compared[index])
        person["agreement"] = float(same[index] / compared[index]) if compared[index] else None
        person["side_z"] = float(max(z[index], key=abs, default=0.0))
        person["excluded"] = _rules(person, design)
        people.append(person)
    return people


def _person(
    name: str, rows: list[dict[str, Any]], design: Design, expected: dict[str, float]
) -> dict[str, Any]:
    votes = [row for row in rows if row["kind"] == "vote" and row["choice"] != "skip"]
    gold = [row["right"] for row in rows if row["kind"] == "gold" and row["right"] is not None]
    first = {(row["question"], row["pair"]): row for row in votes}
    again = [
        (row, first[row["question"], row["pair"]])
        for row in rows
        if row["kind"] == "retest" and row["choice"] != "skip" and (row["question"], row["pair"]) in first
    ]
    same = [_said(row) == _said(before) for row, before in again]
    return {
        "annotator": name,
        "votes": len(votes),
        "skipped": sum(row["choice"] == "skip" for row in rows),
        "gold": len(gold),
        "gold_right": sum(gold),
        "retests": len(same),
        "retests_same": sum(same),
        "retest_chance": float(np.mean([expected.get(row["question"], 0.0) for row, _ in again]))
        if again
        else None,
        "fast": sum(row["rt_ms"] < design.exclude.fast_ms for row in votes),
        "median_rt_ms": float(np.median([row["rt_ms"] for row in votes])) if votes else None,
    }


def _said(row: dict[str, Any]) -> int:
    return outcome_of(row["choice"], row["left_is_a"])


def _rules(person: dict[str, Any], design: Design) -> list[str]:
    """The rules that leave a person out: gold, retest, side."""
    rule, found = design.exclude, []
    if person["gold"] >= rule.gold_at_least and person["gold_right"] < rule.gold_accuracy * person["gold"]:
        found.append("gold")
    if (
        person["retests"] >= rule.gold_at_least
        and person["retests_same"] < person["retest_chance"] * person["retests"]
    ):
        found.append("retest")
    if abs(person["side_z"]) > rule.side_z:
        found.append("side")
    return found


def account(votes: Votes, seed: int) -> dict[str, Any] | None:
    """All that is said of one question's votes; None without any."""
    if not len(votes):
        return None
    used = sorted({*votes.a.tolist(), *votes.b.tolist()})
    met = sorted({tuple(sorted(pair)) for pair in zip(votes.a.tolist(), votes.b.tolist(), strict=True)})
    comparisons = [_comparison(votes, i, j, seed) for i, j in met]
    for entry, p in zip(comparisons, holm(np.array([c["p"] for c in comparisons])), strict=True):
        entry["p_holm"] = float(p)
    return {
        "votes": len(votes),
        "prompts": len(set(votes.prompt.tolist())),
        "pairs": len(set(votes.pair.tolist())),
        "annotators": len(set(votes.annotator.tolist())),
        "comparisons": comparisons,
        "ratings": _ratings(votes, used, seed),
        "agreement": asdict(agreement(votes, RESAMPLES, seed)),
        "side": _side(votes, seed),
    }


def _comparison(votes: Votes, i: int, j: int, seed: int) -> dict[str, Any]:
    own = votes.between(i, j)
    return {
        "a": votes.models[i],
        "b": votes.models[j],
        "by_vote": asdict(vote_shares(own, RESAMPLES, seed)),
        "by_majority": asdict(majority_shares(own, RESAMPLES, seed)),
        "p": sign_flip(own, seed=seed),
    }


def _ratings(votes: Votes, used: list[int], seed: int) -> dict[str, Any]:
    """Ratings of the models that were voted on, and how they change under other readings of a tie."""
    number = {model: index for index, model in enumerate(used)}
    few = Votes(
        tuple(votes.models[model] for model in used),
        votes.prompt,
        votes.pair,
        np.array([number[int(model)] for model in votes.a]),
        np.array([number[int(model)] for model in votes.b]),
        votes.outcome,
        votes.left_is_a,
        votes.annotator,
    )
    found, wide = rate(few, RESAMPLES, seed), rate(few, RESAMPLES, seed, two_way=True)
    logits, nu = davidson(few)
    some = few.where(few.outcome != NONE)
    without = rate(some, 2, seed).elo.tolist() if len(some) else None
    return {
        "models": list(few.models),
        "elo": found.elo.tolist(),
        "low": found.low.tolist(),
        "high": found.high.tolist(),
        "low_two_way": wide.low.tolist(),
        "high_two_way": wide.high.tolist(),
        "rank_low": found.rank_low.tolist(),
        "rank_high": found.rank_high.tolist(),
        "unbounded": found.unbounded,
        "elo_davidson": elo(logits).tolist(),
        "ties_davidson": nu,
        "elo_without_none": without,
    }


def _side(votes: Votes, seed: int) -> dict[str, Any]:
    """How often the left was chosen, and the side coefficient with its prompt-clustered interval."""
    votes = numbered(votes)
    chosen = votes.outcome <= LOSS
    left = (votes.outcome == WIN) == votes.left_is_a
    prompts = int(votes.prompt.max()) + 1
    weights = draws(prompts, SIDE_RESAMPLES, np.random.default_rng(seed))
    again = np.array([side_coefficient(votes, row[votes.prompt]) for row in weights])
    low, high = interval(again)
    return {
        "left": int((chosen & left).sum()),
        "right": int((chosen & ~left).sum()),
        "coefficient": side_coefficient(votes),
        "low": float(low),
        "high": float(high),
    }


def results(record: dict[str, Any], design: Design, table: pa.Table) -> tuple[dict[str, Any], pa.Table]:
    """Everything that is told of a study, and its votes with ``excluded`` filled in."""
    models = [model["label"] for model in record["models"]]
    people = annotators(table, design, models)
    rules = {person["annotator"]: ",".join(person["excluded"]) or None for person in people}
    said = pa.array([rules[name] for name in table["annotator"].to_pylist()], pa.string())
    table = table.set_column(EXPORT.names.index("excluded"), "excluded", said)
    kept = table.filter(pc.is_null(table["excluded"]))
    questions = []
    for question in design.questions:
        entry: dict[str, Any] = {"name": question.name, "text": question.text}
        entry |= {"shows_prompt": question.shows_prompt, "choices": list(question.choices)}
        every, some = (votes_of(part, models, question.name) for part in (table, kept))
        entry["all"] = account(every, record["seed"])
        same = len(some) == len(every)  # nobody who answered it is left out
        entry["without_excluded"] = entry["all"] if same else account(some, record["seed"])
        questions.append(entry)
    kinds = Counter(table["kind"].to_pylist())
    found = {name: record[name] for name in ("name", "digest", "seed", "models", "prompts", "pairs")}
    found |= {"broken": record["broken"], "missing": record["missing"], "design": record["design"]}
    found |= {"kinds": dict(kinds), "questions": questions, "annotators": people}
    return found, table
