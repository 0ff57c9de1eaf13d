"""The order in which a run visits samples: a pure function of the pack's counts and the seed.

Each bucket is a stream without end, one shuffled epoch after the other; a batch of all ranks is the next
piece of one bucket's stream, and each rank takes its part of it. So the whole state is one position per
bucket, the order does not depend on workers, every sample comes once per epoch at any number of ranks, and
what does not fill a batch at the end of an epoch begins the next one: nothing is left out.

An epoch shuffles the shards, then all samples of a bucket within ``WINDOW_SHARDS`` shards together.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distill_runs.buckets import nearest_bucket
from distill_runs.packs import Shard
from store.aspects import Size

WINDOW_SHARDS = 8
"""Shards that are shuffled together: with a shard of 1,000 samples, each is drawn from 8,000 others."""
WINDOWS_KEPT = 64
"""Orders of windows held at once, over all buckets; each is 16 bytes a sample."""

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Visits:
    """The samples of one batch, in order: arrays of equal length."""

    bucket: int
    shard: Ints
    """Number of the shard in the pack's split."""
    row: Ints
    """Which of the shard's samples of this bucket, as they lie in the tar."""
    epoch: Ints
    """How often the bucket was gone through before."""


class Order:
    """Where each position of each bucket's stream lies. Memory: 8 bytes per shard and bucket."""

    def __init__(self, shards: Sequence[Shard], buckets: Sequence[Size], seed: int) -> None:
        self.seed = seed
        self.counts_BS = _counts(shards, buckets)
        """Samples by bucket and shard."""
        self.samples_B = self.counts_BS.sum(axis=1)
        self._epochs: OrderedDict[int, tuple[Ints, Ints]] = OrderedDict()
        self._windows: OrderedDict[tuple[int, int, int], tuple[Ints, Ints]] = OrderedDict()

    def next_bucket(self, positions: Sequence[int], batch_size: int) -> int:
        """The bucket whose next batch ends earliest in its epoch, so that all go through it at one pace."""
        ends = (np.asarray(positions, float) + batch_size) / np.maximum(self.samples_B, 1)
        ends[self.samples_B == 0] = np.inf
        return int(np.argmin(ends))

    def visits(self, bucket: int, start: int, count: int) -> Visits:
        """The samples at positions ``start`` to ``start + count`` of a bucket's stream."""
        samples, done = int(self.samples_B[bucket]), 0
        parts: list[tuple[Ints, Ints, Ints]] = []
        while done < count:
            epoch, place = divmod(start + done, samples)
            shard, row = self._from(bucket, epoch, place, count - done)
            parts.append((shard, row, np.full(len(shard), epoch, np.int64)))
            done += len(shard)
        shard, row, epochs = (np.concatenate(column) for column in zip(*parts, strict=True))
        return Visits(bucket, shard, row, epochs)

    def _from(self, bucket: int, epoch: int, place: int, most: int) -> tuple[Ints, Ints]:
        """Shard and row of the samples from ``place`` of an epoch on, to the end of their window at most."""
        starts = self._epoch(epoch)[1][bucket]
        window = int(np.searchsorted(starts, place, side="right")) - 1
        shard, row = self._window(bucket, epoch, window)
        first = place - int(starts[window])
        return shard[first : first + most], row[first : first + most]

    def _epoch(self, epoch: int) -> tuple[Ints, Ints]:
        """The shards of an epoch in order, and by bucket where in the epoch each window starts."""
        if epoch not in self._epochs:
            order = shuffled(self.counts_BS.shape[1], f"{self.seed}:{epoch}")
            edges = np.arange(0, len(order), WINDOW_SHARDS)
            by_window = np.add.reduceat(self.counts_BS[:, order], edges, axis=1)
            starts = np.cumsum(by_window, axis=1) - by_window
            self._epochs[epoch] = order, starts
            if len(self._epochs) > 4:
                self._epochs.popitem(last=False)
        return self._epochs[epoch]

    def _window(self, bucket: int, epoch: int, window: int) -> tuple[Ints, Ints]:
        key = (bucket, epoch, window)
        if key not in self._windows:
            first = window * WINDOW_SHARDS
            shards = self._epoch(epoch)[0][first : first + WINDOW_SHARDS]
            counts = self.counts_BS[bucket, shards]
            shard = np.repeat(shards, counts)
            row = np.concatenate([np.arange(count) for count in counts])
            order = shuffled(len(shard), f"{self.seed}:{epoch}:{window}:{bucket}")
            self._windows[key] = shard[order], row[order]
            if len(self._windows) > WINDOWS_KEPT:
                self._windows.popitem(last=False)
        return self._windows[key]


def _counts(shards: Sequence[Shard], buckets: Sequence[Size]) -> Ints:
    counts = np.zeros((len(buckets), len(shards)), np.int64)
    chosen: dict[Size, int] = {}
    for number, shard in enumerate(shards):
        for size, count in shard.sizes.items():
            if size not in chosen:
                chosen[size] = nearest_bucket(size, buckets)
            counts[chosen[size], number] += count
    return counts


def shuffled(count: int, key: str) -> Ints:
    """The numbers below ``count`` in an order that ``key`` names.

    Drawn from the raw bits of PCG64, which NumPy promises never to change.
    """
    seed = int.from_bytes(hashlib.blake2b(key.encode(), digest_size=16).digest(), "little")
    return np.argsort(np.random.PCG64(seed).random_raw(count), kind="stable").astype(np.int64)


def chance(key: str) -> float:
    """A number in [0, 1) that ``key`` names, for the choices of one visit."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "little") / 2**64
