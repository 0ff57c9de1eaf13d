"""Writes what people decided out of a queue's database, as a table that recipes read."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from curation_ui.board import newest_event
from curation_ui.database import Connection
from curation_ui.overview import all_states
from curation_ui.review import Review
from curation_ui.states import State
from store.decisions import DECISIONS, Decisions, write_decisions

EVERY_S = 60.0


class Exporter:
    """Exports a queue; one at a time, and only what is new."""

    def __init__(self, review: Review) -> None:
        self._review = review
        self._lock = threading.Lock()
        self._last = -1
        self._found: Decisions | None = None

    def export(self) -> Decisions:
        """What is decided now; waits for the database and the store, so call it in a thread."""
        with self._lock:
            last, rows = self._review.database.submit_read(self._rows).result()
            if self._found is None or last != self._last:
                self._found, self._last = self._write(last, rows), last
            return self._found

    def changed(self) -> bool:
        """Whether anything was decided since the last export."""
        return self._review.database.submit_read(newest_event).result() not in (self._last, 0)

    def _rows(self, connection: Connection) -> tuple[int, list[dict[str, Any]]]:
        last, votes_required = newest_event(connection), self._review.settings.votes_required
        names: dict[int, str] = dict(connection.all("SELECT id, name FROM person"))
        states = all_states(connection)
        rows = [
            decision(sample_id, state, votes_required, names)
            for sample_id, state in states.items()
            if said(state)
        ]
        return last, rows

    def _write(self, last: int, rows: list[dict[str, Any]]) -> Decisions:
        settings = self._review.settings
        about = {
            "version": settings.version.version,
            "queue": len(self._review.catalog),
            "votes_required": settings.votes_required,
            "last_event": last,
        }
        table = pa.Table.from_pylist(rows, DECISIONS)
        return write_decisions(settings.store, settings.version.dataset, table, about)


def said(state: State) -> bool:
    """Whether anything is left of what people did to a sample."""
    return bool(state.opinions()) or state.caption is not None or state.crop is not None


def decision(sample_id: str, state: State, votes_required: int, names: dict[int, str]) -> dict[str, Any]:
    """A row of ``store.decisions.DECISIONS``."""
    verdict, deciding = state.verdict(votes_required), state.deciding(votes_required)
    opinions = state.opinions().values()
    reasons = dict.fromkeys(r for vote in deciding for r in vote.reasons if verdict == "reject")
    left, top, right, bottom = state.crop or (None, None, None, None)
    people = {vote.person for vote in opinions} | ({state.caption_by, state.crop_by} - {0})
    events = {vote.event for vote in opinions} | ({state.caption_event, state.crop_event} - {0})
    return {
        "sample_id": sample_id,
        "verdict": verdict,
        "reasons": list(reasons),
        "caption": state.caption,
        "crop_left": left,
        "crop_top": top,
        "crop_right": right,
        "crop_bottom": bottom,
        "votes_keep": sum(vote.verdict == "keep" for vote in state.votes),
        "votes_reject": sum(vote.verdict == "reject" for vote in state.votes),
        "people": [names[person] for person in sorted(people)],
        "events": sorted(events),
        "decided_at": datetime.fromtimestamp(state.decided_at, UTC),
    }
