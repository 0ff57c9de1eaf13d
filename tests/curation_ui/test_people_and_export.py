"""Numbers about the queue and its people, decisions as a table, and the command that serves it all."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from curation_ui.exporting import Exporter, decision
from curation_ui.overview import all_states
from curation_ui.states import State, Vote
from store.decisions import find_decisions

ROOT = Path(__file__).parents[2]


def test_the_overview_adds_up(served: Any) -> None:
    owner, ana, ben = served.owner(), served.person("annotator", "Ana"), served.person("annotator", "Ben")
    ana.get("/api/queue?n=4")
    for item in range(10):
        ana.event(item, "keep" if item < 6 else "reject", reasons=[] if item < 6 else ["hands"])
        served.clock.now += 2
    for item in range(4):
        ben.event(item, "keep" if item else "reject")
    owner.event(0, "caption", caption="other words")
    owner.event(1, "crop", crop=[1, 2, 30, 40])
    found = owner.get("/api/overview")
    assert (found["items"], found["decided"], found["kept"], found["rejected"]) == (40, 10, 6, 4)
    assert (found["second_opinions"], found["open_leases"], found["coverage"]) == (4, 0, 0.25)
    assert (found["captions_changed"], found["crops_changed"]) == (1, 1)
    assert (found["reasons"], found["disagreed"]) == ({"hands": 4}, [0])
    assert sum(hour["decided"] for hour in found["per_hour"]) == 14
    people = {line["name"]: line for line in found["people"]}
    assert (people["Ana"]["decided"], people["Ana"]["keep_share"]) == (10, 0.6)
    assert (people["Ana"]["agreement"], people["Ana"]["votes_compared"]) == (0.75, 4)
    assert people["Ben"]["agreement"] == 0.75
    assert people["Owner"]["agreement"] is None
    assert 0 < people["Ana"]["per_hour"] <= 3600
    assert {line["role"] for line in owner.get("/api/people")["people"]} == {"admin", "annotator"}


def test_decisions_come_out_as_a_table(served: Any, hats: Any) -> None:
    owner, ana = served.owner(), served.person("annotator", "Ana")
    ana.event(0, "reject", reasons=["hands", "blur"])
    ana.event(1, "keep")
    owner.event(0, "keep", base=0)
    owner.event(2, "caption", caption="other words")
    owner.event(3, "crop", crop=[1, 2, 30, 40])
    ana.event(4, "keep")
    ana.post("/api/undo", {"uuid": "undo-0001"})
    told = owner.post("/api/export", {})
    found = find_decisions(hats[0], "hats")
    assert (found.export, told["coverage"]) == (told["export"], 2 / 40)
    rows = {row["sample_id"]: row for row in found.table().to_pylist()}
    assert len(rows) == 4
    first, second, third, fourth = (rows[served.review.catalog.sample_id(item)] for item in range(4))
    assert (first["verdict"], first["reasons"]) == ("reject", ["hands", "blur"])
    assert (first["votes_keep"], first["votes_reject"], first["people"]) == (0, 1, ["Owner", "Ana"])
    assert (second["verdict"], second["votes_keep"]) == ("keep", 1)
    assert (third["verdict"], third["caption"]) == (None, "other words")
    assert [fourth[f"crop_{side}"] for side in ("left", "top", "right", "bottom")] == [1, 2, 30, 40]
    assert all(row["events"] for row in rows.values())
    assert owner.post("/api/export", {}) == told, "the same decisions are the same export"


def test_opinions_beside_the_votes_make_no_tie_and_hide_none(served: Any) -> None:
    """``curated`` tells ``tied`` from ``undecided`` by the votes."""
    owner, ana, ben = served.owner(), served.person("annotator"), served.person("annotator")
    ana.event(0, "keep")
    ben.event(0, "reject")
    owner.event(0, "keep", base=1)
    owner.event(0, "unset", base=2)
    states = served.review.database.submit_read(all_states).result(30)
    row = decision("a", states[served.review.catalog.sample_id(0)], 1, {1: "Owner", 2: "Ana", 3: "Ben"})
    assert (row["verdict"], row["votes_keep"], row["votes_reject"]) == (None, 0, 0), "no votes: undecided"
    vote = Vote(1, "keep", (), 1, 0)
    other, third = Vote(2, "reject", (), 2, 1), Vote(3, "keep", (), 3, 0)
    row = decision("a", State(votes=(vote, other), seconds=(third,)), 2, {1: "Owner", 2: "Ana", 3: "Ben"})
    assert (row["verdict"], row["votes_keep"], row["votes_reject"]) == (None, 1, 1), "tied"


def test_progress_counts_samples_and_not_what_was_undone(served: Any) -> None:
    owner, ana = served.owner(), served.person("annotator", "Ana")
    for number in range(5):
        ana.event(0, "keep")
        ana.post("/api/undo", {"uuid": f"undo-{number:04d}"})
    ana.event(0, "keep")
    ana.event(0, "reject")
    ana.event(1, "keep")
    ana.event(2, "keep")
    ana.event(2, "unset")
    [line] = [line for line in owner.get("/api/people")["people"] if line["name"] == "Ana"]
    assert (line["decided"], line["keep_share"]) == (2, 0.5)
    assert sum(hour["decided"] for hour in owner.get("/api/overview")["per_hour"]) == 4


def test_decisions_carry_over_to_a_later_version(hats: Any, serving: Any) -> None:
    served = serving(hats)
    served.owner().event(7, "keep")
    sample = served.review.catalog.sample_id(7)
    served.review.close()
    again = serving(hats, votes_required=2)
    [item] = again.review.board.items_of([sample])
    assert (item, int(again.review.board.votes[7])) == (7, 1)
    assert again.review.board.left_for(1) == 39, "the owner has voted on that one"


def test_exporting_without_serving(hats: Any, serving: Any, cli: Callable[..., Any]) -> None:
    served = serving(hats)
    served.owner().event(7, "keep")
    Exporter(served.review).export()
    served.review.database.close()
    done = cli("curate", "hats", "--store", hats[0].url, "--export")
    assert (done.code, "1 of 40 decided (2.5%)" in done.out) == (0, True)
    file = Path(done.out.strip().rpartition(": ")[2])
    assert file.exists()


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--host", "0.0.0.0"], 2, "--allow-remote"),
        (["--host", "::"], 2, "--allow-remote"),
        (["--allow-remote", "curate.example.org"], 2, "expected http://HOST"),
        (["--allow-remote", "https://curate.example.org/path"], 2, "expected http://HOST"),
        (["--votes", "0"], 2, "expected 1 to 50"),
        (["--port", "99999"], 2, "expected 0 to 65535"),
        (["--database", "mysql://x"], 2, "expected postgresql://"),
        (["--tokens", "clip"], 2, "expected NAME=FOLDER_OR_ID:LIMIT"),
        (["--reasons", "/nowhere/x"], 2, "cannot be read"),
    ],
)
def test_a_wrong_option_is_refused(hats: Any, cli: Any, options: list[str], code: int, said: str) -> None:
    done = cli("curate", "hats", "--store", hats[0].url, *options)
    assert (done.code, said in done.message) == (code, True), done.message


def test_own_reasons_and_token_counters(hats: Any, serving: Any, tmp_path: Path, cli: Any) -> None:
    from curation_ui.tokens import open_counter

    counter = open_counter("clip=tinyworld/models/clip-text:77")
    served = serving(hats, counters=(counter,), reasons=(("ugly", "Ugly"),))
    owner = served.owner()
    me = owner.get("/api/me")
    assert me["reasons"] == [{"key": "1", "code": "ugly", "label": "Ugly"}]
    assert me["tokens"] == [{"name": "clip", "limit": 77}]
    count = counter.count("a red hat")
    assert 3 <= count <= 12
    assert owner.post("/api/tokens", {"text": "a red hat"}) == {"tokens": {"clip": count}}
    assert owner.event(0, "reject", reasons=["ugly"])["status"] == "done"
    lengths = [counter.count(row) for row in served.review.catalog.rows["caption"].to_pylist()]
    middle = sorted(lengths)[20]
    found = owner.post("/api/snapshots", {"query": f"tokens:>={middle}"})["count"]
    assert found == sum(length >= middle for length in lengths)


def test_a_dataset_that_is_not_there_is_named(hats: Any, cli: Any) -> None:
    done = cli("curate", "caps", "--store", hats[0].url)
    assert (done.code, "there are: hats" in done.message) == (1, True)


HEAVY = (
    "torch",
    "ray",
    "transformers",
    "diffusers",
    "datasets",
    "duckdb",
    "matplotlib",
    "sqlalchemy",
    "psycopg",
)


def test_the_server_starts_without_heavy_packages() -> None:
    code = "import curation_ui.app, curation_ui.serve, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert not set(done.stdout.split()) & set(HEAVY)
