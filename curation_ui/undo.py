"""Taking back: an event that says which events no longer count. Nothing is removed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from curation_ui.access import Person, Refused
from curation_ui.board import Board
from curation_ui.database import Connection
from curation_ui.events import LATEST_COLUMNS, Taking, read_events, read_states, taking
from curation_ui.states import ASPECTS, Event, State, fold

STATES = 200
"""An answer names so many states at most."""
DONE = "('keep', 'reject', 'unset', 'caption', 'crop')"


@dataclass(frozen=True)
class Undone:
    """What was taken back. ``kept``: items that somebody else has changed since, which stay as they are."""

    kind: str
    count: int
    batch: bool
    states: list[tuple[int, State]]
    kept: list[int]


def undo(connection: Connection, board: Board, who: Person, uuid: str, now: float, ui: str) -> Undone:
    """Take back this person's newest event, or the batch it belongs to.

    The same ``uuid`` again takes back nothing more and tells the same.

    Raises:
        Refused: there is nothing to take back, or others have built on all of it.
    """
    before = connection.one("SELECT person FROM event WHERE uuid = ?", (uuid,))
    if before is not None:
        return _repeated(connection, board, who, uuid, int(before[0]))
    newest = connection.one(
        f"SELECT id, batch, kind FROM event e WHERE person = ? AND kind IN {DONE} AND NOT EXISTS "
        "(SELECT 1 FROM event u WHERE u.undoes = e.id) ORDER BY id DESC LIMIT 1",
        (who.id,),
    )
    if newest is None:
        raise Refused("there is nothing of yours to undo", 409)
    number, batch, kind = newest
    gone = _to_undo(connection, number, batch)
    stories = _stories(connection, number, batch)
    taken = taking(connection, board, who, now, ui)
    kept = _take_back(taken, gone, stories, uuid)
    if not taken.rows:
        raise Refused("others have changed this since: what they did stays", 409, kept=kept[:STATES])
    taken.write(connection)
    states = [(item, state) for item, state in taken.changed.values() if item is not None][:STATES]
    return Undone(str(kind), len(taken.rows), batch is not None, states, kept[:STATES])


def _to_undo(connection: Connection, number: int, batch: str | None) -> list[tuple[int, str]]:
    """Events (id, sample) that go together and still count."""
    where, value = ("batch = ?", batch) if batch else ("id = ?", number)
    return [
        (int(found[0]), str(found[1]))
        for found in connection.all(
            f"SELECT id, sample_id FROM event e WHERE {where} AND kind IN {DONE} AND NOT EXISTS "
            "(SELECT 1 FROM event u WHERE u.undoes = e.id) ORDER BY id",
            (value,),
        )
    ]


def _stories(connection: Connection, number: int, batch: str | None) -> dict[str, list[Event]]:
    """All events of the samples that are touched, by sample."""
    where, value = ("batch = ?", batch) if batch else ("id = ?", number)
    rows = connection.all(
        f"SELECT sample_id, {LATEST_COLUMNS} FROM event WHERE sample_id IN "
        f"(SELECT sample_id FROM event WHERE {where}) ORDER BY sample_id, id",
        (value,),
    )
    found: dict[str, list[Event]] = {}
    for row, event in zip(rows, read_events([row[1:] for row in rows]), strict=True):
        found.setdefault(row[0], []).append(event)
    return found


def _take_back(
    taken: Taking, gone: list[tuple[int, str]], stories: dict[str, list[Event]], uuid: str
) -> list[int]:
    """Undo each event that nobody else built on; returns the items of the others."""
    items = dict(zip(stories, taken.board.items_of(list(stories)), strict=True))
    kept: list[int] = []
    for number, name in gone:
        item, story = items[name], stories[name]
        event = next(event for event in story if event.id == number)
        if _built_on(event, story, taken.who.id):
            kept += [item] if item is not None else []
            continue
        back = Event(taken.next_id, taken.who.id, "undo", "undo", taken.now, undoes=number)
        story.append(back)
        first = not taken.rows
        taken.store(name, back, uuid=uuid if first else None, batch=uuid)
        taken.set(item, name, fold(story))
    return kept


def _built_on(event: Event, story: list[Event], person: int) -> bool:
    """Whether somebody else has since changed what this event was about."""
    if event.standing == "second":
        return False
    undone = {other.undoes for other in story if other.kind == "undo"}
    return any(
        other.id > event.id
        and other.person != person
        and other.id not in undone
        and other.standing in ("ruling", "edit")
        and ASPECTS[other.kind] == ASPECTS[event.kind]
        for other in story
    )


def _repeated(connection: Connection, board: Board, who: Person, uuid: str, person: int) -> Undone:
    if person != who.id:
        raise Refused("an event with that uuid is somebody else's: make a new one", 409)
    rows: list[tuple[Any, ...]] = connection.all(
        "SELECT e.kind, e.batch, e.sample_id FROM event u JOIN event e ON e.id = u.undoes "
        "WHERE u.batch = ? ORDER BY u.id",
        (uuid,),
    )
    if not rows:
        raise Refused("an event with that uuid is there already, and it undoes nothing: make a new one", 409)
    kind, batch, _ = rows[-1]
    names = list(dict.fromkeys(row[2] for row in rows))[:STATES]
    states = read_states(connection, names)
    items = zip(board.items_of(names), names, strict=True)
    found = [(item, states[name]) for item, name in items if item is not None]
    return Undone(str(kind), len(rows), batch is not None, found, [])
