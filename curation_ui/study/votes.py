"""Trials and votes of a study, in the database that also keeps its people.

A trial is what one person was given: it is written before they see it, and again only to move its end. A
vote answers one trial, and is never changed.
"""

from __future__ import annotations

import hmac
from dataclasses import astuple, dataclass, fields
from typing import Any

import pyarrow as pa

from curation_ui.database import Connection

TABLES = (
    """CREATE TABLE IF NOT EXISTS study (
        digest TEXT PRIMARY KEY, salt TEXT NOT NULL)""",
    """CREATE TABLE IF NOT EXISTS consent (
        annotator TEXT PRIMARY KEY, at DOUBLE PRECISION NOT NULL)""",
    """CREATE TABLE IF NOT EXISTS trial (
        token TEXT PRIMARY KEY, annotator TEXT NOT NULL, question TEXT NOT NULL, position BIGINT NOT NULL,
        kind TEXT NOT NULL, pair BIGINT NOT NULL, other BIGINT NOT NULL, slot BIGINT NOT NULL,
        left_is_a INTEGER NOT NULL, given_at DOUBLE PRECISION NOT NULL,
        expires_at DOUBLE PRECISION NOT NULL, UNIQUE (annotator, question, position))""",
    """CREATE TABLE IF NOT EXISTS vote (
        id BIGINT PRIMARY KEY, uuid TEXT NOT NULL UNIQUE, trial TEXT NOT NULL UNIQUE REFERENCES trial(token),
        choice TEXT NOT NULL, rt_ms BIGINT NOT NULL, decoded_ms BIGINT NOT NULL,
        viewport_width BIGINT NOT NULL, viewport_height BIGINT NOT NULL, dpr DOUBLE PRECISION NOT NULL,
        client_at TEXT NOT NULL, server_at DOUBLE PRECISION NOT NULL)""",
)
_REFUSED = ("study", "consent", "vote")
SQLITE_TRIGGERS = tuple(
    f"""CREATE TRIGGER IF NOT EXISTS {table}_no_{change} BEFORE {change} ON {table}
        BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"""
    for table in _REFUSED
    for change in ("update", "delete")
)
POSTGRES_TRIGGERS = tuple(
    f"""CREATE OR REPLACE TRIGGER {table}_grows BEFORE UPDATE OR DELETE OR TRUNCATE ON {table}
        FOR EACH STATEMENT EXECUTE FUNCTION append_only()"""
    for table in _REFUSED
)


@dataclass(frozen=True)
class Trial:
    """One thing shown to one person. ``kind``: vote, retest, gold or practice; the last two have a known
    answer. ``pair``: what was shown; of a known answer the pair whose image is the good one, image a where
    ``slot`` is 0, else b; and ``other`` the pair that gives the bad one, -1 where it is the good one
    corrupted. ``left_is_a``: the image of model a, or the good one, stands left."""

    token: str
    annotator: str
    question: str
    position: int
    kind: str
    pair: int
    other: int
    slot: int
    left_is_a: bool
    given_at: float
    expires_at: float

    @property
    def known(self) -> bool:
        return self.kind in ("gold", "practice")

    def right(self, choice: str) -> bool | None:
        """Whether a choice is the known answer; None where there is none, or the choice is to skip."""
        if not self.known or choice == "skip":
            return None
        return choice == ("left" if self.left_is_a else "right")


@dataclass(frozen=True)
class Vote:
    """The answer to one trial. ``rt_ms``: from both images shown to the key. ``decoded_ms``: from the
    request to both images decoded. The viewport is in CSS pixels, of which one is ``dpr`` device pixels."""

    uuid: str
    trial: str
    choice: str
    rt_ms: int
    decoded_ms: int
    viewport_width: int
    viewport_height: int
    dpr: float
    client_at: str
    server_at: float


TRIAL_COLUMNS = tuple(field.name for field in fields(Trial))
VOTE_COLUMNS = tuple(field.name for field in fields(Vote))

