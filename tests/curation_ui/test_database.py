"""The database: what was acknowledged is on the disk, whichever database, whatever happens."""

from __future__ import annotations

import contextlib
import re
import signal
import sqlite3
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path
from typing import Any

import psycopg
import pytest

from curation_ui import keeping
from curation_ui.database import Database
from curation_ui.place import database_of, refuse_shared, schema_of
from store.errors import MashbillError
from store.store import open_store

TIMEOUT_S = 60


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return str(tmp_path / "events.sqlite")
    found: str = request.getfixturevalue("postgres")
    return found


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    found = Database(url, f"test_{uuid.uuid4().hex}")
    yield found
    found.close()


PERSON = "INSERT INTO person (id, name, role, created_at) VALUES (?, ?, 'admin', 0)"


def test_a_job_that_fails_takes_nothing_with_it(database: Database) -> None:
    held = threading.Event()

    def slow(connection: Any) -> int:
        held.wait(TIMEOUT_S)
        return int(connection.run(PERSON, (1, "Ana")))

    def wrong(connection: Any) -> None:
        connection.run(PERSON, (2, "Ben"))
        raise MashbillError("no")

    def defect(connection: Any) -> None:
        connection.run(PERSON, (4, "Di"))
        connection.run(PERSON, (2**70, "too large for any column"))

    jobs = (slow, wrong, lambda c: c.run(PERSON, (3, "Cy")), defect)
    answers = [database.submit(job) for job in jobs]
    held.set()
    assert (answers[0].result(TIMEOUT_S), answers[2].result(TIMEOUT_S)) == (1, 1)
    with pytest.raises(MashbillError, match="no"):
        answers[1].result(TIMEOUT_S)
    with pytest.raises((OverflowError, psycopg.Error)):
        answers[3].result(TIMEOUT_S)
    assert database.submit_read(lambda c: c.all("SELECT id FROM person ORDER BY id")).result() == [(1,), (3,)]


def test_a_failed_commit_is_told_to_all_who_wait_for_it(database: Database) -> None:
    lost: list[Any] = []
    database.lost = lost.append

    def broken(connection: Any) -> None:
        raise RuntimeError("a defect")

    before, database.before = database.before, broken
    with pytest.raises(RuntimeError):
        database.submit(lambda c: c.run(PERSON, (1, "Ana"))).result(TIMEOUT_S)
    assert len(lost) == 1
    database.before = before
    assert database.submit(lambda c: c.run(PERSON, (1, "Ana"))).result(TIMEOUT_S) == 1


@pytest.mark.parametrize("change", ["UPDATE {} SET person = 1", "DELETE FROM {}"])
@pytest.mark.parametrize("table", ["event", "batch"])
def test_what_was_recorded_cannot_be_changed(database: Database, table: str, change: str) -> None:
    def fill(connection: Any) -> None:
        connection.run(PERSON, (1, "Ana"))
        connection.run("INSERT INTO batch VALUES ('b', 1, 'keep', '{}', 0, 0)")
        connection.run(
            "INSERT INTO event (id, sample_id, person, kind, standing, payload, ui, at) "
            "VALUES (1, 'a', 1, 'keep', 'vote', '{}', '', 0)"
        )

    database.submit(fill).result(TIMEOUT_S)
    with pytest.raises((sqlite3.Error, psycopg.Error), match="append-only"):
        database.submit(lambda c: c.run(change.format(table))).result(TIMEOUT_S)
    assert database.submit_read(lambda c: c.one(f"SELECT count(*) FROM {table}")).result() == (1,)


def test_sqlite_is_told_to_lose_nothing(tmp_path: Path) -> None:
    database = Database(str(tmp_path / "x.sqlite"), "x")
    found = [
        database.submit(lambda c, name=name: c.one(f"PRAGMA {name}")).result(TIMEOUT_S)  # type: ignore[misc]
        for name in ("journal_mode", "synchronous", "foreign_keys")
    ]
    database.close()
    assert found == [("wal",), (2,), (1,)]


