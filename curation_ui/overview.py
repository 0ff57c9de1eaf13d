"""What is going on in a queue, in numbers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np

from curation_ui.board import KEEP, REJECT
from curation_ui.database import Connection
from curation_ui.people import told, work_of
from curation_ui.review import Review
from curation_ui.states import State, unpacked

DISAGREED = 50
HOURS = 24 * 14


def overview(connection: Connection, review: Review) -> dict[str, Any]:
    """Numbers of the whole queue, for the overview page."""
    board, items = review.board, len(review.catalog)
    states = all_states(connection)
    work = work_of(connection, states.values())
    people = connection.all("SELECT id, name FROM person WHERE revoked_at IS NULL ORDER BY id")
    kept, rejected = (int(np.count_nonzero(board.verdict == code)) for code in (KEEP, REJECT))
    live = connection.one("SELECT count(*) FROM lease WHERE expires_at > ?", (review.clock(),))
    return {
        "items": items,
        "decided": kept + rejected,
        "kept": kept,
        "rejected": rejected,
        "coverage": (kept + rejected) / items,
        "second_opinions": sum(len(state.seconds) for state in states.values()),
        "open_leases": int(live[0]) if live else 0,
        "captions_changed": len(board.captions),
        "crops_changed": len(board.crops),
        "reasons": _reasons(review),
        "per_hour": _per_hour(connection, review.clock()),
        "people": told(work, people),
        "disagreed": np.flatnonzero(board.second)[:DISAGREED].tolist(),
    }


def without_verdicts(found: dict[str, Any], person: int) -> dict[str, Any]:
    """An overview for who judges on their own: nothing that tells what others said."""
    people = [line for line in found["people"] if line["id"] == person]
    return {**found, "people": people, "reasons": {}, "disagreed": []}


def all_states(connection: Connection) -> dict[str, State]:
    """The state of every sample that was ever decided about, by sample id."""
    rows = connection.all("SELECT sample_id, data FROM state ORDER BY sample_id")
    return {sample_id: unpacked(data) for sample_id, data in rows}


def _reasons(review: Review) -> dict[str, int]:
    """How many rejected items have each reason, the most frequent first."""
    board = review.board
    rejected = board.reasons[board.verdict == REJECT]
    counts = {code: int(np.count_nonzero(rejected >> bit & 1)) for code, bit in board.codes.items()}
    return {code: count for code, count in sorted(counts.items(), key=lambda found: -found[1]) if count}


def _per_hour(connection: Connection, now: float) -> list[dict[str, Any]]:
    """Decisions that count, in each hour of the last days in which there were any."""
    found = connection.all(
        "SELECT floor(at / 3600), count(*) FROM event e WHERE kind IN ('keep', 'reject') AND at > ? "
        "AND NOT EXISTS (SELECT 1 FROM event u WHERE u.undoes = e.id) GROUP BY floor(at / 3600) ORDER BY 1",
        (now - HOURS * 3600,),
    )
    return [
        {"hour": datetime.fromtimestamp(float(hour) * 3600, UTC).isoformat(), "decided": count}
        for hour, count in found
    ]