EXPORT = pa.schema(
    [
        ("vote", pa.int64()),
        ("question", pa.string()),
        ("kind", pa.string()),
        ("pair", pa.int64()),
        ("prompt", pa.int64()),
        ("text", pa.string()),
        ("seed", pa.int64()),
        ("model_a", pa.string()),
        ("model_b", pa.string()),
        ("annotator", pa.string()),
        ("position", pa.int64()),
        ("slot", pa.int64()),
        ("left_is_a", pa.bool_()),
        ("choice", pa.string()),
        ("right", pa.bool_()),
        ("rt_ms", pa.int64()),
        ("decoded_ms", pa.int64()),
        ("viewport_width", pa.int64()),
        ("viewport_height", pa.int64()),
        ("dpr", pa.float64()),
        ("given_at", pa.timestamp("us", "UTC")),
        ("server_at", pa.timestamp("us", "UTC")),
        ("client_at", pa.string()),
        ("excluded", pa.string()),
    ]
)
"""``votes.parquet``: every vote. ``right``: whether a known answer was given; null of votes and retests.
``excluded``: the rules that leave its annotator out, null for none. ``annotator`` is not made of a name."""


def make_tables(connection: Connection, digest: str, salt: str) -> str:
    """Make what is missing; returns the salt that names this study's annotators.

    Raises:
        ValueError: the database holds votes of another study.
    """
    triggers = POSTGRES_TRIGGERS if connection.postgres else SQLITE_TRIGGERS
    for statement in (*TABLES, *triggers):
        connection.run(statement)
    found = connection.one("SELECT digest, salt FROM study")
    if found is None:
        connection.run("INSERT INTO study (digest, salt) VALUES (?, ?)", (digest, salt))
        return salt
    if found[0] != digest:
        raise ValueError(f"this database has the votes of study {found[0]}, and this is study {digest}")
    return str(found[1])


def annotator_of(salt: str, person: int) -> str:
    """The name under which a person's votes are kept: 12 hex digits that say nothing of them."""
    return hmac.digest(salt.encode(), f"person {person}".encode(), "sha256").hex()[:12]


def token_of(salt: str, annotator: str, question: str, position: int) -> str:
    """Names a trial in the browser: nobody can tell the pair or the sides from it."""
    text = f"trial {annotator} {question} {position}"
    return hmac.digest(salt.encode(), text.encode(), "sha256").hex()[:32]


def write_trial(connection: Connection, trial: Trial) -> None:
    values = (*astuple(trial)[:8], int(trial.left_is_a), trial.given_at, trial.expires_at)
    marks = ", ".join("?" * len(TRIAL_COLUMNS))
    connection.run(f"INSERT INTO trial ({', '.join(TRIAL_COLUMNS)}) VALUES ({marks})", values)


def move_end(connection: Connection, tokens: list[str], expires_at: float) -> None:
    rows = [(expires_at, token) for token in tokens]
    connection.many("UPDATE trial SET expires_at = ? WHERE token = ?", rows)


def write_vote(connection: Connection, number: int, vote: Vote) -> None:
    marks = ", ".join("?" * (len(VOTE_COLUMNS) + 1))
    values = (number, *astuple(vote))
    connection.run(f"INSERT INTO vote (id, {', '.join(VOTE_COLUMNS)}) VALUES ({marks})", values)


def read_trials(connection: Connection) -> list[Trial]:
    """Every trial, in the order in which they were given."""
    rows = connection.all(f"SELECT {', '.join(TRIAL_COLUMNS)} FROM trial ORDER BY given_at, position, token")
    found: list[list[Any]] = [[*row[:8], bool(row[8]), *row[9:]] for row in rows]
    return [Trial(*values) for values in found]


def read_votes(connection: Connection) -> list[Vote]:
    """Every vote, oldest first; its number in the table is its place here, from 1."""
    rows = connection.all(f"SELECT {', '.join(VOTE_COLUMNS)} FROM vote ORDER BY id")
    return [Vote(*row) for row in rows]