def test_reviewing_on_postgresql_from_two_hosts(hats: Any, serving: Any, postgres: str) -> None:
    """The whole way, with two servers over one database: each sees what the other wrote."""
    one = serving(hats, database=postgres)
    two = serving(hats, database=postgres)
    ana, ben = one.owner(), two.owner()
    first, second = ana.get("/api/queue?n=4"), ben.get("/api/queue?n=40")
    assert len(first["cards"]) + len(second["cards"]) >= 40
    name = str(uuid.uuid4())
    assert ana.event(0, "keep", uuid=name)["status"] == "done"
    assert ben.event(0, "keep", uuid=name)["status"] == "repeat"
    assert ben.get("/api/cards?items=0")["cards"][0]["verdict"] == "keep"
    assert 0 not in {card["item"] for card in ben.get("/api/queue?n=64")["cards"]}
    made = ana.post("/api/snapshots", {"query": ""})
    batch = {"uuid": str(uuid.uuid4()), "snapshot": made["snapshot"], "stop": 40, "kind": "reject"}
    assert ana.post("/api/batch", batch)["count"] == 40
    assert ana.post("/api/undo", {"uuid": str(uuid.uuid4())})["undone"]["count"] == 40
    overview = ben.get("/api/overview")
    assert (overview["kept"], overview["rejected"]) == (1, 0)
    assert ana.post("/api/export", {})["coverage"] == 1 / 40


def test_a_host_that_only_reads_follows_the_others(hats: Any, serving: Any, postgres: str) -> None:
    one, two = serving(hats, database=postgres), serving(hats, database=postgres)
    one.owner().event(0, "reject")
    reader = two.owner()
    end = time.monotonic() + TIMEOUT_S
    while not (found := reader.post("/api/snapshots", {"query": "verdict:reject"})["count"]):
        assert time.monotonic() < end, "it never hears of what the other wrote"
        time.sleep(0.2)
    assert found == 1


def test_each_store_has_a_schema_of_its_own_and_its_name_is_short(tmp_path: Path) -> None:
    stores = [open_store(tmp_path / name, create=True) for name in ("a", "b")]
    names = {schema_of(store, dataset) for store in stores for dataset in ("x" * 70 + "1", "x" * 70 + "2")}
    assert (len(names), max(map(len, names)) < 63) == (4, True)
    assert schema_of(stores[0], "hats") == schema_of(stores[0], "hats")


def test_a_database_that_is_not_there_is_named(hats: Any, serving: Any, tmp_path: Path) -> None:
    with pytest.raises(MashbillError, match="cannot be opened"):
        serving(hats, database="postgresql://nobody@127.0.0.1:1/none")
    folder = Path((hats[0].root / "curation" / "hats").path)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "events.sqlite").write_bytes(b"not a database at all, but something long enough" * 100)
    with pytest.raises(MashbillError, match=r"events\.sqlite cannot be opened"):
        serving(hats)


