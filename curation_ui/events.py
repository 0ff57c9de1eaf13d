"""Taking in what people did: each event stored once, and the state of its sample with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from curation_ui.access import Person, Refused
from curation_ui.board import Board, newest_event
from curation_ui.bodies import CAPTION_BYTES, NewEvent
from curation_ui.database import Connection
from curation_ui.states import ASPECTS, NOTHING, Event, State, fold, packed, step, unpacked

INSERT = (
    "INSERT INTO event (id, uuid, batch, sample_id, person, kind, standing, payload, base, undoes, shown_ms, "
    "client_at, ui, at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
UPSERT = (
    "INSERT INTO state (sample_id, version, data) VALUES (?, ?, ?) "
    "ON CONFLICT (sample_id) DO UPDATE SET version = excluded.version, data = excluded.data"
)
LATEST_COLUMNS = "id, person, kind, standing, at, payload, undoes"


class Payload(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """What an event carries beside its kind."""

    reasons: tuple[str, ...] = ()
    caption: str | None = None
    crop: tuple[int, int, int, int] | None = None
    slot: int = 0
    wanted: str | None = None
    """Of a conflict: the kind that was asked for."""


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Payload).decode


@dataclass(frozen=True)
class Outcome:
    """What became of one event: ``done``, ``repeat``, ``second_opinion`` or ``conflict``."""

    uuid: str
    item: int
    status: str
    state: State
    kind: str
    base_caption: str | None = None
    """Of a conflict: a person's caption at the version it was made on."""


@dataclass
class Taking:
    """Events under way into the database, with the states they lead to."""

    board: Board
    who: Person
    now: float
    ui: str
    next_id: int
    states: dict[str, State]
    rows: list[Sequence[Any]] = field(default_factory=list)
    changed: dict[str, tuple[int | None, State]] = field(default_factory=dict)

    def add(self, item: int, sample_id: str, event: Event, **about: Any) -> State:
        """One more event that undoes nothing, and the state after it."""
        self.store(sample_id, event, **about)
        state = step(self.states.get(sample_id, NOTHING), event)
        self.set(item, sample_id, state)
        return state

    def store(self, sample_id: str, event: Event, **about: Any) -> None:
        """An event's row; ``about`` is what the state does not depend on."""
        said = about.get
        text = "{}"
        if event.kind != "undo":
            payload = Payload(event.reasons, event.caption, event.crop, event.slot, said("wanted"))
            text = _encode(payload).decode()
        # fmt: off
        self.rows.append((
            event.id, said("uuid"), said("batch"), sample_id, event.person, event.kind, event.standing,
            text, said("base"), event.undoes, said("shown_ms"), said("client_at"),
            self.ui, event.at,
        ))
        # fmt: on
        self.next_id = event.id + 1

    def set(self, item: int | None, sample_id: str, state: State) -> None:
        self.states[sample_id] = state
        self.changed[sample_id] = (item, state)

    def write(self, connection: Connection) -> None:
        """Everything at once; the board follows last, when nothing can fail any more."""
        connection.many(INSERT, self.rows)
        states = ((name, state.version, packed(state)) for name, (_, state) in self.changed.items())
        connection.many(UPSERT, states)
        self.board.update([(item, state) for item, state in self.changed.values() if item is not None])
        self.board.seen = self.next_id - 1


def taking(connection: Connection, board: Board, who: Person, now: float, ui: str) -> Taking:
    return Taking(board, who, now, ui, newest_event(connection) + 1, {})


def read_states(connection: Connection, sample_ids: Sequence[str]) -> dict[str, State]:
    """States of those samples that have any event."""
    found = connection.among("SELECT sample_id, data FROM state WHERE sample_id IN", list(sample_ids))
    return {sample_id: unpacked(data) for sample_id, data in found}


def read_events(rows: Sequence[tuple[Any, ...]]) -> list[Event]:
    """Events from rows of ``LATEST_COLUMNS``."""
    found = []
    said: dict[str, Payload] = {}
    for number, person, kind, standing, at, text, undoes in rows:
        payload = said.get(text)
        if payload is None:  # those of a batch are alike
            payload = said[text] = _decode(text)
        fields = (payload.reasons, payload.caption, payload.crop, payload.slot, undoes)
        found.append(Event(number, person, kind, standing, at, *fields))
    return found


def record(
    connection: Connection, board: Board, who: Person, news: Sequence[NewEvent], now: float, ui: str
) -> list[Outcome]:
    """Store what is new of ``news``, in order.

    Raises:
        Refused: an event is not this person's to make, or makes no sense; nothing is stored.
    """
    for event in news:
        _check(connection, board, who, event)
    known = _known(connection, who, [event.uuid for event in news])
    taken = taking(connection, board, who, now, ui)
    names = {event.item: board.sample_ids[event.item].decode() for event in news}
    taken.states = read_states(connection, sorted(set(names.values())))
    outcomes = []
    for event in news:
        name = names[event.item]
        if event.uuid in known:
            status, state = "repeat", taken.states.get(name, NOTHING)
        else:
            status, state = _one(taken, event, name, _slot(connection, who, name))
            known.add(event.uuid)
        base = caption_at(connection, name, event.base) if status == "conflict" else None
        outcomes.append(Outcome(event.uuid, event.item, status, state, event.kind, base))
    if taken.rows:
        taken.write(connection)
        _end_leases(connection, who, [names[e.item] for e in news if ASPECTS[e.kind] == "verdict"])
    return outcomes


