"""Where a queue's database lies, and that one server has it."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from pathlib import Path
from typing import IO

from curation_ui.database import Database
from curation_ui.keeping import Keeper, backup_of
from store.digest import fingerprint
from store.errors import MashbillError, UsageError
from store.store import Store

SHARED_FILESYSTEMS = ("9p", "afs", "ceph", "cifs", "fuse.sshfs", "glusterfs", "lustre", "ncpfs", "nfs", "smb")
"""Beginnings of the kinds on which SQLite's shared memory does not work."""


def database_of(store: Store, dataset: str, url: str) -> Database:
    """The database of a dataset's decisions, locked for this server where it is a file.

    Raises:
        MashbillError: the store is no place for SQLite, or another server has the file.
    """
    if url:
        if not url.startswith(("postgresql://", "postgres://")):
            raise UsageError(f"--database {url!r}: expected postgresql://USER:PASSWORD@HOST:PORT/NAME")
        return Database(url, schema_of(store, dataset))
    if not store.root.local:
        raise MashbillError(
            f"{store.url} is an object store, where SQLite cannot write. Give --database "
            "postgresql://USER:PASSWORD@HOST:PORT/NAME for the decisions."
        )
    folder = Path((store.root / "curation" / dataset).path)
    folder.mkdir(parents=True, exist_ok=True)
    refuse_shared(folder, Path("/proc/mounts"))
    lock = _lock(folder / "server.lock")
    file = folder / "events.sqlite"
    try:
        database = Database(str(file), dataset)
    except (sqlite3.Error, OSError) as error:
        lock.close()
        raise MashbillError(
            f"the decisions in {file} cannot be opened ({error}). Put {backup_of(file).name} in its place, "
            "which is at most an hour older, or move it away to begin anew; exports in the "
            "store's decisions/ stay."
        ) from error
    database.closing.callback(lock.close)
    database.closing.callback(Keeper(file).close)
    return database


def schema_of(store: Store, dataset: str) -> str:
    """PostgreSQL's schema of a queue: one for each store (by its address) and dataset, within 63 bytes."""
    return f"mashbill_{fingerprint({'store': store.url, 'dataset': dataset})}"


def refuse_shared(folder: Path, mounts: Path) -> None:
    """Raise where ``folder`` is on a network filesystem, as far as ``mounts`` tells (Linux)."""
    if not mounts.exists():
        return
    lines = [line.split() for line in mounts.read_text().splitlines()]
    real = folder.resolve()
    inside = [(at, kind) for _, at, kind, *_ in lines if real.is_relative_to(at.replace("\\040", " "))]
    kind = max(inside, key=lambda found: len(found[0]))[1] if inside else ""
    if kind.startswith(SHARED_FILESYSTEMS):
        raise MashbillError(
            f"{folder} is on a network filesystem ({kind}), where SQLite loses decisions. Put the store on "
            "a local disk, or give --database postgresql://USER:PASSWORD@HOST:PORT/NAME for the decisions."
        )


def _lock(path: Path) -> IO[str]:
    """Held while the file is open: until the process ends, however it ends."""
    file = path.open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        with file:
            file.seek(0)
            process = file.read().strip() or "unknown"
        raise MashbillError(
            f"another review server has this queue open (process {process}): use that one, or end it."
        ) from error
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file
