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

from store.errors import MashbillError

Unit = TypeVar("Unit")
Result = TypeVar("Result")


class Executor(Protocol):
    """Runs a function over units; results come as they finish, in any order."""

    def run(self, work: Callable[[Unit], Result], units: Sequence[Unit]) -> Iterator[Result]:
        """``work`` must be importable and its units picklable. The first error ends the run."""
        ...


@dataclass(frozen=True)
class Serial:
    """In this process, one unit after another."""

    def run(self, work: Callable[[Unit], Result], units: Sequence[Unit]) -> Iterator[Result]:
        for unit in units:
            yield work(unit)


@dataclass(frozen=True)
class Pool:
    """``workers`` processes of this machine; at most twice as many units are in flight."""

    workers: int

    def run(self, work: Callable[[Unit], Result], units: Sequence[Unit]) -> Iterator[Result]:
        if len(units) < 2:
            yield from Serial().run(work, units)
            return
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["pipelines.preload"])
        workers = min(self.workers, len(units))
        pool = ProcessPoolExecutor(workers, context, _end_with_parent)
        waiting, pending = iter(units), set[Future[Any]]()
        try:
            for _ in range(2 * workers):
                _submit(pool, pending, work, waiting)
            while pending:
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
                    _submit(pool, pending, work, waiting)
        except KeyboardInterrupt:
            for worker in multiprocessing.active_children():
                worker.terminate()  # a unit in flight may take minutes; the next run does it again
            raise
        except BrokenProcessPool as error:
            raise MashbillError(
                "a worker process died (killed, or out of memory). What was finished is kept: run the "
                "same command again, with fewer --workers if memory was short."
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _submit(pool: ProcessPoolExecutor, pending: set[Any], work: Any, waiting: Iterator[Any]) -> None:
    for unit in waiting:
        pending.add(pool.submit(work, unit))
        return


def _end_with_parent() -> None:
    """A worker whose build was killed must not go on writing into the store."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal tells all; the build itself stops us
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        connection.wait([parent.sentinel])  # a pipe that the kernel closes, however the build ended
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def local_executor(workers: int) -> Executor:
    return Serial() if workers <= 1 else Pool(workers)