def _one(taken: Taking, new: NewEvent, name: str, slot: int | None) -> tuple[str, State]:
    state = taken.states.get(name, NOTHING)
    if new.base > state.version:
        said = f"item {new.item} is at version {state.version}, and this was made on version {new.base}"
        raise Refused(f"{said}: reload the page", 400)
    aspect = ASPECTS[new.kind]
    touch = state.touch(aspect)
    fresh = new.base >= touch.version or touch.person == taken.who.id
    about = {
        "uuid": new.uuid,
        "batch": new.batch,
        "base": new.base,
        "shown_ms": new.shown_ms,
        "client_at": new.at,
    }
    kind: str = new.kind
    standing = "edit"
    if aspect == "verdict":
        standing = standing_of(state, taken.who, fresh, taken.board.votes_required)
    elif not fresh:
        kind, standing, about["wanted"] = "conflict", "conflict", new.kind
    event = Event(
        taken.next_id,
        taken.who.id,
        kind,
        standing,
        taken.now,
        new.reasons,
        new.caption,
        new.crop,
        free_slot(state, taken.who.id, slot) if standing == "vote" else 0,
    )
    status = {"second": "second_opinion", "conflict": "conflict"}.get(standing, "done")
    return status, taken.add(new.item, name, event, **about)


def standing_of(state: State, who: Person, fresh: bool, votes_required: int) -> str:
    """What weight a person's verdict has: only a curator overrules, and only what they have seen."""
    if state.ruling and state.ruling.person == who.id:
        return "ruling"
    mine = bool(state.votes) and any(vote.person == who.id for vote in state.votes)
    if state.ruling is None and (mine or len(state.votes) < votes_required):
        return "vote"
    return "ruling" if fresh and who.may("curator") else "second"


def free_slot(state: State, person: int, leased: int | None) -> int:
    """The slot of a vote: the person's earlier one, the one they were lent, or the first that is free."""
    if not state.votes:
        return leased or 0
    for vote in state.votes:
        if vote.person == person:
            return vote.slot
    taken = {vote.slot for vote in state.votes}
    if leased is not None and leased not in taken:
        return leased
    return next(slot for slot in range(len(taken) + 1) if slot not in taken)


def _check(connection: Connection, board: Board, who: Person, new: NewEvent) -> None:
    if new.item >= len(board.sample_ids):
        raise Refused(f"there is no item {new.item}: the queue has {len(board.sample_ids)}", 400)
    if new.caption is not None and len(new.caption.encode("utf-8", "surrogatepass")) > CAPTION_BYTES:
        raise Refused(f"the caption of item {new.item} is over {CAPTION_BYTES} bytes: shorten it", 400)
    if new.caption is not None and (not new.caption.strip() or "\0" in new.caption):
        raise Refused(f"the caption of item {new.item} is empty or holds a NUL: write some words", 400)
    if new.crop is not None and not (new.crop[0] < new.crop[2] and new.crop[1] < new.crop[3]):
        raise Refused(f"the crop {list(new.crop)} is empty: expected left < right and top < bottom", 400)
    if new.reasons and new.kind != "reject":
        raise Refused(f"reasons with {new.kind!r} of item {new.item}: only a rejection has reasons", 400)
    if new.lease is not None:
        held = connection.one("SELECT person FROM lease WHERE token = ?", (new.lease,))
        if held is not None and held[0] != who.id:
            raise Refused("that lease is somebody else's")


def _known(connection: Connection, who: Person, uuids: Sequence[str]) -> set[str]:
    rows = connection.among("SELECT uuid, person FROM event WHERE uuid IN", list(uuids))
    if any(person != who.id for _, person in rows):
        raise Refused("an event with that uuid is somebody else's: make a new one", 409)
    return {uuid for uuid, _ in rows}


def _slot(connection: Connection, who: Person, name: str) -> int | None:
    found = connection.one("SELECT slot FROM lease WHERE sample_id = ? AND person = ?", (name, who.id))
    return int(found[0]) if found else None


def _end_leases(connection: Connection, who: Person, names: Sequence[str]) -> None:
    for name in names:
        connection.run("DELETE FROM lease WHERE sample_id = ? AND person = ?", (name, who.id))


def caption_at(connection: Connection, name: str, version: int) -> str | None:
    """A person's caption of a sample when it had that version; None where it was the model's."""
    story = read_events(
        connection.all(f"SELECT {LATEST_COLUMNS} FROM event WHERE sample_id = ? ORDER BY id", (name,))
    )
    counted = 0
    for number in range(1, len(story) + 1):
        counted = number if fold(story[:number]).version <= version else counted
    return fold(story[:counted]).caption
