"""Training runs: what each was asked to do, how far it is, and what it stands on.

::

    runs/<name>/<fingerprint>/run.json      what was asked, written first and never again
    runs/<name>/<fingerprint>/state.json    how far it is
    runs/<name>/<fingerprint>/starts.json   when, where and from which step it was started
    runs/<name>/<fingerprint>/summary.json  what came of it, written last
    runs/<name>/<fingerprint>.lease         who is at work on it
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

from store.errors import MashbillError
from store.lease import BEAT_S, PATIENCE_S, Owner, held, lease_of, owner_in
from store.location import Location, this_host
from store.store import Store

Work = Literal["queued", "running", "done", "failed", "interrupted"]
RECORD = {
    "name": str,
    "recipe": dict,
    "run": dict,
    "student": str,
    "dataset": str,
    "version": str,
    "pack": str,
    "created": float,
    "triggered_by": dict | None,
}
"""Fields of ``run.json`` and their types. ``recipe``: ``{"reference", "assignments", "dataset"}`` as people
gave them; ``run``: the resolved settings, without those that change no result; ``student``: its name by
content; ``created``: seconds since 1970."""


@dataclass(frozen=True)
class RunState:
    """How far a run is. ``at`` is when this was said, seconds since 1970."""

    state: Work
    step: int
    """Optimizer steps taken."""
    steps: int
    """Steps of the whole run; 0 while nobody knows."""
    error: str | None = None
    """Why a ``failed`` run failed."""
    at: float = 0.0


@dataclass(frozen=True)
class RunAt:
    """The place of one run, whether or not it exists yet. Make one with ``run_at`` or ``run_in``."""

    location: Location
    owner: str = field(default="", compare=False)
    """Names the lease under which this process works on it, as ``at_work`` took it; empty without one."""

    @property
    def fingerprint(self) -> str:
        return self.location.name

    @property
    def id(self) -> str:
        """``NAME/FINGERPRINT``, as ``find_run`` takes it."""
        return f"{self.location.parent.name}/{self.fingerprint}"

    @property
    def folder(self) -> str:
        """Path of the run's folder on the local disk."""
        return self.location.path

    @property
    def exists(self) -> bool:
        return (self.location / "run.json").exists()

    def create(self, record: dict[str, Any]) -> bool:
        """Write ``run.json`` in one step; False where the run is there already, whose record then stays."""
        return (self.location / "run.json").create_json(record)

    def record(self) -> dict[str, Any]:
        """The content of ``run.json``; its fields are those of ``RECORD``.

        Raises:
            MashbillError: there is no such run, or the file is not as mashbill wrote it.
        """
        file = self.location / "run.json"
        try:
            found = _object(file)
        except FileNotFoundError as error:
            raise MashbillError(f"there is no run {self.id}: {file.url} is missing.") from error
        wrong = [n for n, kind in RECORD.items() if n not in found or not isinstance(found[n], kind)]
        if wrong:
            raise MashbillError(
                f"{file.url} is not the record of a run: {', '.join(wrong)} is missing or of another type. "
                "It was changed by hand or an earlier mashbill wrote it. Restore it, or move the folder away "
                "and run `mashbill distill` again."
            )
        return found

    def state(self) -> RunState:
        """What was told last; ``queued`` at 0 where nothing was told yet, ``done`` where a summary is there.

        Raises:
            MashbillError: ``state.json`` is damaged.
        """
        file = self.location / "state.json"
        try:
            state = RunState(**_object(file))
        except FileNotFoundError:
            state = RunState("queued", 0, 0)
        except TypeError as error:
            raise MashbillError(f"{file.url} {NOT_OURS} ({error})") from error
        if state.state not in get_args(Work) or not isinstance(state.step, int):
            raise MashbillError(f"{file.url} {NOT_OURS} (state={state.state!r}, step={state.step!r})")
        return replace(state, state="done") if (self.location / "summary.json").exists() else state

    def tell(self, state: RunState) -> None:
        """Replace ``state.json`` in one step; ``at`` is set to now."""
        (self.location / "state.json").write_json(asdict(state) | {"at": time.time()})

    def queue(self, steps: int) -> bool:
        """Say ``queued``, in one step, where nothing was told yet; False where something was."""
        state = RunState("queued", 0, steps, at=time.time())
        return (self.location / "state.json").create_json(asdict(state))

    def starts(self) -> list[dict[str, Any]]:
        """One entry per start, oldest first: ``at``, ``host``, ``pid``, the ``step`` the run had reached, and
        ``queued``: whether it was started from the queue rather than by hand."""
        file = self.location / "starts.json"
        try:
            found = file.read_json()
        except FileNotFoundError:
            return []
        if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
            raise MashbillError(f"{file.url} {NOT_OURS}")
        return found

    def add_start(self, step: int, queued: bool) -> None:
        """Note a start in this process; for the holder of the lease alone."""
        entry = {"at": time.time(), "host": this_host(), "pid": os.getpid(), "step": step, "queued": queued}
        (self.location / "starts.json").write_json([*self.starts(), entry])

    def summary(self) -> dict[str, Any] | None:
        """The content of ``summary.json``; None where the run is not done."""
        try:
            return _object(self.location / "summary.json")
        except FileNotFoundError:
            return None

    def holder(self) -> Owner | None:
        """Who is at work on the run; None where nobody is, or where they are known to be gone."""
        place = lease_of(self.location)
        owner = owner_in(place)
        if owner is None or owner.dead:
            return None
        try:  # of another host only the beat tells; of this one too, where a new process has an old number
            silent_s = time.time() - os.path.getmtime(place.path)
        except FileNotFoundError:
            return None
        return owner if silent_s < 2 * PATIENCE_S else None

    def lost(self) -> bool:
        """Whether another process took over the run, which this one holds. Reads one small file."""
        if not self.owner:
            return False
        try:
            found = owner_in(lease_of(self.location))
        except (MashbillError, OSError):  # the disk does not answer just now: the next look tells
            return False
        return found is None or found.owner != self.owner

    def shown(self) -> str:
        """The state as people see it: ``running`` without anybody at work is ``stopped``."""
        state = self.state().state
        return "stopped" if state == "running" and self.holder() is None else state

    @contextmanager
    def at_work(self) -> Iterator[RunAt]:
        """Hold the run for the block, yielded with its ``owner``; what a dead process left is taken over.

        Raises:
            MashbillError: another process is at work on it; says which.
        """

        place, waited = lease_of(self.location), list[Owner]()

        def refuse(owner: Owner) -> None:
            waited.append(owner)
            lives_here = owner.host == this_host() and self.holder() is not None
            if not owner.dead and (lives_here or _beats(place, owner)):
                raise MashbillError(_at_work(self, owner))

        with held(self.location, refuse, patience_s=0.0) as lease:
            if waited:  # another may have seen the same dead lease, and removed ours in its place
                time.sleep(SETTLE_S)
                found = owner_in(place)
                if found is not None and found.owner != lease.me.owner:
                    raise MashbillError(_at_work(self, found))
            yield replace(self, owner=lease.me.owner)


