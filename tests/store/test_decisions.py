"""Exports of decisions: the same content is the same export, nothing is rewritten, errors say what to do."""

from __future__ import annotations

import datetime as dt
import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from store.decisions import DECISIONS, find_decisions, list_decisions, newest_decisions, write_decisions
from store.errors import MashbillError
from store.store import Store, open_store
from store.versions import find_version

NOW = dt.datetime(2026, 11, 21, 12, 0, 0, 123456, tzinfo=dt.UTC)
PLAIN: dict[str, Any] = dict.fromkeys(DECISIONS.names) | {
    "verdict": "keep",
    "reasons": [],
    "votes_keep": 1,
    "votes_reject": 0,
    "people": ["ana"],
    "events": [1],
    "decided_at": NOW,
}


def decisions(*rows: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist([PLAIN | row for row in rows], DECISIONS)


@pytest.fixture
def store(built: tuple[Path, dict[str, Any]], tmp_path: Path) -> Store:
    shutil.copytree(built[0], tmp_path / "store")
    return open_store(tmp_path / "store")


def about(store: Store, last_event: int = 1) -> dict[str, Any]:
    version = find_version(store, "l-orig")
    kept = version.manifest()["kept"]
    return {"version": version.version, "queue": kept, "votes_required": 1, "last_event": last_event}


def queue(store: Store) -> list[str]:
    samples = find_version(store, "l-orig").samples(["sample_id", "kept"])
    return [row["sample_id"] for row in samples.to_pylist() if row["kept"]]


def test_an_export_is_found_again_in_order_and_knows_its_coverage(store: Store) -> None:
    ids = queue(store)
    rows = [{"sample_id": key, "events": [n]} for n, key in enumerate(reversed(ids[:6]))]
    rows[0] |= {"verdict": "reject", "reasons": ["hands", "text"]}
    rows[1] |= {"verdict": None, "caption": "two words"}
    gone = {"sample_id": "f" * 24}
    written = write_decisions(store, "l-orig", decisions(*rows, gone), about(store))
    found = find_decisions(store, "l_orig")
    assert found == written
    assert len(found.export) == 16
    table = found.table()
    assert table.schema == DECISIONS
    assert table["sample_id"].to_pylist() == sorted([*ids[:6], "f" * 24])
    assert found.coverage == 5 / len(ids)  # neither words alone nor a sample that is not there
    assert found.about()["decided"] == 5
    assert find_decisions(store, "l-orig", found.export[:4]) == found


def test_the_same_decisions_are_the_same_export_and_no_export_is_rewritten(store: Store) -> None:
    ids = queue(store)
    rows = [{"sample_id": key} for key in ids[:4]]
    first = write_decisions(store, "l-orig", decisions(*rows), about(store))
    files = sorted(Path(first.location.path).glob("*"))
    before = {file: file.stat().st_mtime_ns for file in files if file.name != "newest.json"}
    other = write_decisions(store, "l-orig", decisions(*rows[:2]), about(store, 7))
    assert find_decisions(store, "l-orig") == other != first
    again = write_decisions(store, "l-orig", decisions(*reversed(rows)), about(store, 9))
    assert again == first == find_decisions(store, "l-orig")
    assert first.about()["last_event"] == 1
    assert {file: file.stat().st_mtime_ns for file in before} == before
    assert list_decisions(store, "l-orig") == sorted([first.export, other.export])
    more = write_decisions(store, "l-orig", decisions(*rows), about(store) | {"queue": 99})
    assert more.export != first.export  # another queue: another coverage


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"verdict": "maybe"}, "a verdict of keep, reject or null"),
        ({"reasons": ["Bad Hands"]}, "expected reasons like"),
        ({"reasons": ["../x"]}, "expected reasons like"),
        ({"reasons": [None]}, "expected reasons like"),
        ({"caption": " \n"}, "words or null"),
        ({"crop_left": 0}, "all four edges"),
        ({"crop_left": 5, "crop_top": 0, "crop_right": 5, "crop_bottom": 9}, "0 <= left < right"),
        ({"crop_left": -1, "crop_top": 0, "crop_right": 5, "crop_bottom": 9}, "0 <= left < right"),
        ({"votes_keep": -1}, "votes of 0 or more"),
        ({"votes_reject": None}, "votes of 0 or more"),
        ({"sample_id": None}, "null values"),
    ],
)
def test_what_is_no_decision_is_refused_whole(store: Store, row: dict[str, Any], problem: str) -> None:
    with pytest.raises(MashbillError, match=problem):
        write_decisions(
            store, "l-orig", decisions({"sample_id": "a"}, {"sample_id": "b"} | row), about(store)
        )
    assert newest_decisions(store, "l-orig") is None
    assert not (store.root / "decisions").exists()


