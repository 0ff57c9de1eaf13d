"""Starts the runs that wait in the queue, some at a time, each as a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from pipelines.distill import waits
from store.errors import MashbillError
from store.location import this_host
from store.runs import RunAt, all_runs
from store.store import Store

POLL_S = 5.0
CHILD_S = 0.5
"""How often a run that was started here is looked after."""
END_S = 60.0
"""How long a run that is interrupted may take to end."""
ROOT = str(Path(__file__).resolve().parent.parent)


@dataclass
class Queue:
    """The runs of one store, as one process works them off.

    The processes it starts outlive it when it is killed; whoever comes next sees them at work.
    """

    store: Store
    slots: int
    """Runs at work on this machine at a time, whoever started them."""
    say: Callable[[str], None]
    children: dict[str, tuple[RunAt, subprocess.Popen[bytes]]] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    _said: set[str] = field(default_factory=set)

    def work(self, look: Callable[[], object], wake: threading.Event, once: bool) -> None:
        """Look for what is new and start what waits, until nothing is left where ``once``, else for ever.

        An interrupt ends the runs that were started here, and leaves them in the queue.
        """
        try:
            while True:
                self._look(look, once)
                self._reap()
                left = self._fill()
                if once and not left and not self.children:
                    return
                wake.wait(CHILD_S if self.children else POLL_S)
                wake.clear()
        except KeyboardInterrupt:
            self._interrupt()
            raise

    def _look(self, look: Callable[[], object], once: bool) -> None:
        try:
            look()
        except MashbillError as error:
            if once:
                raise
            self._say_once(str(error))

    def _fill(self) -> int:
        """Start what fits; returns how many runs wait for a slot."""
        left = [run for run in waiting(self.store, self._say_once) if run.id not in self.children]
        free = max(self.slots - len(self._at_work() | set(self.children)), 0) if left else 0
        for run in left[:free]:
            self.children[run.id] = (run, started(self.store, run))
            self.say(f"{run.id} started")
        return len(left[free:])

    def _at_work(self) -> set[str]:
        runs = all_runs(self.store)
        holders = {run.id: run.holder() for run in runs}
        return {name for name, owner in holders.items() if owner and owner.host == this_host()}

    def _reap(self) -> None:
        for run, child in list(self.children.values()):
            if child.poll() is not None:
                del self.children[run.id]
                self._ended(run, child.returncode)

    def _ended(self, run: RunAt, code: int) -> None:
        """Say how a run ended; one that could not even begin has failed."""
        with suppress(MashbillError), run.at_work():  # somebody else is at work on it: theirs to say
            state = run.state()
            if code and state.state == "queued":
                run.tell(replace(state, state="failed", error=_last_words(run, code)))
        state = run.state()
        if state.state == "failed":
            self.failed.append(run.id)
            self.say(f"{run.id} failed: {state.error}")
        elif state.state == "running" and run.holder() is None:
            self._stopped(run, code)
        else:
            self.say(f"{run.id} {state.state}")

    def _stopped(self, run: RunAt, code: int) -> None:
        if waits(run):
            self.say(f"{run.id} was ended from outside (exit code {code}); it goes on")
            return
        self.failed.append(run.id)
        step = run.state().step
        self.say(
            f"{run.id} was ended from outside again without having passed step {step}; see "
            f"{run.folder}/log.txt. `mashbill trigger retry {run.id}` queues it again"
        )

    def _interrupt(self) -> None:
        for _, child in self.children.values():
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGINT)
        for run, child in self.children.values():
            with suppress(subprocess.TimeoutExpired):
                child.wait(END_S)
            with suppress(MashbillError), run.at_work():
                state = run.state()
                if state.state == "interrupted":
                    run.tell(replace(state, state="queued"))
            self.say(f"{run.id} is {run.shown()}")

    def _say_once(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self.say(text)


def waiting(store: Store, say: Callable[[str], None]) -> list[RunAt]:
    """Runs nobody is at work on that are to be started, in the order in which they were queued.

    ``say`` is told of runs whose files are damaged.
    """
    found = []
    for run in all_runs(store):
        try:
            if waits(run) and run.holder() is None:
                found.append((run.state().at, run.id, run))
        except MashbillError as error:
            say(str(error))
    return [run for _, _, run in sorted(found, key=lambda item: item[:2])]


def started(store: Store, run: RunAt) -> subprocess.Popen[bytes]:
    """``mashbill distill RUN --queued`` in a session of its own; what it says goes to ``log.txt``."""
    line = [sys.executable, "-P", "-m", "pipelines", "distill", run.id, "--queued", "--store", store.url]
    path = os.pathsep.join(part for part in (ROOT, os.environ.get("PYTHONPATH", "")) if part)
    with open(f"{run.folder}/log.txt", "ab") as log:
        return subprocess.Popen(
            line,
            env=os.environ | {"PYTHONPATH": path},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def _last_words(run: RunAt, code: int) -> str:
    said = Path(run.folder, "log.txt").read_text("utf-8", errors="replace").rstrip()
    if code < 0:
        return f"ended by signal {-code} before its first step"
    return said.rpartition("mashbill: ")[2] if "mashbill: " in said else f"ended with exit code {code}"
