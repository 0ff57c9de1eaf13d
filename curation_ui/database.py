"""The database of a queue: SQLite in the store, or PostgreSQL for several hosts; one writer, many readers.

Every change is a job that the writer thread runs. Jobs that wait for each other's disk are committed
together: what is waiting when a commit ends, up to ``COLLECT_S`` of work, becomes the next one. A job's
answer is given when its commit is on the disk.

The SQL of this package is what both databases take; values are written ``?``.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from curation_ui.schema import POSTGRES_TRIGGERS, SQLITE_TRIGGERS, TABLES
from store.errors import MashbillError

COLLECT_S = 0.005
"""No job is added to a commit that has been in the making for so long."""
READERS = 4
BUSY_S = 5.0
CHUNK = 10_000
"""Values of one statement: SQLite takes 32,766, PostgreSQL 65,535."""
SETTINGS = (
    "journal_mode=WAL",
    "synchronous=FULL",
    "foreign_keys=ON",
    "cache_size=-131072",  # KiB: a batch of 100,000 is written once, not piece by piece as 2 MiB fill up
    "wal_autocheckpoint=50000",  # pages; no one waits for what ``keeping`` does meanwhile
)
"""Of every connection to SQLite."""

T = TypeVar("T")
Row = tuple[Any, ...]


class Connection:
    """One connection that takes the same SQL whichever database it is."""

    def __init__(self, raw: Any, postgres: bool) -> None:
        self.raw = raw
        self.postgres = postgres

    def all(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        return list(self.raw.execute(self._sql(sql), values).fetchall())

    def one(self, sql: str, values: Sequence[Any] = ()) -> Row | None:
        found: Row | None = self.raw.execute(self._sql(sql), values).fetchone()
        return found

    def run(self, sql: str, values: Sequence[Any] = ()) -> int:
        """Rows that were changed."""
        return int(self.raw.execute(self._sql(sql), values).rowcount)

    def many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        target = self.raw.cursor() if self.postgres else self.raw
        target.executemany(self._sql(sql), rows)

    def among(self, sql: str, values: Sequence[Any]) -> list[Row]:
        """Rows of ``sql``, which ends in ``IN``, for any number of values."""
        found: list[Row] = []
        for start in range(0, len(values), CHUNK):
            part = values[start : start + CHUNK]
            found += self.all(f"{sql} ({', '.join('?' * len(part))})", part)
        return found

    def lost(self) -> bool:
        """Whether the server has ended it, or cannot be reached any more."""
        return self.postgres and bool(self.raw.closed)

    def _sql(self, sql: str) -> str:
        return sql.replace("?", "%s") if self.postgres else sql


@dataclass(frozen=True)
class _Job:
    run: Callable[[Connection], Any]
    answer: Future[Any]


class Database:
    """An opened database. ``url`` is ``postgresql://...``, or the path of an SQLite file.

    Args:
        space: the schema in PostgreSQL, one for each queue; SQLite has a file for each.
    """

    def __init__(self, url: str, space: str) -> None:
        self.postgres = url.startswith(("postgresql://", "postgres://"))
        self._url, self._space = url, space
        self.before: Callable[[Connection], None] = lambda connection: None
        """Run at the start of each commit, when no one else can write."""
        self.lost: Callable[[Connection], None] = lambda connection: None
        """Run after a commit failed: what was kept in memory of its jobs is not so."""
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self.closing = contextlib.ExitStack()
        """What else ends with this database."""
        self._ended = False
        self._local = threading.local()
        self._opened: set[Connection] = set()
        self._readers = ThreadPoolExecutor(READERS, "reader")
        self._writer = self._connect()
        self._make_tables()
        self._thread = threading.Thread(target=self._write_all, name="writer", daemon=True)
        self._thread.start()

    async def write(self, job: Callable[[Connection], T]) -> T:
        """The job's answer, once what it wrote is on the disk."""
        return await asyncio.wrap_future(self.submit(job))

    def submit(self, job: Callable[[Connection], T]) -> Future[T]:
        """``write`` for who is not in an event loop."""
        answer: Future[T] = Future()
        self._jobs.put(_Job(job, answer))
        return answer

    async def read(self, job: Callable[[Connection], T]) -> T:
        return await asyncio.wrap_future(self.submit_read(job))

    def submit_read(self, job: Callable[[Connection], T]) -> Future[T]:
        return self._readers.submit(self._read, job)

    def _read(self, job: Callable[[Connection], T]) -> T:
        """The job's answer; it is asked once more where the connection was lost."""
        connection = self._reader()
        try:
            return job(connection)
        except Exception:
            if not connection.lost():
                raise
        self._opened.discard(connection)
        self._local.connection = None
        return job(self._reader())

    def close(self) -> None:
        """Finish what is waiting, then close."""
        self._jobs.put(None)
        self._thread.join()
        self._readers.shutdown()
        for connection in [*self._opened, self._writer]:
            connection.raw.close()
        self.closing.close()

    def _reader(self) -> Connection:
        found: Connection | None = getattr(self._local, "connection", None)
        if found is None:
            found = self._local.connection = self._connect()
            self._opened.add(found)
        return found

    def _connect(self) -> Connection:
        return Connection(self._postgres() if self.postgres else _sqlite(self._url), self.postgres)

    def _postgres(self) -> Any:
        import psycopg
        from psycopg import sql

        try:
            raw = psycopg.connect(self._url, autocommit=True, connect_timeout=10)
            space = sql.Identifier(self._space)
            raw.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(space))
            raw.execute(sql.SQL("SET search_path TO {}").format(space))
        except psycopg.Error as error:
            said = str(error).strip().splitlines()[0]
            raise MashbillError(
                f"the database cannot be opened: {said}. Expected --database "
                "postgresql://USER:PASSWORD@HOST:PORT/NAME of a running server, and a user that may make "
                "a schema there."
            ) from error
        return raw

    def _make_tables(self) -> None:
        triggers = POSTGRES_TRIGGERS if self.postgres else SQLITE_TRIGGERS
        self._begin()
        for statement in (*TABLES, *triggers):
            self._writer.run(statement)
        self._writer.run("COMMIT")

    def _begin(self) -> None:
        self._writer.run("BEGIN" if self.postgres else "BEGIN IMMEDIATE")
        if self.postgres:
            self._writer.all("SELECT pg_advisory_xact_lock(hashtext(?))", (f"mashbill {self._space}",))

    def _begin_again(self) -> None:
        """Begin a commit, on a new connection where the server has ended the one there was."""
        try:
            if not self._writer.lost():
                self._begin()
        except Exception:
            if not self._writer.lost():
                raise
        if self._writer.lost():
            self._writer = self._connect()
            self._begin()
            self.lost(self._writer)

    def _write_all(self) -> None:
        while not self._ended:
            job = self._jobs.get()
            if job is None:
                return
            self._commit(job)

    def _commit(self, job: _Job) -> None:
        """One commit of a job and of those that wait behind it."""
        taken = [job]
        done: list[tuple[_Job, Any]] = []
        started = time.monotonic()
        try:
            self._begin_again()
            self.before(self._writer)
            self._run(job, done)
            while (another := self._next(started)) is not None:
                taken.append(another)
                self._run(another, done)
            self._writer.run("COMMIT")
        except Exception as error:
            self._fail(error, taken)
            return
        for finished, answer in done:
            finished.answer.set_result(answer)

    def _next(self, started: float) -> _Job | None:
        if self._jobs.empty() or time.monotonic() - started > COLLECT_S:
            return None
        job = self._jobs.get()
        self._ended = job is None
        return job

    def _run(self, job: _Job, done: list[tuple[_Job, Any]]) -> None:
        """Run one job so that its failure leaves those before it as they were."""
        self._writer.run("SAVEPOINT job")
        try:
            answer = job.run(self._writer)
        except Exception as error:  # whatever it is, it is told to who asked, and only to them
            if self._writer.lost():
                raise
            self._writer.run("ROLLBACK TO SAVEPOINT job")
            job.answer.set_exception(error)
        else:
            self._writer.run("RELEASE SAVEPOINT job")
            done.append((job, answer))

    def _fail(self, error: Exception, jobs: Sequence[_Job]) -> None:
        """Nothing of this commit is kept: say so to everyone who waits for it."""
        with contextlib.suppress(Exception):  # the database may be gone altogether
            self._writer.run("ROLLBACK")
            self.lost(self._writer)
        told = error
        if self._writer.lost():
            told = MashbillError(
                "the connection to the database was lost, and this may not be stored. It is opened again by "
                "the next change: send the same once more."
            )
            told.__cause__ = error
        for job in jobs:
            if not job.answer.done():
                job.answer.set_exception(told)


def _sqlite(path: str) -> sqlite3.Connection:
    raw = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    for setting in SETTINGS:
        raw.execute(f"PRAGMA {setting}")
    return raw
