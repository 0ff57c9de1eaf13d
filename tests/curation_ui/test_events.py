"""Events, states and undo: whatever people do, the events alone say what holds."""

from __future__ import annotations

import sqlite3
import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation_ui.access import Person, Refused
from curation_ui.board import Board
from curation_ui.bodies import NewEvent, Undo
from curation_ui.database import Connection
from curation_ui.events import LATEST_COLUMNS, Outcome, read_events, read_states, record
from curation_ui.schema import SQLITE_TRIGGERS, TABLES
from curation_ui.states import NOTHING, State, fold
from curation_ui.undo import Undone, undo

IDS = [f"{n:024x}" for n in range(3)]
PEOPLE = [Person(1, "Ana", "admin"), Person(2, "Ben", "annotator"), Person(3, "Cy", "curator")]


@dataclass
class Desk:
    """A queue of three items in memory, and three people."""

    votes_required: int = 1
    connection: Connection = field(init=False)
    board: Board = field(init=False)

    def __post_init__(self) -> None:
        self.connection = Connection(sqlite3.connect(":memory:", isolation_level=None), False)
        for statement in (*TABLES, *SQLITE_TRIGGERS):
            self.connection.run(statement)
        for person in PEOPLE:
            self.connection.run(
                "INSERT INTO person (id, name, role, created_at) VALUES (?, ?, ?, 0)",
                (person.id, person.name, person.role),
            )
        self.board = self.new_board()

    def new_board(self) -> Board:
        return Board(np.array(IDS, "S24"), self.votes_required)

    def do(self, person: int, item: int, kind: str, base: int | None = None, **more: Any) -> Outcome:
        """One event by ``PEOPLE[person]``, on the version they would see."""
        seen = self.state(item).version if base is None else base
        new = NewEvent(more.pop("uuid", str(uuid.uuid4())), item, kind, seen, **more)  # type: ignore[arg-type]
        [outcome] = record(self.connection, self.board, PEOPLE[person], [new], 1.0, "ui")
        return outcome

    def undo(self, person: int, name: str = "", undoes: str | None = None) -> Undone:
        asked = Undo(name or str(uuid.uuid4()), undoes)
        return undo(self.connection, self.board, PEOPLE[person], asked, 2.0, "ui")

    def state(self, item: int) -> State:
        return read_states(self.connection, [IDS[item]]).get(IDS[item], NOTHING)

    def verdict(self, item: int) -> str | None:
        return self.state(item).verdict(self.votes_required)


ACTIONS = st.tuples(
    st.sampled_from(("keep", "reject", "unset", "caption", "crop", "undo", "batch")),
    st.integers(0, 2),
    st.integers(0, 2),
    st.integers(0, 3),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(ACTIONS, max_size=30), st.integers(1, 3))
def test_the_state_is_what_the_events_say(actions: list[tuple[str, int, int, int]], votes: int) -> None:
    desk = Desk(votes)
    for kind, person, item, late in actions:
        act(desk, kind, person, item, late)
        for number, name in enumerate(IDS):
            rows = desk.connection.all(
                f"SELECT {LATEST_COLUMNS} FROM event WHERE sample_id = ? ORDER BY id", (name,)
            )
            assert fold(read_events(rows)) == desk.state(number)
    again = desk.new_board()
    again.codes = desk.board.codes
    again.load(desk.connection)
    for name in ("verdict", "votes", "second", "by", "reasons"):
        assert (getattr(again, name) == getattr(desk.board, name)).all(), name
    for name in ("captions", "crops", "voters", "seen"):
        assert getattr(again, name) == getattr(desk.board, name), name


def act(desk: Desk, kind: str, person: int, item: int, late: int) -> None:
    """One thing a person does, seen ``late`` versions ago."""
    base = max(desk.state(item).version - late, 0)
    if kind == "undo":
        with suppress(Refused):  # nothing of theirs is left, or others built on it
            desk.undo(person)
    elif kind == "batch":
        batch = str(uuid.uuid4())
        news = [
            NewEvent(str(uuid.uuid4()), n, "reject", min(base, desk.state(n).version), ("blur",), batch=batch)
            for n in range(len(IDS))
        ]
        record(desk.connection, desk.board, PEOPLE[person], news, 1.0, "ui")
    elif kind == "caption":
        desk.do(person, item, kind, base, caption=f"words {late}" if late < 3 else None)
    elif kind == "crop":
        desk.do(person, item, kind, base, crop=(0, 0, 8 + late, 9) if late < 3 else None)
    else:
        desk.do(person, item, kind, base, reasons=("hands",) if kind == "reject" else ())


