"""How people get on: how many they decided, how fast, how, and whether others agree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from curation_ui.database import Connection
from curation_ui.states import State

PAUSE_S = 120.0
"""Time between two decisions that is longer was not spent deciding."""
SECOND_S = 1.0
"""What a decision counts for at least: a batch is no work at infinite speed."""


@dataclass
class Work:
    """One person's share. ``busy_s``: time between decisions, without pauses."""

    decided: int = 0
    keeps: int = 0
    busy_s: float = 0.0
    last: float = 0.0
    agreed: int = 0
    compared: int = 0


@dataclass
class Working:
    """Everybody's work, by person."""

    people: dict[int, Work] = field(default_factory=dict)

    def of(self, person: int) -> Work:
        return self.people.setdefault(person, Work())


def work_of(connection: Connection, states: Iterable[State]) -> Working:
    """From every event and state there is. A sample counts once for a person, as they left it."""
    found = Working()
    undone = {number for (number,) in connection.all("SELECT undoes FROM event WHERE undoes IS NOT NULL")}
    said: dict[tuple[int, str], str] = {}
    rows = connection.all(
        "SELECT id, person, kind, at, sample_id FROM event WHERE kind IN ('keep', 'reject', 'unset') "
        "AND batch IS NULL ORDER BY id"
    )
    for number, person, kind, at, sample_id in rows:
        work = found.of(person)
        pause = at - work.last
        work.busy_s += pause if work.last and pause <= PAUSE_S else SECOND_S
        work.last = at
        if number not in undone:
            said[person, sample_id] = kind
    for (person, _), kind in said.items():
        found.of(person).decided += kind != "unset"
        found.of(person).keeps += kind == "keep"
    for state in states:
        _compare(found, state)
    return found


def _compare(found: Working, state: State) -> None:
    """Each opinion against the majority of the others; no word where these are as many for as against."""
    opinions = state.opinions()
    for person, vote in opinions.items() if len(opinions) > 1 else ():
        counts = Counter(other.verdict for name, other in opinions.items() if name != person)
        if counts["keep"] != counts["reject"]:
            majority = "keep" if counts["keep"] > counts["reject"] else "reject"
            found.of(person).compared += 1
            found.of(person).agreed += vote.verdict == majority


def told(found: Working, people: Sequence[tuple[int, str]]) -> list[dict[str, Any]]:
    """For pages: a line for each person."""
    lines = []
    for person, name in people:
        work = found.people.get(person, Work())
        lines.append(
            {
                "id": person,
                "name": name,
                "decided": work.decided,
                "per_hour": round(3600 * work.decided / work.busy_s, 1) if work.busy_s else 0.0,
                "keep_share": round(work.keeps / work.decided, 4) if work.decided else None,
                "agreement": round(work.agreed / work.compared, 4) if work.compared else None,
                "votes_compared": work.compared,
            }
        )
    return lines
