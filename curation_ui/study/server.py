"""One study that is being voted on: what its routes work with."""

from __future__ import annotations

import fcntl
import os
import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curation_ui.access import Access, Person, Refused
from curation_ui.database import Connection, Database
from curation_ui.place import refuse_shared
from curation_ui.study.design import Design, Study
from curation_ui.study.desk import LEASE_S, Desk
from curation_ui.study.images import StudyImages
from curation_ui.study.load import load_images, load_pairs
from curation_ui.study.votes import (
    Trial,
    Vote,
    annotator_of,
    make_tables,
    move_end,
    read_trials,
    read_votes,
    write_trial,
    write_vote,
)
from store.errors import MashbillError


@dataclass(frozen=True)
class StudySettings:
    """How a study is served. ``database``: a ``postgresql://`` URL; empty for a file beside the study.
    ``public_url``: where people reach the server, when that is not where it listens. ``clock``: seconds
    since 1970."""

    study: Study
    database: str = ""
    hosts: tuple[str, ...] = ("127.0.0.1", "localhost", "[::1]")
    secure: bool = False
    public_url: str = ""
    clock: Callable[[], float] = time.time


@dataclass
class StudyServer:
    """A study with its database, opened. ``salt`` names its annotators; ``uuids``: of every vote it holds the
    trial and the choice."""

    settings: StudySettings
    design: Design
    database: Database
    access: Access
    desk: Desk
    images: StudyImages
    salt: str
    enter_token: str
    consented: set[str]
    uuids: dict[str, tuple[str, str]]
    lock: int

    @property
    def clock(self) -> Callable[[], float]:
        return self.settings.clock

    def annotator(self, who: Person) -> str:
        return annotator_of(self.salt, who.id)

    def trial_of(self, who: Person, token: str) -> Trial | None:
        """A trial by its token, where it is this person's."""
        trial = self.desk.trials.get(token)
        return trial if trial is not None and trial.annotator == self.annotator(who) else None

    def invite(self, count: int) -> list[tuple[str, str]]:
        """Names and tokens of ``count`` more annotators."""
        return self.database.submit(lambda c: [self._invited(c) for _ in range(count)]).result()

    def _invited(self, connection: Connection) -> tuple[str, str]:
        name = f"Annotator {1 + max(self.access.names, default=0)}"
        return name, self.access.invite(connection, name, "annotator")[1]

    def close(self) -> None:
        self.database.close()
        os.close(self.lock)


def open_study(settings: StudySettings) -> StudyServer:
    """Open a study to vote on.

    Raises:
        MashbillError: it was changed since it was frozen, its database has another study's votes, or another
            server has it open.
    """
    study = settings.study
    record, design = study.record(), study.design()
    pairs, images = load_pairs(study, record), load_images(study, record)
    with ExitStack() as opened:
        lock = _locked(study)
        opened.callback(os.close, lock)
        database = database_of(study, settings.database)
        opened.callback(database.close)
        access = Access(database, settings.clock)
        digest = str(record["digest"])
        salt, token = database.submit(lambda c: _start(c, access, digest)).result()
        server = StudyServer(
            settings=settings,
            design=design,
            database=database,
            access=access,
            desk=Desk(design, pairs, int(record["seed"]), salt),
            images=StudyImages(study, images, pairs),
            salt=salt,
            enter_token=token,
            consented=set(),
            uuids={},
            lock=lock,
        )
        database.submit(lambda c: load(server, c)).result()
        opened.pop_all()  # the server closes them
    database.lost = lambda c: load(server, c)
    return server


def _locked(study: Study) -> int:
    """A file held until it is closed, or this process ends: two servers would give one place twice."""
    file = os.open(f"{study.location.path}/server.lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(file)
        raise MashbillError(
            f"another server has study {study.name} open: use that one, or end it. One server is enough for "
            "hundreds of people."
        ) from error
    return file


def database_of(study: Study, url: str) -> Database:
    """The database of a study's votes."""
    if not url:
        refuse_shared(Path(study.location.path), Path("/proc/mounts"))
    return Database(url or (study.location / "votes.sqlite").path, f"mashbill_study_{study.name}")


def _start(connection: Connection, access: Access, digest: str) -> tuple[str, str]:
    try:
        salt = make_tables(connection, digest, secrets.token_hex(32))
    except ValueError as error:
        raise MashbillError(
            f"{error}: the study's design or its images were exchanged after votes were cast. Restore them."
        ) from error
    return salt, access.open(connection)


def load(server: StudyServer, connection: Connection) -> None:
    """Know again what the database holds, and nothing else."""
    record = server.settings.study.record()
    server.desk = Desk(server.design, server.desk.pairs, int(record["seed"]), server.salt)
    votes = read_votes(connection)
    server.desk.load(read_trials(connection), votes)
    server.uuids = {vote.uuid: (vote.trial, vote.choice) for vote in votes}
    server.consented = {str(row[0]) for row in connection.all("SELECT annotator FROM consent")}


def give(
    server: StudyServer, connection: Connection, annotator: str, count: int
) -> tuple[list[Trial], dict[str, int]]:
    """Trials for a person, written before they are seen; and how far the person is."""
    now = server.clock()
    found, new = server.desk.next(annotator, count, now)
    for trial in new:
        write_trial(connection, trial)
    written = {trial.token for trial in new}
    move_end(connection, [t.token for t in found if t.token not in written], now + LEASE_S)
    return found, server.desk.progress(annotator)


def take(server: StudyServer, connection: Connection, votes: Sequence[Vote]) -> list[dict[str, Any]]:
    """Write votes; for each its ``uuid``, and ``status``: "done", "repeat" (this very vote is known), or
    "again" (this person voted on this pair before: the first vote stands). Of practice also whether it was
    ``right``.

    Raises:
        Refused: a uuid is that of another vote; nothing is written then.
    """
    _refuse_other(server, votes)
    found = []
    for vote in votes:
        trial = server.desk.trials[vote.trial]
        status = "done"
        if vote.uuid in server.uuids:
            status = "repeat"
        elif server.desk.voted_on(trial):
            status = "again"
        else:
            write_vote(connection, len(server.uuids) + 1, vote)
            server.uuids[vote.uuid] = (vote.trial, vote.choice)
            server.desk.voted(vote)
        result: dict[str, Any] = {"uuid": vote.uuid, "status": status}
        if trial.kind == "practice":
            result["right"] = trial.right(vote.choice)
        found.append(result)
    return found


def _refuse_other(server: StudyServer, votes: Sequence[Vote]) -> None:
    """A trial is one person's, so the same trial and choice are the same person's vote."""
    said: dict[str, tuple[str, str]] = {}
    for vote in votes:
        this = (vote.trial, vote.choice)
        if server.uuids.get(vote.uuid, this) != this or said.setdefault(vote.uuid, this) != this:
            raise Refused(f"the uuid {vote.uuid} is that of another vote: every vote needs its own", 409)


def consent(server: StudyServer, connection: Connection, annotator: str) -> None:
    if annotator not in server.consented:
        connection.run("INSERT INTO consent VALUES (?, ?)", (annotator, server.clock()))
        server.consented.add(annotator)