def test_a_network_filesystem_is_refused(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/sda / ext4 rw 0 0\nserver:/x {tmp_path} nfs4 rw 0 0\n")
    with pytest.raises(MashbillError, match=r"network filesystem \(nfs4\).*--database"):
        refuse_shared(tmp_path / "store", mounts)
    refuse_shared(Path("/elsewhere"), mounts)


LINK = re.compile(r":(\d+)/enter#(\S+)")


def test_killed_in_the_middle_it_has_all_it_acknowledged(hats: Any, command: Any, client_of: Any) -> None:
    """``kill -9`` while decisions stream in; then the same ones are sent again."""
    line, environment = command
    start = [*line, "curate", "hats", "--store", hats[0].url, "--port", "0"]
    with subprocess.Popen(start, env=environment, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        client = client_of(*LINK.search(running.stdout.readline()).groups())  # type: ignore[union-attr]
        acknowledged = []
        timer = threading.Timer(0.5, running.kill)
        timer.start()
        try:
            for number in range(5000):
                event = {"uuid": f"event-{number:05d}", "item": number % 40, "kind": "keep", "base": 0}
                client.post("/api/events", {"events": [event]})
                acknowledged.append(event)
        except (OSError, HTTPException):  # it was killed
            pass
        timer.join()
        assert running.wait(TIMEOUT_S) == -signal.SIGKILL
    assert acknowledged
    with subprocess.Popen(start, env=environment, stdout=subprocess.PIPE, text=True) as again:
        assert again.stdout is not None
        client = client_of(*LINK.search(again.stdout.readline()).groups())  # type: ignore[union-attr]
        for first in range(0, len(acknowledged), 200):
            results = client.post("/api/events", {"events": acknowledged[first : first + 200]})["results"]
            assert {result["status"] for result in results} == {"repeat"}
        again.send_signal(signal.SIGTERM)
        rest = again.stdout.read()
        assert again.wait(TIMEOUT_S) == 0
    assert "of 40 decided" in rest


HANG_UP = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"


def test_a_lost_connection_is_opened_again(hats: Any, serving: Any, postgres: str) -> None:
    """PostgreSQL hangs up between two changes, and in the middle of one."""
    served = serving(hats, database=postgres)
    owner = served.owner()
    assert owner.event(0, "keep")["status"] == "done"
    with psycopg.connect(postgres, autocommit=True) as other:
        other.execute(HANG_UP)
        assert owner.event(1, "reject", reasons=["blur"])["status"] == "done"
        other.execute(HANG_UP)
        assert [card["verdict"] for card in owner.get("/api/cards?items=0,1")["cards"]] == ["keep", "reject"]

        def cut_off(connection: Any) -> None:
            other.execute(HANG_UP)
            connection.all("SELECT 1")

        database = served.review.database
        with pytest.raises(MashbillError, match=r"connection to the database was lost.*once more"):
            database.submit(cut_off).result(TIMEOUT_S)
    assert owner.event(2, "keep")["status"] == "done"
    assert served.review.board.verdict[:4].tolist() == [1, 2, 1, 0]


def test_what_waits_is_told_when_a_commit_cannot_begin(tmp_path: Path) -> None:
    file = tmp_path / "events.sqlite"
    database = Database(str(file), "x")
    database.submit(lambda c: c.run("PRAGMA busy_timeout=50")).result(TIMEOUT_S)
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        database.submit(lambda c: c.run(PERSON, (1, "Ana"))).result(TIMEOUT_S)
    other.execute("ROLLBACK")
    other.close()
    assert database.submit(lambda c: c.run(PERSON, (1, "Ana"))).result(TIMEOUT_S) == 1
    database.close()


def test_a_copy_is_made_each_hour_and_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def people(file: Path) -> int:
        with contextlib.closing(sqlite3.connect(file)) as copy:
            return int(copy.execute("SELECT count(*) FROM person").fetchone()[0])

    monkeypatch.setattr(keeping, "TIDY_S", 0.01)
    monkeypatch.setattr(keeping, "COPY_S", 0.02)
    store = open_store(tmp_path, create=True)
    database = database_of(store, "hats", "")
    copy = tmp_path / "curation" / "hats" / "events-backup.sqlite"
    database.submit(lambda c: c.run(PERSON, (1, "Ana"))).result(TIMEOUT_S)
    end = time.monotonic() + TIMEOUT_S
    while not copy.exists() and time.monotonic() < end:
        time.sleep(0.01)
    assert people(copy) == 1
    monkeypatch.setattr(keeping, "COPY_S", 3600.0)
    for number in (2, 3):
        database.submit(lambda c, n=number: c.run(PERSON, (n, "Ben"))).result(TIMEOUT_S)  # type: ignore[misc]
    database.close()
    assert people(copy) == 3
    assert not list(copy.parent.glob("*.part"))
    made = copy.stat().st_mtime_ns
    database_of(store, "hats", "").close()
    assert copy.stat().st_mtime_ns == made, "nothing has changed since"
