"""One change of many items, undone as one."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from curation_ui.access import Person, Refused
from curation_ui.bodies import CAPTION_BYTES, Batch
from curation_ui.cards import states_of
from curation_ui.database import Connection
from curation_ui.events import Taking, free_slot, standing_of, taking
from curation_ui.groups import best_first
from curation_ui.review import DUPLICATE, Review
from curation_ui.snapshots import Snapshot
from curation_ui.states import Event, State

MOST_ITEMS = 100_000
EXAMPLES = 10
_RECORD = "INSERT INTO batch (uuid, person, kind, asked, count, at) VALUES (?, ?, ?, ?, ?, ?)"


Chosen = list[tuple[int, bool]]
"""Items, each with whether it is the one of its cluster to keep."""


@dataclass(frozen=True)
class Change:
    """What is to happen to one item: a verdict with reasons, or a caption."""

    item: int
    kind: str
    reasons: tuple[str, ...] = ()
    caption: str | None = None


@dataclass(frozen=True)
class Done:
    """``count`` items that a batch was about; for ``kept`` of them it is a second opinion only."""

    count: int
    kept: int


def chosen(review: Review, asked: Batch, snapshot: Snapshot | None) -> Chosen:
    """The items of a batch.

    Raises:
        Refused: none or too many are named.
    """
    if asked.kind == "keep_best":
        found = _of_clusters(review, asked)
    elif snapshot is None:
        raise Refused("a batch needs a snapshot and the range start to stop in it", 400)
    else:
        ranges = asked.ranges or ((asked.start, asked.stop),)
        items = dict.fromkeys(item for start, stop in ranges for item in snapshot.order[start:stop].tolist())
        found = [(item, False) for item in items]
    if not 0 < len(found) <= MOST_ITEMS:
        raise Refused(f"a batch of {len(found)} items: expected 1 to {MOST_ITEMS}", 400)
    return found


def _of_clusters(review: Review, asked: Batch) -> Chosen:
    clusters = review.catalog.clusters
    found: Chosen = []
    for name in dict.fromkeys(asked.clusters):
        code = clusters.by_name.get(name)
        if code is None:
            raise Refused(f"there is no cluster {name[:40]!r}", 404)
        items = best_first(review.catalog, clusters.items(code), asked.by)
        found += [(item, item == items[0]) for item in items]
    return found


def changes(review: Review, asked: Batch, items: Chosen, states: dict[int, State]) -> list[Change]:
    """What a batch would do, item for item; items that it leaves as they are do not appear.

    Raises:
        Refused: it is a change of captions that finds nothing to look for, or makes one too long.
    """
    if asked.kind == "caption":
        return _replaced(review, asked, [item for item, _ in items])
    wanted = _verdicts(asked)
    found = []
    for item, best in items:
        kind, reasons = wanted(best)
        if not _holds_already(review, states[item], kind, reasons):
            found.append(Change(item, kind, reasons))
    return found


def _verdicts(asked: Batch) -> Callable[[bool], tuple[str, tuple[str, ...]]]:
    if asked.kind == "keep_best":
        return lambda best: ("keep", ()) if best else ("reject", (DUPLICATE,))
    return lambda best: (asked.kind, asked.reasons if asked.kind == "reject" else ())


def _holds_already(review: Review, state: State, kind: str, reasons: tuple[str, ...]) -> bool:
    if not state.votes and state.ruling is None:
        return kind == "unset"
    if kind == "unset":
        return False
    votes_required = review.settings.votes_required
    there = tuple(reason for vote in state.deciding(votes_required) for reason in vote.reasons)
    return state.verdict(votes_required) == kind and there == reasons


def _replaced(review: Review, asked: Batch, items: Sequence[int]) -> list[Change]:
    if not asked.find:
        raise Refused("a change of captions needs the words to find", 400)
    found = []
    for item in items:
        before = caption_of(review, item)
        after = before.replace(asked.find, asked.replace)
        if after == before:
            continue
        if not after.strip() or "\0" in after or len(after.encode("utf-8", "replace")) > CAPTION_BYTES:
            raise Refused(f"item {item} would get an empty or too long caption: narrow the selection", 400)
        found.append(Change(item, "caption", caption=after))
    return found


def caption_of(review: Review, item: int) -> str:
    edited = review.board.captions.get(item)
    return str(review.catalog.value("caption", item) or "") if edited is None else edited


def preview(connection: Connection, review: Review, asked: Batch, items: Chosen) -> dict[str, Any]:
    """How many items a batch is about, how many it changes, and some of them."""
    states = states_of(connection, review, [item for item, _ in items])
    found = changes(review, asked, items, states)
    examples = []
    for change in found[:EXAMPLES]:
        before = states[change.item].verdict(review.settings.votes_required)
        if change.kind == "caption":
            said = {"before": caption_of(review, change.item), "after": change.caption}
        else:
            said = {"before": before, "after": None if change.kind == "unset" else change.kind}
        examples.append({"item": change.item, **said})
    return {"count": len(items), "changes": len(found), "examples": examples}


def apply(
    connection: Connection,
    review: Review,
    who: Person,
    asked: Batch,
    items: Chosen,
    snapshot: Snapshot | None,
) -> Done:
    """Do it. What others decided after the snapshot was made, nobody saw: it stays, beside a second opinion.

    The same ``uuid`` again changes nothing more.
    """
    before = connection.one("SELECT person, count FROM batch WHERE uuid = ?", (asked.uuid,))
    if before is not None:
        if before[0] != who.id:
            raise Refused("a batch with that uuid is somebody else's: make a new one", 409)
        return Done(int(before[1]), _seconds(connection, who, asked))
    now = review.clock()
    ordered = sorted(items)  # as the database's indexes are: several times faster
    states = states_of(connection, review, [item for item, _ in ordered])
    found = changes(review, asked, ordered, states)
    taken = taking(connection, review.board, who, now, review.ui)
    assert asked.uuid is not None
    for change in found:
        name = review.catalog.sample_id(change.item)
        state = taken.states[name] = states[change.item]
        touch = state.verdict_touch
        fresh = snapshot is None or touch.event <= snapshot.newest or touch.person == who.id
        _add(taken, change, name, asked.uuid, fresh)
    about = json.dumps(_about(asked, snapshot))
    connection.run(_RECORD, (asked.uuid, who.id, asked.kind, about, len(found), now))
    if taken.rows:
        taken.write(connection)
    return Done(len(found), _seconds(connection, who, asked))


def _seconds(connection: Connection, who: Person, asked: Batch) -> int:
    """Of a batch that is done how many are second opinions."""
    found = connection.one(
        "SELECT count(*) FROM event WHERE batch = ? AND person = ? AND standing = 'second'",
        (asked.uuid, who.id),
    )
    return int(found[0]) if found else 0


def _about(asked: Batch, snapshot: Snapshot | None) -> dict[str, Any]:
    """What was asked for, for the record."""
    found: dict[str, Any] = {
        "reasons": asked.reasons,
        "find": asked.find,
        "replace": asked.replace,
        "by": asked.by,
    }
    if snapshot:
        found |= {"snapshot": snapshot.asked, "ranges": asked.ranges or ((asked.start, asked.stop),)}
    return {name: value for name, value in found.items() if value not in ("", ())}


def _add(taken: Taking, change: Change, name: str, batch: str, fresh: bool) -> None:
    state, who = taken.states[name], taken.who
    standing = "edit"
    if change.kind != "caption":
        standing = standing_of(state, who, fresh, taken.board.votes_required)
    event = Event(
        taken.next_id,
        who.id,
        change.kind,
        standing,
        taken.now,
        change.reasons,
        change.caption,
        None,
        free_slot(state, who.id, None) if standing == "vote" else 0,
    )
    taken.add(change.item, name, event, batch=batch, base=state.version)
