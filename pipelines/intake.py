"""Brings a source into the store: planned once, a shard per portion, complete when all are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn, Protocol

from pipelines.alone import alone
from pipelines.attempts import Failed
from pipelines.executors import Executor
from stages.stage import Resources, Source
from store.digest import fingerprint
from store.sources import Shard, StoredSource
from store.store import Store

MANY = 16
"""So many portions that cannot be read have a cause of their own; the rest are not tried."""


class Progress(Protocol):
    """Told what is being done, how much of it is done, how much there is, and how many shards failed."""

    def __call__(self, what: str, done: int, total: int, failed: int = 0) -> None: ...


@dataclass(frozen=True)
class PortionUnit:
    """One portion of a source to read into one shard."""

    store: Store
    source: Source
    fingerprint: str
    index: int


def read_portion(unit: PortionUnit) -> Shard:
    """Read and commit one shard."""
    stored = unit.store.source(unit.fingerprint)
    portion = stored.portion(unit.index)
    with unit.store.root.temporary_folder() as scratch:
        samples = unit.source.read(portion, scratch)
        return stored.write_shard(unit.index, samples, unit.source.tar_in_place(portion))


def take_in(
    store: Store, source: Source, executor: Executor, progress: Progress
) -> tuple[StoredSource, bool]:
    """The complete source in the store, and whether it was there already.

    Raises:
        MashbillError: a portion cannot be read: nobody knows its rows, so it cannot be set aside. The
            others are read first.
    """
    identity = source.identity()
    stored = store.source(fingerprint(identity))
    if stored.complete:
        return stored, True
    with alone(stored.location, f"source {stored.fingerprint}"):
        if stored.complete:
            return stored, True
        _read(store, source, stored, executor, progress)
        stored.complete_with(identity)
    return stored, False


def _read(store: Store, source: Source, stored: StoredSource, executor: Executor, progress: Progress) -> None:
    """Read every portion that was not read yet."""
    count = stored.planned()
    if count is None:
        count = stored.write_plan(source.plan())
    present = stored.present()
    missing = [index for index in range(count) if index not in present]
    done = count - len(missing)
    progress("reading the source", done, count)
    units = [PortionUnit(store, source, stored.fingerprint, index) for index in missing]
    unread: list[Failed[PortionUnit]] = []
    for result in executor.run(read_portion, units, executor.grant("source", Resources())):
        if isinstance(result, Failed):
            unread.append(result)
            if len(unread) == MANY:
                break
            continue
        done += 1
        progress("reading the source", done, count)
    if unread:
        _stop(unread, count - done)


def _stop(unread: list[Failed[PortionUnit]], left: int) -> NoReturn:
    first = min(unread, key=lambda failed: failed.unit.index)
    more = "" if left == 1 else f"; {left} portions are not read"
    first.stop(
        f"portion {first.unit.index} of the source could not be read: {first.error}{more}. What was read "
        "is kept. Mend it and run the same command again."
    )
