"""Lending items: a place among the votes of an item is lent to one person till a time, never reserved.

``(sample_id, slot)`` is unique, so no place is lent twice. Who lets the time pass loses the lease and nothing
else: a late decision is still taken.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from curation_ui.access import Refused
from curation_ui.board import Board
from curation_ui.database import Connection
from curation_ui.events import read_states
from curation_ui.states import NOTHING

TTL_S = 120.0
MOST_ITEMS = 64
_SCAN = 1 << 15


@dataclass(frozen=True)
class Lent:
    """Items lent to one person under one token."""

    token: str
    items: tuple[int, ...]


def lend(connection: Connection, board: Board, person: int, count: int, now: float) -> Lent:
    """Up to ``count`` items that this person has not voted on and nobody else needs just now.

    Where no more are free, what the person holds under older tokens moves to this one: a page that was
    closed does not keep its items from its own reader.
    """
    connection.run("DELETE FROM lease WHERE expires_at <= ?", (now,))
    token, expires = secrets.token_urlsafe(16), now + TTL_S
    live: dict[str, list[tuple[int, int]]] = {}
    for name, slot, holder in connection.all("SELECT sample_id, slot, person FROM lease ORDER BY slot"):
        live.setdefault(name, []).append((slot, holder))
    rows, items, mine = [], [], []
    for item in _open_to(board, person):
        name = board.sample_ids[item].decode()
        held = live.get(name, [])
        if any(holder == person for _, holder in held):
            mine.append((item, name))
        elif int(board.votes[item]) + len(held) < board.votes_required:
            rows.append((name, _slot(connection, board, item, name, held), person, token, expires))
            items.append(item)
        if len(items) == count:
            break
    for item, name in mine[: count - len(items)]:
        connection.run(
            "UPDATE lease SET token = ?, expires_at = ? WHERE sample_id = ? AND person = ?",
            (token, expires, name, person),
        )
        items.append(item)
    connection.many("INSERT INTO lease VALUES (?, ?, ?, ?, ?)", rows)
    return Lent(token, tuple(items))


def renew(connection: Connection, person: int, token: str, now: float) -> None:
    """Hold a lease for another ``TTL_S``.

    Raises:
        Refused: it ran out, or is not this person's.
    """
    changed = connection.run(
        "UPDATE lease SET expires_at = ? WHERE token = ? AND person = ? AND expires_at > ?",
        (now + TTL_S, token, person, now),
    )
    if not changed:
        raise Refused("that lease has run out: ask for new items", 409)


def release(connection: Connection, person: int, token: str) -> None:
    """Give items back before their time; those of other people stay as they are."""
    connection.run("DELETE FROM lease WHERE token = ? AND person = ?", (token, person))


def _open_to(board: Board, person: int) -> Iterator[int]:
    """Items in order that the person may still vote on."""
    for start in range(0, len(board.votes), _SCAN):
        part = np.flatnonzero(board.votes[start : start + _SCAN] < board.votes_required)
        for item in (part + start).tolist():
            if person not in board.voters.get(item, ()):
                yield item


def _slot(connection: Connection, board: Board, item: int, name: str, held: list[tuple[int, int]]) -> int:
    taken = {slot for slot, _ in held}
    if board.votes[item]:
        taken |= {vote.slot for vote in read_states(connection, [name]).get(name, NOTHING).votes}
    return next(slot for slot in range(len(taken) + 1) if slot not in taken)