def _at_work(run: RunAt, owner: Owner) -> str:
    return (
        f"{owner} is at work on run {run.id}. Wait for it (`mashbill runs {run.id}` shows how far it is), "
        "or stop it and run the same command again."
    )


SETTLE_S = 0.2
"""How long two who take over at the same moment need to see each other."""
NOT_OURS = (
    "is not as mashbill wrote it: it was changed by hand or the disk is bad. Remove that file; "
    "`mashbill distill` then goes on with the run."
)


def _object(file: Location) -> dict[str, Any]:
    found = file.read_json()
    if not isinstance(found, dict):
        raise MashbillError(
            f"{file.url} holds {type(found).__name__}, expected an object. Restore it, or move the run's "
            "folder away and run `mashbill distill` again."
        )
    return found


def _beats(place: Location, owner: Owner) -> bool:
    """Whether a holder on another host lives: its beat moves within ``PATIENCE_S``."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        found = owner_in(place)
        if found is None:
            return False
        if found != owner:
            return True
        time.sleep(BEAT_S / 5)
    return False


def run_at(store: Store, name: str, fingerprint: str) -> RunAt:
    """The place of a run in a store.

    Raises:
        MashbillError: the store is not on a local disk.
    """
    if not store.root.local:
        raise MashbillError(
            f"runs are written to a local disk; the store is at {store.url}. Give --store a folder, one that "
            "all machines mount where several train."
        )
    return RunAt(store.runs / name / fingerprint)


def run_in(folder: str | Path, owner: str = "") -> RunAt:
    """The run whose folder this is, for who is given no store; ``owner`` as of ``RunAt``."""
    return RunAt(Location.of(folder), owner)


def all_runs(store: Store) -> list[RunAt]:
    """Every run of the store, by name and fingerprint; their files may be damaged."""
    if not store.root.local:
        return []
    places = (
        RunAt(store.runs / name / mark) for name in store.runs.names() for mark in (store.runs / name).names()
    )
    return [run for run in places if run.exists]


def find_run(store: Store, text: str) -> RunAt:
    """The run ``NAME/FINGERPRINT``; the first characters of the fingerprint are enough.

    Raises:
        MashbillError: no run fits, or more than one does; lists those there are.
    """
    name, _, mark = text.partition("/")
    runs = all_runs(store)
    found = [r for r in runs if r.location.parent.name == name and r.fingerprint.startswith(mark)]
    if len(found) == 1:
        return found[0]
    there = ", ".join(run.id for run in found or runs) or "none yet"
    problem = "fits more than one run" if found else f"is no run in {store.url}; there are"
    raise MashbillError(f"{text!r} {problem}: {there}. Expected NAME/FINGERPRINT.")
