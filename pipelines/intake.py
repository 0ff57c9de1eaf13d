"""Brings a source into the store: planned once, a shard per portion, complete when all are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pipelines.executors import Executor
from stages.stage import Source
from store.digest import fingerprint
from store.sources import Shard, StoredSource
from store.store import Store

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""


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
    """The complete source in the store, and whether it was there already."""
    identity = source.identity()
    stored = store.source(fingerprint(identity))
    if stored.complete:
        return stored, True
    count = stored.planned()
    if count is None:
        count = stored.write_plan(source.plan())
    missing = [index for index in range(count) if not stored.has_shard(index)]
    done = count - len(missing)
    progress("reading the source", done, count)
    units = [PortionUnit(store, source, stored.fingerprint, index) for index in missing]
    for _ in executor.run(read_portion, units):
        done += 1
        progress("reading the source", done, count)
    stored.complete_with(identity)
    return stored, False
