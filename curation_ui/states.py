"""What holds of one sample, as a fold over its events.

Nothing is decided here that an event does not say: an event carries its standing (a vote, a ruling, a
second opinion), so folding the same events gives the same state whoever does it and whenever.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

Box = tuple[int, int, int, int]
"""left, top, right, bottom in pixels of the upright image."""

VERDICTS = ("keep", "reject", "unset")
ASPECTS = {"keep": "verdict", "reject": "verdict", "unset": "verdict", "caption": "caption", "crop": "crop"}
"""What of a sample a kind of event is about."""
_TOUCHES = {kind: f"{aspect}_touch" for kind, aspect in ASPECTS.items()}
Fields = dict[str, Any]
"""Of a ``State``, by name."""


class Vote(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One person's word on a sample. ``slot`` is which of the votes that are asked for it is."""

    person: int
    verdict: str
    reasons: tuple[str, ...]
    event: int
    slot: int


class Touch(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The newest change of an aspect: the version it made, and by whom."""

    version: int = 0
    person: int = 0
    event: int = 0


class State(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """What holds of a sample. ``version`` grows with every event that changes what is shown."""

    version: int = 0
    votes: tuple[Vote, ...] = ()
    seconds: tuple[Vote, ...] = ()
    ruling: Vote | None = None
    caption: str | None = None
    caption_by: int = 0
    caption_event: int = 0
    crop: Box | None = None
    crop_by: int = 0
    crop_event: int = 0
    verdict_touch: Touch = Touch()
    caption_touch: Touch = Touch()
    crop_touch: Touch = Touch()
    decided_at: float = 0.0

    def verdict(self, votes_required: int) -> str | None:
        """``keep``, ``reject``, or None while votes are missing or as many speak for as against."""
        if self.ruling:
            return self.ruling.verdict
        if len(self.votes) < votes_required:
            return None
        if len(self.votes) == 1:  # nearly always, and there may be a million
            return self.votes[0].verdict
        keeps = sum(vote.verdict == "keep" for vote in self.votes)
        rejects = len(self.votes) - keeps
        return None if keeps == rejects else "keep" if keeps > rejects else "reject"

    def deciding(self, votes_required: int) -> tuple[Vote, ...]:
        """The votes that the verdict rests on, the newest last."""
        if self.ruling:
            return (self.ruling,)
        if len(self.votes) == 1:
            return self.votes if votes_required == 1 else ()
        verdict = self.verdict(votes_required)
        return tuple(sorted((v for v in self.votes if v.verdict == verdict), key=lambda vote: vote.event))

    def opinions(self) -> dict[int, Vote]:
        """The newest word of each person, also those that do not count."""
        spoken = [*self.votes, *self.seconds, *([self.ruling] if self.ruling else [])]
        return {vote.person: vote for vote in sorted(spoken, key=lambda vote: vote.event)}

    def touch(self, aspect: str) -> Touch:
        return {"verdict": self.verdict_touch, "caption": self.caption_touch, "crop": self.crop_touch}[aspect]


class Event(msgspec.Struct, frozen=True, gc=False):
    """A stored event, as far as it matters for the state.

    ``standing``: ``vote``, ``ruling`` or ``second`` of a verdict; ``edit`` of a caption or crop;
    ``conflict`` of one that was refused; ``undo``.
    """

    id: int
    person: int
    kind: str
    standing: str
    at: float
    reasons: tuple[str, ...] = ()
    caption: str | None = None
    crop: Box | None = None
    slot: int = 0
    undoes: int | None = None


NOTHING = State()
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(State).decode


def packed(state: State) -> str:
    return _encode(state).decode()


def unpacked(data: str) -> State:
    return _decode(data)


def fold(events: Sequence[Event]) -> State:
    """The state after all events of one sample, in order of their ids."""
    if len(events) == 2 and events[1].undoes == events[0].id:  # each of a batch that is undone
        return _touched(_touched(NOTHING, events[0], events[0], {}), events[1], events[0], {})
    by_id = {event.id: event for event in events}
    undone = {event.undoes for event in events if event.kind == "undo"}
    state = NOTHING
    for event in events:
        if event.kind == "undo":
            assert event.undoes is not None
            state = _touched(state, event, by_id[event.undoes], {})
        elif event.id in undone:
            state = _touched(state, event, event, {})
        else:
            state = step(state, event)
    return state


def step(state: State, event: Event) -> State:
    """The state after one more event that undoes nothing."""
    if event.standing == "conflict":
        return state
    if event.kind == "caption":
        by = (event.person, event.id) if event.caption is not None else (0, 0)
        said: Fields = {"caption": event.caption, "caption_by": by[0], "caption_event": by[1]}
    elif event.kind == "crop":
        by = (event.person, event.id) if event.crop is not None else (0, 0)
        said = {"crop": event.crop, "crop_by": by[0], "crop_event": by[1]}
    else:
        said = _voted(state, event)
    return _touched(state, event, event, said)


def _voted(state: State, event: Event) -> Fields:
    mine = Vote(event.person, event.kind, event.reasons, event.id, event.slot)
    new = () if event.kind == "unset" else (mine,)
    if event.standing == "second":
        return {"seconds": (*_others(state.seconds, event.person), *new)}
    if event.standing == "vote":
        return {"votes": (*_others(state.votes, event.person), *new) if state.votes else new}
    if new:
        return {"ruling": mine}
    voters = {vote.person for vote in state.votes}
    kept = tuple(vote for vote in state.seconds if vote.person not in voters)
    return {"ruling": None, "votes": (), "seconds": (*kept, *state.votes)}


def _others(votes: Iterable[Vote], person: int) -> tuple[Vote, ...]:
    return tuple(vote for vote in votes if vote.person != person)


def _touched(state: State, event: Event, about: Event, said: Fields) -> State:
    """``state`` with ``said``, counting a change by ``event`` of what ``about`` is about.

    Second opinions change nothing shown.
    """
    if about.standing not in ("second", "conflict"):
        version = state.version + 1
        said[_TOUCHES[about.kind]] = Touch(version, event.person, event.id)
        said["version"], said["decided_at"] = version, event.at
    return replace(state, **said) if said else state
