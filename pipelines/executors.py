"""Where units of work run. An executor knows nothing of stages, so the result is the same on all."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import connection
from typing import Any, Protocol, TypeVar

from pipelines.attempts import Attempts, Died, Failed, attempt
from stages.stage import Resources

Unit = TypeVar("Unit")
Result = TypeVar("Result")

KILLED = "its worker process died: killed, out of memory, or crashed in native code"


class Executor(Protocol):
    """Runs a function over units; results come as they finish, in any order."""

    def run(
        self, work: Callable[[Unit], Result], units: Sequence[Unit], needs: Resources
    ) -> Iterator[Result | Failed[Unit]]:
        """A result for each unit, or a ``Failed`` for one that no try got through.

        ``work`` must be importable, and units and results picklable. Other units go on while one
        fails. ``needs`` is what the work holds while it runs, where resources are counted.

        Raises:
            UsageError, FinalError, OSError: what no other try mends; see ``Attempts``.
        """
        ...

    def grant(self, stage: str, declared: Resources) -> Resources:
        """What a stage gets here. Stages with unlike grants do not share a pass."""
        ...


class _Uncounted:
    """One machine for all: nothing is counted, so everything can share a pass."""

    def grant(self, stage: str, declared: Resources) -> Resources:
        return Resources()


@dataclass(frozen=True)
class Serial(_Uncounted):
    """In this process, one unit after another. What kills the process ends the build."""

    def run(
        self, work: Callable[[Unit], Result], units: Sequence[Unit], needs: Resources
    ) -> Iterator[Result | Failed[Unit]]:
        attempts: Attempts[Unit] = Attempts(units)
        while (index := attempts.next(0)) is not None:
            yield from attempts.settle(index, attempt(work, units[index]))


@dataclass(frozen=True)
class Pool(_Uncounted):
    """``workers`` processes of this machine, a unit in each: when one dies, that unit was it."""

    workers: int

    def run(
        self, work: Callable[[Unit], Result], units: Sequence[Unit], needs: Resources
    ) -> Iterator[Result | Failed[Unit]]:
        attempts: Attempts[Unit] = Attempts(units)
        idle = [_worker() for _ in range(min(self.workers, len(units)))]
        flying: dict[Future[Any], tuple[int, ProcessPoolExecutor]] = {}
        settled: list[Any] = []
        try:
            while True:
                while idle and (index := attempts.next(len(flying))) is not None:
                    worker = idle.pop()
                    flying[worker.submit(attempt, work, units[index])] = index, worker
                yield from settled
                if not flying:
                    return
                settled = []
                for future in wait(flying, return_when=FIRST_COMPLETED).done:
                    index, worker = flying.pop(future)
                    outcome = _outcome(future)
                    if isinstance(outcome, Died):
                        worker.shutdown()
                        worker = _worker()
                    idle.append(worker)
                    settled += attempts.settle(index, outcome)
        except KeyboardInterrupt:
            for process in multiprocessing.active_children():
                process.terminate()  # a unit in flight may take minutes; the next run does it again
            raise
        finally:
            for worker in (*idle, *(worker for _, worker in flying.values())):
                worker.shutdown(wait=True, cancel_futures=True)


def _worker() -> ProcessPoolExecutor:
    """One process, started when it gets its first unit."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pipelines.preload"])
    return ProcessPoolExecutor(1, context, _end_with_parent)


def _outcome(future: Future[Any]) -> Any:
    try:
        return future.result()
    except BrokenProcessPool:
        return Died(KILLED)


def _end_with_parent() -> None:
    """A worker whose build was killed must not go on writing into the store."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal tells all; the build itself stops us
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        connection.wait([parent.sentinel])  # a pipe that the kernel closes, however the build ended
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def local_executor(workers: int, apart: bool = False) -> Executor:
    """This process for one worker, unless the work must stay ``apart`` from it, else a pool."""
    return Serial() if workers <= 1 and not apart else Pool(workers)
