"""What holds of every item of a queue just now, in arrays: what queries, queues and counts read.

The truth is the database's ``state`` table; the board is made from it at the start and follows every commit.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from curation_ui.database import Connection
from curation_ui.states import State, unpacked
from store.errors import MashbillError

NONE, KEEP, REJECT = 0, 1, 2
CODES = {None: NONE, "keep": KEEP, "reject": REJECT}
MOST_REASONS = 63
"""Bits of the array of reasons."""
CLOSED = 255
"""Votes of an item that a ruling has taken out of the queue."""


class Board:
    """Arrays of one entry per item.

    ``verdict`` int8 (``NONE``, ``KEEP``, ``REJECT``), ``votes`` uint8, ``second`` bool (another opinion than
    the verdict is on record), ``by`` int32 (a person's id, 0 for none), ``reasons`` int64 (bits of
    ``codes``); ``captions`` and ``crops`` hold what people wrote, ``voters`` who has voted on open items.
    """

    def __init__(self, sample_ids: np.ndarray, votes_required: int) -> None:
        """Args: sample_ids: ``S24``, sorted."""
        self.sample_ids = sample_ids
        self.votes_required = votes_required
        self.codes: dict[str, int] = {}
        self.seen = 0
        self._clear()

    def _clear(self) -> None:
        count = len(self.sample_ids)
        self.verdict = np.zeros(count, np.int8)
        self.votes = np.zeros(count, np.uint8)
        self.second = np.zeros(count, bool)
        self.by = np.zeros(count, np.int32)
        self.reasons = np.zeros(count, np.int64)
        self.captions: dict[int, str] = {}
        self.crops: set[int] = set()
        self.voters: dict[int, set[int]] = {}

    def load(self, connection: Connection) -> None:
        """Everything again from the database."""
        self._clear()
        self._follow(connection.all("SELECT sample_id, data FROM state"))
        self.seen = newest_event(connection)

    def catch_up(self, connection: Connection) -> None:
        """What other hosts have written since."""
        newest = newest_event(connection)
        if newest > self.seen:
            changed = "SELECT DISTINCT sample_id FROM event WHERE id > ?"
            self._follow(
                connection.all(
                    f"SELECT sample_id, data FROM state WHERE sample_id IN ({changed})", (self.seen,)
                )
            )
            self.seen = newest

    def _follow(self, rows: list[tuple[Any, ...]]) -> None:
        items = self.items_of([sample_id for sample_id, _ in rows])
        states = zip(items, rows, strict=True)
        self.update([(item, unpacked(data)) for item, (_, data) in states if item is not None])

    def items_of(self, sample_ids: list[str]) -> list[int | None]:
        """Items by sample id; None for samples that are not in this queue."""
        wanted = np.array([name.encode() for name in sample_ids], "S24")
        at = np.searchsorted(self.sample_ids, wanted)
        inside = np.minimum(at, max(len(self.sample_ids) - 1, 0))
        there = self.sample_ids[inside] == wanted if len(self.sample_ids) else np.zeros(len(wanted), bool)
        return [int(i) if ok else None for i, ok in zip(inside, there, strict=True)]

    def update(self, changed: Sequence[tuple[int, State]]) -> None:
        """Follow the new states of items, each item named once."""
        if not changed:
            return
        items = np.fromiter((item for item, _ in changed), np.int64, len(changed))
        told = [self._told(state) for _, state in changed]
        arrays: tuple[np.ndarray, ...] = (self.verdict, self.votes, self.by, self.reasons, self.second)
        for array, values in zip(arrays, zip(*told, strict=True), strict=True):
            array[items] = values
        for item, state in changed:
            if state.caption is not None:
                self.captions[item] = state.caption
            elif item in self.captions:
                del self.captions[item]
            if state.crop is not None:
                self.crops.add(item)
            elif item in self.crops:
                self.crops.remove(item)
            if self.votes_required == 1:  # then nothing waits for more votes
                continue
            if state.votes and len(state.votes) < self.votes_required and not state.ruling:
                self.voters[item] = {vote.person for vote in state.votes}
            else:
                self.voters.pop(item, None)

    def _told(self, state: State) -> tuple[int, int, int, int, bool]:
        """An item's ``verdict``, ``votes``, ``by``, ``reasons`` and ``second``."""
        if self.votes_required == 1 and state.ruling is None and not state.seconds and len(state.votes) < 2:
            if not state.votes:  # these two are nearly all there are, and there may be a million
                return NONE, 0, 0, 0, False
            [vote] = state.votes
            return CODES[vote.verdict], 1, vote.person, self._bits(vote.reasons) if vote.reasons else 0, False
        verdict = state.verdict(self.votes_required)
        deciding = state.deciding(self.votes_required) if verdict else ()
        votes = CLOSED if state.ruling else min(len(state.votes), CLOSED - 1)
        reasons = self._bits(reason for vote in deciding for reason in vote.reasons)
        return CODES[verdict], votes, deciding[-1].person if deciding else 0, reasons, _contested(state)

    def open_items(self) -> np.ndarray:
        """Whether an item still asks for votes: bool."""
        return np.asarray(self.votes < self.votes_required)

    def left_for(self, person: int) -> int:
        """Items that one person may still vote on."""
        mine = sum(person in voters for voters in list(self.voters.values()))
        return int(np.count_nonzero(self.open_items())) - mine

    def _bits(self, reasons: Iterable[str]) -> int:
        bits = 0
        for code in reasons:
            bit = self.codes.setdefault(code, len(self.codes))
            if bit >= MOST_REASONS:
                raise MashbillError(
                    f"the decisions of this queue know more than {MOST_REASONS} reasons. Expected fewer: "
                    "give --reasons a shorter list."
                )
            bits |= 1 << bit
        return bits


def _contested(state: State) -> bool:
    """Whether people's newest words on a sample differ."""
    if len(state.votes) + len(state.seconds) + (state.ruling is not None) < 2:
        return False
    return len({vote.verdict for vote in state.opinions().values()}) > 1


def newest_event(connection: Connection) -> int:
    """The id of the newest event, 0 where there is none."""
    found = connection.one("SELECT max(id) FROM event")
    return int(found[0] or 0) if found else 0
