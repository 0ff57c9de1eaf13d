"""The tables of a queue's database, in SQL that SQLite and PostgreSQL both take.

``event`` and ``batch`` are the truth and only ever grow; ``state`` says what holds now of each sample and
is rewritten with every event; ``lease`` says who is at work on what.
"""

from __future__ import annotations

TABLES = (
    """CREATE TABLE IF NOT EXISTS person (
        id BIGINT PRIMARY KEY, name TEXT NOT NULL, role TEXT NOT NULL, keys TEXT,
        created_at DOUBLE PRECISION NOT NULL, revoked_at DOUBLE PRECISION)""",
    """CREATE TABLE IF NOT EXISTS invite (
        hash TEXT PRIMARY KEY, person BIGINT NOT NULL REFERENCES person(id),
        expires_at DOUBLE PRECISION NOT NULL)""",
    """CREATE TABLE IF NOT EXISTS session (
        hash TEXT PRIMARY KEY, person BIGINT NOT NULL REFERENCES person(id),
        expires_at DOUBLE PRECISION NOT NULL)""",
    """CREATE TABLE IF NOT EXISTS event (
        id INTEGER PRIMARY KEY, uuid TEXT, batch TEXT, sample_id TEXT NOT NULL,
        person BIGINT NOT NULL REFERENCES person(id), kind TEXT NOT NULL, standing TEXT NOT NULL,
        payload TEXT NOT NULL, base BIGINT, undoes BIGINT, shown_ms BIGINT, client_at TEXT,
        ui TEXT NOT NULL, at DOUBLE PRECISION NOT NULL)""",
    "CREATE UNIQUE INDEX IF NOT EXISTS event_uuid ON event (uuid) WHERE uuid IS NOT NULL",
    "CREATE INDEX IF NOT EXISTS event_of_sample ON event (sample_id, id)",
    "CREATE INDEX IF NOT EXISTS event_of_person ON event (person, id)",
    "CREATE INDEX IF NOT EXISTS event_of_batch ON event (batch) WHERE batch IS NOT NULL",
    "CREATE INDEX IF NOT EXISTS event_undone ON event (undoes) WHERE undoes IS NOT NULL",
    """CREATE TABLE IF NOT EXISTS batch (
        uuid TEXT PRIMARY KEY, person BIGINT NOT NULL REFERENCES person(id), kind TEXT NOT NULL,
        asked TEXT NOT NULL, count BIGINT NOT NULL, at DOUBLE PRECISION NOT NULL)""",
    """CREATE TABLE IF NOT EXISTS state (
        sample_id TEXT PRIMARY KEY, version BIGINT NOT NULL, data TEXT NOT NULL)""",
    """CREATE TABLE IF NOT EXISTS lease (
        sample_id TEXT NOT NULL, slot INTEGER NOT NULL, person BIGINT NOT NULL REFERENCES person(id),
        token TEXT NOT NULL, expires_at DOUBLE PRECISION NOT NULL, PRIMARY KEY (sample_id, slot))""",
)

_APPEND_ONLY = ("event", "batch")

SQLITE_TRIGGERS = tuple(
    f"""CREATE TRIGGER IF NOT EXISTS {table}_no_{change} BEFORE {change} ON {table}
        BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"""
    for table in _APPEND_ONLY
    for change in ("update", "delete")
)

POSTGRES_TRIGGERS = (
    """CREATE OR REPLACE FUNCTION append_only() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'the table is append-only'; END $$""",
    *(
        f"""CREATE OR REPLACE TRIGGER {table}_grows BEFORE UPDATE OR DELETE OR TRUNCATE ON {table}
            FOR EACH STATEMENT EXECUTE FUNCTION append_only()"""
        for table in _APPEND_ONLY
    ),
)
