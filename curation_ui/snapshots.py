"""Snapshots: the items that a query finds, in an order, frozen; positions in it hold while others decide."""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np

from curation_ui.access import Person, Refused
from curation_ui.bodies import Ask
from curation_ui.catalog import kind_of
from curation_ui.masks import mask, refuse_verdicts
from curation_ui.planes import inside
from curation_ui.query import QueryError, parse
from curation_ui.review import Review

MOST = 8
"""Snapshots of one person that are remembered; the ones not used for longest go first."""


@dataclass(frozen=True)
class Snapshot:
    """``order``: items, uint32. ``asked``: the query and the sort it came from. ``newest``: id of the newest
    event there was."""

    name: str
    person: int
    order: np.ndarray
    asked: str
    newest: int


class Snapshots:
    """Snapshots by name; each belongs to who made it.

    A name is never given twice, also not by the next server: a page that was left open must not change
    other items than those it shows.
    """

    def __init__(self) -> None:
        self._found: OrderedDict[str, Snapshot] = OrderedDict()
        self._lock = threading.Lock()

    def make(self, review: Review, who: Person, asked: Ask) -> Snapshot:
        """Raises:
        QueryError: the query or the sort is not understood.
        Refused: there is no such map or area.
        """
        query = parse(asked.query)
        if review.settings.votes_required > 1 and not who.may("curator"):
            refuse_verdicts(query)
        newest = review.board.seen
        found = mask(review, query)
        if asked.map:
            found &= inside(review.catalog, asked.map, asked.area)
        order = _sorted(review, np.flatnonzero(found), asked.sort).astype("<u4")
        said = f"{asked.query} | {asked.sort}"
        with self._lock:
            made = Snapshot(
                f"s{secrets.token_hex(16)}",
                who.id,
                order,
                f"{said} | {asked.map} {list(asked.area)}" if asked.map else said,
                newest,
            )
            self._found[made.name] = made
            own = [name for name, found in self._found.items() if found.person == who.id]
            for name in own[:-MOST]:
                del self._found[name]
        return made

    def get(self, name: str, who: Person) -> Snapshot:
        """Raises:
        Refused: there is none of that name, or it is somebody else's.
        """
        with self._lock:
            found = self._found.get(name)
            if found is None or found.person != who.id:
                raise Refused("that selection is not there any more: make it again", 404)
            self._found.move_to_end(name)
        return found


def _sorted(review: Review, items: np.ndarray, sort: str) -> np.ndarray:
    """Items by a column, ``-`` before its name for the largest first; those without a value come last."""
    name = sort.removeprefix("-")
    if not name or name == "item":
        return items[::-1] if sort.startswith("-") else items
    rows = review.catalog.rows
    if name not in rows.column_names or kind_of(rows[name].type) not in ("number", "text", "bool"):
        there = [field.name for field in rows.schema if kind_of(field.type) in ("number", "text", "bool")]
        raise QueryError(f"there is no column {name!r} to sort by. There are: item, {', '.join(there)}", 0)
    order = review.catalog.sorted_by(name, sort.startswith("-"))
    if len(items) == len(order):
        return order
    wanted = np.zeros(len(order), bool)
    wanted[items] = True
    return np.asarray(order[wanted[order]])