def test_one_vote_decides_and_undo_takes_it_back() -> None:
    desk = Desk()
    assert desk.do(1, 0, "reject", reasons=("hands", "blur")).status == "done"
    assert desk.verdict(0) == "reject"
    assert desk.board.left_for(1) == 2
    assert desk.do(1, 0, "keep").status == "done"
    assert desk.verdict(0) == "keep"
    assert desk.undo(1).kind == "keep"
    assert desk.verdict(0) == "reject"
    desk.undo(1)
    assert (desk.verdict(0), desk.state(0).version) == (None, 4)
    assert desk.board.left_for(1) == 3
    with pytest.raises(Refused, match="nothing of yours"):
        desk.undo(1)


def test_the_same_uuid_again_is_told_the_present_state() -> None:
    desk = Desk()
    name = str(uuid.uuid4())
    assert desk.do(1, 0, "keep", 0, uuid=name).status == "done"
    again = desk.do(1, 0, "keep", 0, uuid=name)
    assert (again.status, again.state.version) == ("repeat", 1)
    with pytest.raises(Refused, match="somebody else's"):
        desk.do(0, 0, "keep", 0, uuid=name)


def test_a_second_opinion_is_kept_and_a_curator_overrules_what_they_saw() -> None:
    desk = Desk()
    desk.do(1, 0, "keep")
    assert desk.do(2, 0, "reject", base=0).status == "second_opinion"
    assert (desk.verdict(0), desk.state(0).version) == ("keep", 1)
    assert bool(desk.board.second[0])
    assert desk.do(2, 0, "reject", base=1).status == "done"
    assert desk.verdict(0) == "reject"
    assert desk.do(1, 0, "keep").status == "second_opinion", "an annotator does not overrule a curator"
    assert desk.verdict(0) == "reject"
    assert desk.do(2, 0, "unset").status == "done"
    assert desk.verdict(0) is None
    assert desk.board.left_for(1) == 3


def test_the_majority_of_the_votes_that_are_asked_for_decides() -> None:
    desk = Desk(2)
    desk.do(0, 0, "keep")
    assert (desk.verdict(0), desk.board.left_for(1), desk.board.left_for(2)) == (None, 2, 3)
    desk.do(1, 0, "keep")
    assert desk.verdict(0) == "keep"
    desk.do(0, 1, "keep")
    desk.do(1, 1, "reject", base=0)
    assert desk.verdict(1) is None, "a tie is no verdict"
    assert desk.board.left_for(3) == 1
    assert {vote.slot for vote in desk.state(1).votes} == {0, 1}
    assert desk.do(2, 1, "reject").status == "done", "a curator settles it"
    assert desk.verdict(1) == "reject"


def test_a_late_caption_is_a_conflict_that_changes_nothing() -> None:
    desk = Desk()
    desk.do(0, 0, "caption", caption="a first")
    desk.do(0, 0, "keep")
    outcome = desk.do(1, 0, "caption", base=0, caption="mine")
    assert (outcome.status, outcome.state.caption, outcome.base_caption) == ("conflict", "a first", None)
    desk.do(0, 0, "caption", caption="a second")
    outcome = desk.do(1, 0, "caption", base=1, caption="mine")
    assert (outcome.status, outcome.state.caption, outcome.base_caption) == (
        "conflict",
        "a second",
        "a first",
    )
    kinds = desk.connection.all("SELECT kind FROM event WHERE person = 2")
    assert kinds == [("conflict",), ("conflict",)]
    assert desk.do(1, 0, "caption", base=desk.state(0).version, caption="mine").status == "done"
    assert desk.do(1, 0, "crop", base=0, crop=(0, 0, 5, 5)).status == "done", "nobody touched the crop"


