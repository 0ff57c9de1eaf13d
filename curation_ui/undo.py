"""Taking back: an event that says which events no longer count. Nothing is removed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from curation_ui.access import Person, Refused
from curation_ui.board import Board, newest_event
from curation_ui.bodies import Undo
from curation_ui.database import Connection
from curation_ui.events import LATEST_COLUMNS, Taking, read_events, read_states, taking
from curation_ui.states import ASPECTS, Event, State, fold

STATES = 200
"""An answer names so many states at most."""
MOST_SKIPPED = 100
"""Strokes that others built on are passed over, so many at most."""
DONE = "('keep', 'reject', 'unset', 'caption', 'crop')"
COUNTS = "NOT EXISTS (SELECT 1 FROM event u WHERE u.undoes = e.id)"


@dataclass(frozen=True)
class Undone:
    """What was taken back. ``kept``: items that others have changed since, which stay as they are."""

    kind: str
    count: int
    batch: bool
    states: list[tuple[int, State]]
    kept: list[int]


def undo(connection: Connection, board: Board, who: Person, asked: Undo, now: float, ui: str) -> Undone:
    """Take back this person's event or batch that ``asked`` names; else the newest that others left alone.

    The same ``uuid`` again takes back nothing more and tells the same.

    Raises:
        Refused: there is nothing to take back, or others have built on all of it.
    """
    before = connection.one("SELECT person FROM event WHERE uuid = ?", (asked.uuid,))
    if before is not None:
        return _repeated(connection, board, who, asked.uuid, int(before[0]))
    taken = taking(connection, board, who, now, ui)
    kept: dict[int, None] = {}
    strokes = _newest(connection, who) if asked.undoes is None else _named(connection, who, asked.undoes)
    for number, batch, kind in strokes:
        gone, stories = _stories(connection, who, number, batch)
        kept |= dict.fromkeys(_take_back(taken, gone, stories, asked.uuid))
        if taken.rows:
            taken.write(connection)
            here = ((item, state) for item, state in taken.changed.values() if item is not None)
            states = list(islice(here, STATES))
            return Undone(kind, len(taken.rows), batch is not None, states, list(kept)[:STATES])
    raise Refused("others have changed this since: what they did stays", 409, kept=list(kept)[:STATES])


Stroke = tuple[int, str | None, str]
"""What was done at once: the id of its newest event, its batch if it has one, and that event's kind."""


def _named(connection: Connection, who: Person, name: str) -> list[Stroke]:
    """The event or the batch of this person that has that uuid."""
    rows = connection.all(
        f"SELECT id, batch, kind, uuid FROM event e WHERE person = ? AND (uuid = ? OR batch = ?) "
        f"AND kind IN {DONE} AND {COUNTS} ORDER BY id DESC LIMIT 1",
        (who.id, name, name),
    )
    if not rows:
        raise Refused("there is nothing of yours by that name to undo: it was not taken, or is undone", 409)
    [(number, batch, kind, uuid)] = rows
    return [(int(number), None if uuid == name else batch, str(kind))]


def _newest(connection: Connection, who: Person) -> Iterator[Stroke]:
    """This person's strokes that count, the newest first, ``MOST_SKIPPED`` at most."""
    before, batches = newest_event(connection) + 1, [""]
    for tried in range(MOST_SKIPPED):
        passed = ", ".join("?" * len(batches))
        found = connection.one(
            f"SELECT id, batch, kind FROM event e WHERE person = ? AND kind IN {DONE} AND id < ? "
            f"AND {COUNTS} AND (batch IS NULL OR batch NOT IN ({passed})) ORDER BY id DESC LIMIT 1",
            (who.id, before, *batches),
        )
        if found is None and not tried:
            raise Refused("there is nothing of yours to undo", 409)
        if found is None:
            return
        before, batch = int(found[0]), found[1]
        batches += [batch] if batch else []
        yield before, batch, str(found[2])


Gone = list[tuple[int, str]]
"""Events (id, sample) that go together and still count, in the order in which they came."""


def _stories(
    connection: Connection, who: Person, number: int, batch: str | None
) -> tuple[Gone, dict[str, list[Event]]]:
    """What of this person is to be undone, and all events of the samples that are touched, by sample."""
    where, value = ("batch = ?", batch) if batch else ("id = ?", number)
    rows = connection.all(
        f"SELECT sample_id, batch, {LATEST_COLUMNS} FROM event WHERE sample_id IN "
        f"(SELECT sample_id FROM event WHERE {where} AND person = ?) ORDER BY sample_id, id",
        (value, who.id),
    )
    events = read_events([row[2:] for row in rows])
    undone = {event.undoes for event in events if event.undoes is not None}
    stories: dict[str, list[Event]] = {}
    gone = []
    for row, event in zip(rows, events, strict=True):
        name = row[0]
        if name in stories:
            stories[name].append(event)
        else:
            stories[name] = [event]
        together = row[1] == batch if batch else event.id == number
        mine = together and event.person == who.id
        if mine and event.kind in ASPECTS and event.id not in undone:
            gone.append((event.id, name))
    return sorted(gone), stories


def _take_back(taken: Taking, gone: Gone, stories: dict[str, list[Event]], uuid: str) -> list[int]:
    """Undo each event that nobody else built on; returns the items of the others."""
    items = dict(zip(stories, taken.board.items_of(list(stories)), strict=True))
    kept: list[int] = []
    for number, name in gone:
        item, story = items[name], stories[name]
        event = story[-1]
        if event.id != number:
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
    if event.standing == "second" or story[-1] is event:
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
        "WHERE u.batch = ? AND u.person = ? ORDER BY u.id",
        (uuid, person),
    )
    if not rows:
        raise Refused("an event with that uuid is there already, and it undoes nothing: make a new one", 409)
    kind, batch, _ = rows[-1]
    names = list(dict.fromkeys(row[2] for row in rows))[:STATES]
    states = read_states(connection, names)
    items = zip(board.items_of(names), names, strict=True)
    found = [(item, states[name]) for item, name in items if item is not None]
    return Undone(str(kind), len(rows), batch is not None, found, [])
