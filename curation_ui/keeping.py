"""What an SQLite database needs beside its writes: its log brought in, and a copy of it each hour."""

from __future__ import annotations

import os
import sqlite3
import sys
import threading
import time
from pathlib import Path

TIDY_S = 10.0
COPY_S = 3600.0


def backup_of(file: Path) -> Path:
    """Where the copy of a database lies: beside it."""
    return file.with_name(f"{file.stem}-backup{file.suffix}")


class Keeper:
    """A thread with a connection of its own, so that no decision waits for it.

    A few seconds after a write the write-ahead log is brought into the file; every hour, and at the end,
    the database is copied whole (``VACUUM INTO``) over the copy before it, where anything has changed.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="keeper", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End, with a last copy."""
        self._over.set()
        self._thread.join()

    def _keep(self) -> None:
        connection = sqlite3.connect(self._file, isolation_level=None)
        copied = tidied = _changes(connection)
        due = time.monotonic() + COPY_S
        ended = False
        while not ended:
            ended = self._over.wait(TIDY_S)
            changes = _changes(connection)
            if changes != tidied:
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
                tidied = changes
            if changes != copied and (ended or time.monotonic() > due):
                self._copy(connection)
                copied, due = changes, time.monotonic() + COPY_S
        connection.close()

    def _copy(self, connection: sqlite3.Connection) -> None:
        whole = backup_of(self._file)
        part = whole.with_name(f"{whole.name}.part")
        try:
            part.unlink(missing_ok=True)
            connection.execute("VACUUM INTO ?", (str(part),))
            os.replace(part, whole)
        except (sqlite3.Error, OSError) as error:  # the decisions themselves are safe: go on, and say so
            print(f"mashbill: {self._file} was not copied: {error}", file=sys.stderr, flush=True)


def _changes(connection: sqlite3.Connection) -> int:
    """A number that is another one after others have written."""
    return int(connection.execute("PRAGMA data_version").fetchone()[0])