def test_events_of_one_batch_are_undone_together_and_what_others_built_on_stays() -> None:
    desk = Desk()
    batch, name = str(uuid.uuid4()), str(uuid.uuid4())
    for item in range(3):
        desk.do(1, item, "keep", batch=batch)
    desk.do(2, 1, "reject")
    done = desk.undo(1, name)
    assert (done.count, done.batch, done.kept) == (2, True, [1])
    assert [desk.verdict(item) for item in range(3)] == [None, "reject", None]
    again = desk.undo(1, name)
    assert (again.count, again.batch, [item for item, _ in again.states]) == (2, True, [0, 2])
    with pytest.raises(Refused, match="others have changed") as refused:
        desk.undo(1)
    assert refused.value.more == {"kept": [1]}


def test_undo_means_what_it_names_and_nothing_else() -> None:
    """A conflict and a refused event are nothing to take back, and the decision before them stays."""
    desk = Desk()
    names = [str(uuid.uuid4()) for _ in range(4)]
    desk.do(2, 1, "caption", caption="theirs")
    desk.do(1, 0, "keep", uuid=names[0])
    assert desk.do(1, 1, "caption", base=0, caption="mine", uuid=names[1]).status == "conflict"
    for name in (names[1], names[2]):
        with pytest.raises(Refused, match="nothing of yours by that name"):
            desk.undo(1, undoes=name)
    assert desk.verdict(0) == "keep"
    desk.do(1, 2, "reject", uuid=names[3])
    assert [item for item, _ in desk.undo(1, undoes=names[0]).states] == [0], "which is not the newest"
    assert (desk.verdict(0), desk.verdict(2)) == (None, "reject")
    with pytest.raises(Refused, match="or is undone"):
        desk.undo(1, undoes=names[0])
    with pytest.raises(Refused, match="nothing of yours by that name"):
        desk.undo(0, undoes=names[3])


def test_undo_passes_over_what_others_built_on() -> None:
    desk = Desk()
    name = str(uuid.uuid4())
    desk.do(1, 0, "keep")
    desk.do(1, 1, "caption", caption="mine", uuid=name)
    desk.do(2, 1, "caption", caption="theirs")
    done = desk.undo(1)
    assert (done.kind, [item for item, _ in done.states], done.kept) == ("keep", [0], [1])
    assert desk.state(1).caption == "theirs"
    for undoes in (None, name):
        with pytest.raises(Refused, match="others have changed"):
            desk.undo(1, undoes=undoes)


def test_the_name_of_anothers_batch_takes_back_nothing_of_theirs() -> None:
    desk = Desk()
    batch = str(uuid.uuid4())
    desk.do(2, 0, "reject", batch=batch)
    desk.do(2, 1, "reject", batch=batch)
    desk.do(1, 2, "keep", batch=batch)
    assert [item for item, _ in desk.undo(1).states] == [2]
    with pytest.raises(Refused, match="nothing of yours"):
        desk.undo(1, undoes=batch)
    assert [desk.verdict(item) for item in range(3)] == ["reject", "reject", None]
    assert desk.undo(2, undoes=batch).count == 2


def test_events_that_make_no_sense_store_nothing() -> None:
    desk = Desk()
    for more in (
        {"item": 3, "kind": "keep"},
        {"item": 0, "kind": "crop", "crop": (5, 0, 5, 9)},
        {"item": 0, "kind": "caption", "caption": " \n"},
        {"item": 0, "kind": "caption", "caption": "a\0b"},
        {"item": 0, "kind": "caption", "caption": "é" * 5000},
        {"item": 0, "kind": "keep", "reasons": ("hands",)},
        {"item": 0, "kind": "keep", "base": 1},
        {"item": 0, "kind": "caption", "caption": "words", "base": 2**70},
    ):
        news = [
            NewEvent(str(uuid.uuid4()), 1, "keep", 0),
            NewEvent(**({"uuid": str(uuid.uuid4()), "base": 0} | more)),  # type: ignore[arg-type]
        ]
        with pytest.raises(Refused):
            record(desk.connection, desk.board, PEOPLE[0], news, 1.0, "ui")
    assert desk.connection.all("SELECT * FROM event") == []


@pytest.mark.parametrize("table", ["event", "batch"])
@pytest.mark.parametrize("change", ["UPDATE {} SET person = 2", "DELETE FROM {}"])
def test_what_was_recorded_cannot_be_changed(table: str, change: str) -> None:
    desk = Desk()
    desk.do(1, 0, "keep")
    desk.connection.run("INSERT INTO batch VALUES ('b', 1, 'keep', '{}', 0, 0)")
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        desk.connection.run(change.format(table))
