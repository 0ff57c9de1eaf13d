"""The database: what was acknowledged is on the disk, whichever database, whatever happens."""

from __future__ import annotations

import re
import signal
import sqlite3
import subprocess
import threading
import uuid
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path
from typing import Any

import psycopg
import pytest

from curation_ui.database import Database
from curation_ui.place import refuse_shared
from store.errors import MashbillError

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

    answers = [database.submit(job) for job in (slow, wrong, lambda c: c.run(PERSON, (3, "Cy")))]
    held.set()
    assert (answers[0].result(TIMEOUT_S), answers[2].result(TIMEOUT_S)) == (1, 1)
    with pytest.raises(MashbillError, match="no"):
        answers[1].result(TIMEOUT_S)
    assert database.submit_read(lambda c: c.all("SELECT id FROM person ORDER BY id")).result() == [(1,), (3,)]


def test_a_failed_commit_is_told_to_all_who_wait_for_it(database: Database) -> None:
    lost: list[Any] = []
    database.lost = lost.append

    def broken(connection: Any) -> None:
        raise RuntimeError("a defect")

    with pytest.raises(RuntimeError):
        database.submit(broken).result(TIMEOUT_S)
    assert len(lost) == 1
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
                event = {"uuid": f"event-{number:05d}", "item": number % 40, "kind": "keep", "base": number}
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