def test_other_tables_and_versions_are_refused(store: Store) -> None:
    twice = decisions({"sample_id": "a"}, {"sample_id": "a"})
    with pytest.raises(MashbillError, match="one row for each sample"):
        write_decisions(store, "l-orig", twice, about(store))
    with pytest.raises(MashbillError, match="expected"):
        write_decisions(store, "l-orig", pa.table({"sample_id": ["a"]}), about(store))
    with pytest.raises(MashbillError, match="last_event"):
        write_decisions(store, "l-orig", decisions(), {"version": "x"})
    with pytest.raises(MashbillError, match="is not one of the versions"):
        write_decisions(store, "l-orig", decisions(), about(store) | {"version": "0000"})


def test_errors_say_what_there_is_and_how_to_make_some(store: Store) -> None:
    with pytest.raises(MashbillError, match=r"nothing yet\. Make some: mashbill curate l-orig"):
        find_decisions(store, "l-orig")
    made = write_decisions(store, "l-orig", decisions(), about(store))
    with pytest.raises(MashbillError, match=r"decisions on: l-orig\. Make some: mashbill curate synt"):
        find_decisions(store, "synt")
    with pytest.raises(MashbillError, match=f"'0000' is not one of .*{made.export}"):
        find_decisions(store, "l-orig", "0000")
    with pytest.raises(MashbillError, match="nobody has decided"):
        find_decisions(store, "../datasets")
    Path(made.location.path, f"{made.export}.json").unlink()
    with pytest.raises(MashbillError, match="Export again: mashbill curate l-orig"):
        find_decisions(store, "l-orig")


@pytest.mark.parametrize("damage", ["cut", "changed", "gone"])
def test_a_damaged_export_says_how_to_have_it_again(store: Store, damage: str) -> None:
    rows = decisions({"sample_id": queue(store)[0]})
    found = write_decisions(store, "l-orig", rows, about(store))
    file = Path(found.location.path) / f"{found.export}.parquet"
    whole = file.read_bytes()
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(whole[:200] if damage == "cut" else whole.replace(b"keep", b"kept"))
    with pytest.raises(MashbillError, match=r"is not as it was exported.* remove this file"):
        found.table()
    file.unlink(missing_ok=True)
    file.with_suffix(".json").unlink()
    assert write_decisions(store, "l-orig", rows, about(store)) == found
    assert file.read_bytes() == whole


def test_what_a_killed_export_leaves_is_no_export(store: Store) -> None:
    rows = decisions({"sample_id": "a"})
    made = write_decisions(store, "l-orig", rows, about(store))
    folder = Path(made.location.path)
    (folder / f"{made.export}.json").unlink()
    (folder / "newest.json").unlink()
    (folder / f"{made.export}.parquet").write_bytes(b"half")
    assert newest_decisions(store, "l-orig") is None
    assert write_decisions(store, "l-orig", rows, about(store)) == made
    assert made.table().equals(rows)


EDGE = st.integers(0, 2**31 - 2)
CROPS = st.tuples(EDGE, EDGE, EDGE, EDGE).filter(lambda box: box[0] != box[2] and box[1] != box[3])
TEXT = st.text(st.characters(codec="utf-8"), min_size=1).filter(lambda text: text.strip())
ROWS = st.fixed_dictionaries(
    {
        "verdict": st.sampled_from(["keep", "reject", None]),
        "reasons": st.lists(st.from_regex(r"[a-z0-9][a-z0-9_]{0,39}", fullmatch=True), max_size=3),
        "caption": st.none() | TEXT,
        "crop": st.none() | CROPS,
        "votes_keep": st.integers(0, 9),
        "votes_reject": st.integers(0, 9),
        "people": st.lists(TEXT, max_size=3),
        "events": st.lists(st.integers(0, 2**62), max_size=3),
        "decided_at": st.none()
        | st.datetimes(dt.datetime(1971, 1, 1), dt.datetime(2200, 1, 1), timezones=st.just(dt.UTC)),
    }
)


@pytest.fixture(scope="module")
def shared_store(built: tuple[Path, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("exports") / "store"
    shutil.copytree(built[0], folder)
    return open_store(folder)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(found=st.dictionaries(st.from_regex(r"[0-9a-f]{24}", fullmatch=True), ROWS, max_size=8))
def test_any_decisions_come_back_as_they_were_written(shared_store: Store, found: dict[str, Any]) -> None:
    rows = []
    for key, row in found.items():
        box = row.pop("crop")
        edges = (
            (min(box[0], box[2]), min(box[1], box[3]), max(box[0], box[2]), max(box[1], box[3]))
            if box
            else ()
        )
        named = zip(("crop_left", "crop_top", "crop_right", "crop_bottom"), edges, strict=False)
        rows.append(dict.fromkeys(DECISIONS.names) | row | dict(named) | {"sample_id": key})
    table = pa.Table.from_pylist(rows, DECISIONS)
    written = write_decisions(shared_store, "l-orig", table, about(shared_store))
    back = pa.Table.from_pylist(rows[::-1], DECISIONS)
    again = write_decisions(shared_store, "l-orig", back, about(shared_store))
    assert again == written
    expected = sorted(rows, key=lambda row: str(row["sample_id"]))
    assert find_decisions(shared_store, "l-orig").table().to_pylist() == expected
    marks = json.loads((Path(written.location.path) / "newest.json").read_text())
    assert marks == {"export": written.export}
