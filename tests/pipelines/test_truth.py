"""Measured precision and recall, on tables whose right answer is counted by hand."""

from __future__ import annotations

import itertools
import json
import random
from typing import Any

import pyarrow as pa
import pytest

from pipelines.truth import measure

Row = tuple[str, str | None, str | None, str, str, str | None]
"""sample_id, cluster_id, reason, truth_group, truth_kind, truth_reason."""


def table(rows: list[Row]) -> pa.Table:
    return pa.table(
        {
            "sample_id": [r[0] for r in rows],
            "cluster_id": pa.array([r[1] for r in rows], pa.string()),
            "reason": pa.array([r[2] for r in rows], pa.string()),
            "kept": [r[2] is None for r in rows],
            "width": pa.array([100] * len(rows), pa.int32()),
            "height": pa.array([100] * len(rows), pa.int32()),
            "subject_kept": pa.array([0.5, 1.0] * (len(rows) // 2) + [None] * (len(rows) % 2), pa.float32()),
            "meta": [
                json.dumps({"truth_group": r[3], "truth_kind": r[4], "truth_reason": r[5]}) for r in rows
            ],
        }
    )


ROWS: list[Row] = [
    ("a1", "a1", None, "a", "original", None),
    ("a2", "a1", "duplicate_near", "a", "crop", "duplicate_near"),
    ("a3", "a3", None, "a", "flip", "duplicate_near"),
    ("b1", "b1", None, "b", "original", None),
    ("b2", "b1", "duplicate_exact", "b", "exact", "duplicate_exact"),
    ("c1", "b1", "duplicate_near", "c", "hard_negative", None),
    ("d1", None, "http_404", "d", "http_404", "http_404"),
]


def found() -> dict[str, Any]:
    result = measure(table(ROWS))
    assert result is not None
    return result


def test_pairs() -> None:
    # found: a1a2, b1b2, b1c1, b2c1; true: a1a2, a1a3, a2a3, b1b2
    assert found()["duplicates"] == {
        "samples": 6,
        "pairs_found": 4,
        "pairs_true": 4,
        "pairs_right": 2,
        "precision": 0.5,
        "recall": 0.5,
    }


def test_kinds() -> None:
    kinds = {k["kind"]: (k["found"], k["copies"], k["merged_wrongly"]) for k in found()["kinds"]}
    assert kinds == {"crop": (1, 1, 0), "exact": (1, 1, 0), "flip": (0, 1, 0), "hard_negative": (0, 0, 1)}


def test_reasons_and_pictures() -> None:
    result = found()
    assert result["reasons"]["agreed"] == pytest.approx(5 / 7)
    assert {(d["true"], d["found"], d["count"]) for d in result["reasons"]["disagreements"]} == {
        ("duplicate_near", "kept", 1),
        ("kept", "duplicate_near", 1),
    }
    assert result["pictures"] == {"total": 3, "once": 1, "lost": 1, "more_than_once": 1}
    assert result["crop"] == {
        "samples": 3,
        "mean_kept": pytest.approx(2 / 3),
        "share_whole": pytest.approx(1 / 3),
    }


def test_which_copy_stays_is_nobodys_truth() -> None:
    rows: list[Row] = [
        ("a1", "a1", "duplicate_exact", "a", "original", None),
        ("a2", "a1", None, "a", "exact", "duplicate_exact"),
    ]
    result = measure(table(rows))
    assert result is not None
    assert result["reasons"]["agreed"] == 0
    assert result["reasons"]["agreed_by_picture"] == 1
    assert result["pictures"]["once"] == 1


def test_no_truth_no_measure() -> None:
    rows = table(ROWS).drop_columns(["meta"])
    nulls = pa.nulls(rows.num_rows, pa.string())
    plain = pa.array(['{"other": "truth_group"}'] * rows.num_rows)
    assert measure(rows) is None
    assert measure(rows.append_column("meta", plain)) is None
    assert measure(rows.append_column("meta", nulls)) is None
    assert measure(rows.slice(0, 0)) is None


def test_without_clusters_and_subjects() -> None:
    result = measure(table(ROWS).drop_columns(["cluster_id", "subject_kept"]))
    assert result is not None
    assert result["duplicates"] is None
    assert result["kinds"] == []
    assert result["crop"] is None
    json.dumps(result)


def test_pairs_as_counted_one_by_one_and_in_any_order() -> None:
    rng = random.Random(5)
    rows: list[Row] = []
    for i in range(120):
        cluster = None if rng.random() < 0.1 else f"s{rng.randrange(25):03d}"
        rows.append((f"s{i:03d}", cluster, None, f"g{rng.randrange(30)}", "kind", None))
    clustered = [row for row in rows if row[1] is not None]
    pairs = list(itertools.combinations(clustered, 2))
    right = sum(a[1] == b[1] and a[3] == b[3] for a, b in pairs)
    first = measure(table(rows))
    assert first is not None
    assert first["duplicates"]["pairs_right"] == right
    assert first["duplicates"]["pairs_found"] == sum(a[1] == b[1] for a, b in pairs)
    assert first["duplicates"]["pairs_true"] == sum(a[3] == b[3] for a, b in pairs)
    shuffled = measure(table(rows).take(pa.array(rng.sample(range(len(rows)), len(rows)))))
    assert shuffled is not None
    del first["crop"], shuffled["crop"]  # a sum of floats
    assert first == shuffled
