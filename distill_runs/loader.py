"""Batches of a pack without end, for one rank; what the ranks read together is decided by ``visits.py``."""

from __future__ import annotations

import multiprocessing
import multiprocessing.context
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader

from distill_runs.batches import Batch, Loaded, Reading
from distill_runs.packs import Data, Pack, check_pack
from distill_runs.visits import Order, Visits
from store.errors import MashbillError, UsageError

__all__ = ["Batch", "Loader"]

AHEAD = 2
"""Batches that each worker has ready."""


class Loader:
    """An iterator of batches without end, which continues exactly at a cursor.

    The order is named by the pack, the buckets and the seed; it does not depend on ``workers`` and, as a
    sequence of samples over all ranks, not on ``world_size`` either. Which caption, which flip: from a hash
    of seed, epoch and sample. With ``workers`` processes ahead of this one the program's main module must
    be importable (``if __name__ == "__main__"``).

    Raises, here and from ``next``:
        UsageError: the pack does not fit ``data``, or the cursor is of another run.
        MashbillError: a sample is broken and ``data.max_skipped`` of this rank are used up.
    """

    def __init__(
        self,
        pack: Pack,
        data: Data,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        workers: int = 0,
        cursor: dict[str, Any] | None = None,
    ) -> None:
        if not 0 <= rank < world_size or workers < 0:
            raise UsageError(f"rank={rank}, world_size={world_size}, workers={workers} is not possible.")
        if pack.split != data.split:
            raise UsageError(f"the pack was opened for split {pack.split!r}, the run reads {data.split!r}.")
        check_pack(pack, data, world_size=world_size)
        self.pack, self.data, self.seed = pack, data, seed
        self.rank, self.world_size, self.workers = rank, world_size, workers
        self.buckets = pack.buckets(data)
        self.order = Order(pack.shards, self.buckets, seed)
        self.positions = [0] * len(self.buckets)
        """Samples that all ranks together have read of each bucket's stream."""
        self.skipped = 0
        """Broken samples that this rank left out."""
        self.continued = ""
        """What is not as it was when the cursor was taken, in words; empty where nothing changed."""
        if cursor is not None:
            self._continue(cursor)
        self._loaded: Iterator[Loaded] | None = None

    @property
    def epoch(self) -> float:
        """How often the pack was gone through, by all ranks together."""
        return sum(self.positions) / self.pack.samples

    def __iter__(self) -> Loader:
        return self

    def __next__(self) -> Batch:
        if self._loaded is None:
            self._loaded = self._start()
        try:
            loaded = next(self._loaded)
        except (RuntimeError, EOFError, OSError) as error:
            if not (self.workers and _is_death(error)):
                raise
            raise MashbillError(
                f"a process that reads the pack ahead died ({error}). Where it was killed for memory, take "
                f"fewer workers (now {self.workers}) or a smaller data.batch_size."
            ) from error
        self._count(loaded)
        self.positions = loaded.after
        return loaded.batch

    def cursor(self) -> dict[str, Any]:
        """The position after the last batch handed out, as plain JSON; the same on all ranks but for
        ``skipped``."""
        return {
            **self._identity(),
            "positions": list(self.positions),
            "batch_size": self.data.batch_size,
            "world_size": self.world_size,
            "skipped": self.skipped,
        }

    def close(self) -> None:
        """End the worker processes; the next batch starts them again where they were."""
        self._loaded = None

    def _identity(self) -> dict[str, Any]:
        return {
            "pack": self.pack.sha256,
            "split": self.pack.split,
            "buckets": [list(bucket) for bucket in self.buckets],
            "seed": self.seed,
        }

    def _continue(self, cursor: dict[str, Any]) -> None:
        for name, value in self._identity().items():
            if cursor.get(name) != value:
                raise UsageError(
                    f"the data cursor is of a run with other data: its {name} is {cursor.get(name)!r}, this "
                    f"run's is {value!r}. Continue with the recipe and the pack it was started with."
                )
        self.positions, self.skipped = list(cursor["positions"]), cursor["skipped"]
        before, now = (cursor["world_size"], cursor["batch_size"]), (self.world_size, self.data.batch_size)
        if before != now:
            self.continued = (
                f"{before[0]} ranks with batches of {before[1]} before, {now[0]} with batches of {now[1]} "
                "now: every epoch still holds each sample once and none is read again, but other samples "
                "meet in a batch and a step sees another number of them."
            )

    def _plan(self) -> Iterator[tuple[Visits, list[int]]]:
        """This rank's part of each batch from here on, and the positions after it."""
        positions, size = list(self.positions), self.data.batch_size
        while True:
            bucket = self.order.next_bucket(positions, size * self.world_size)
            start = positions[bucket] + self.rank * size
            positions[bucket] += size * self.world_size
            yield self.order.visits(bucket, start, size), list(positions)

    def _start(self) -> Iterator[Loaded]:
        ahead = self.workers > 0
        return iter(
            DataLoader(
                Reading(self.pack, self.data, self.buckets, self.seed),
                batch_size=None,
                sampler=self._plan(),
                num_workers=self.workers,
                prefetch_factor=AHEAD if ahead else None,
                multiprocessing_context=_context() if ahead else None,
                generator=torch.Generator(),  # else it draws from the one that the model's noise comes from
                collate_fn=_as_it_is,
            )
        )

    def _count(self, loaded: Loaded) -> None:
        self.skipped += len(loaded.broken)
        if loaded.broken and self.skipped > self.data.max_skipped:
            raise MashbillError(
                f"{loaded.broken[0]} Build the pack again, or set data.max_skipped to leave out broken "
                f"samples (now {self.data.max_skipped}; found by this rank: {self.skipped})."
            )
        if not loaded.batch.sample_ids:
            raise MashbillError(
                f"all {len(loaded.broken)} samples of a batch are broken; the first: {loaded.broken[0]} "
                "Build the pack again."
            )


def _context() -> multiprocessing.context.BaseContext:
    """Workers come from a process without threads: a fork of one with them (torch, CUDA, gloo) may hang."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


def _is_death(error: Exception) -> bool:
    """Whether a worker is gone: torch says so, or the pipe breaks through which it hands over memory."""
    text = str(error)
    passed_on = text.startswith("Caught ")  # raised in a worker that lives
    return not passed_on and ("DataLoader worker" in text or not isinstance(error, RuntimeError))


def _as_it_is(loaded: Any) -> Any:
    return loaded
