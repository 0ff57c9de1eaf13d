"""All pairs of 64-bit hashes within a Hamming radius, found exactly and in near-linear time.

Few hashes are compared all with all. Many are sorted into buckets by some of their bits, and buckets
whose keys are near are compared: ``hamming_plan`` says which, and why none is missed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np

from stages.dedup.hash_pairs import HashPairs, PairSink
from store.errors import UsageError

MAX_RADIUS = 12
SMALL = 500_000_000
"""Comparisons that cost less (0.3 CPU-seconds) than importing what sorts into buckets."""

_ROWS, _COLUMNS = 16, 4096
"""A block of comparisons that stays in a core's cache."""


def hamming_join(
    left: np.ndarray, right: np.ndarray | None, radius: int, scratch: str, memory_bytes: int = 1 << 30
) -> HashPairs:
    """Every pair of a value of ``left`` and a value of ``right`` (uint64) at most ``radius`` bits apart.

    Equal values count once, so the answer does not grow with the square of how often a hash occurs.
    Equal values of the two sides are a pair at distance 0. ``right`` None: pairs within ``left``, each
    once, the smaller value on the left, no value with itself.

    Pairs beyond ``memory_bytes`` go to files in the folder ``scratch``, and the answer then lies in files
    there. Besides its input the join holds 18 bytes for each hash. Threads: as many as this process may
    use CPUs, or ``OMP_NUM_THREADS`` if that is less; Ray sets it to what a task may use. The first large
    join on a machine compiles for 3 seconds. Raises UsageError for a radius outside 0 to 12.
    """
    if not 0 <= radius <= MAX_RADIUS:
        raise UsageError(f"radius is {radius}; expected 0 to {MAX_RADIUS} bits of 64")
    sink = PairSink(scratch, memory_bytes)
    left, right = _distinct(left), None if right is None else _distinct(right)
    if len(left) * len(left if right is None else right) <= SMALL:
        found = _all_with_all(left, right, radius)
    else:
        from stages.dedup.hamming_buckets import BucketJoin

        found = BucketJoin(_threads()).pairs(left, right, radius)
    for pairs in found:
        sink.add(pairs if right is not None else np.sort(pairs, axis=1))
    return sink.sorted()


def _distinct(values: np.ndarray) -> np.ndarray:
    """A sorted copy without repetition. ``np.unique`` hashes: 14 s for 10^7 values where this takes 1."""
    values = np.sort(np.asarray(values, np.uint64))
    first = np.ones(len(values), bool)
    np.not_equal(values[1:], values[:-1], out=first[1:])
    return values if first.all() else values[first]


def _threads() -> int:
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    allowed = os.environ.get("OMP_NUM_THREADS", "")
    return min(cpus, int(allowed)) if allowed.isdigit() and int(allowed) else cpus


def _all_with_all(left: np.ndarray, right: np.ndarray | None, radius: int) -> Iterator[np.ndarray]:
    """uint64 [n, 2] pairs of sorted distinct values, all compared."""
    others = left if right is None else right
    difference = np.empty((_ROWS, min(_COLUMNS, len(others))), np.uint64)
    bits = np.empty(difference.shape, np.uint8)
    for start in range(0, len(others), _COLUMNS):
        two = others[start : start + _COLUMNS]
        for begin in range(0, len(left) if right is not None else min(len(left), start + len(two)), _ROWS):
            one = left[begin : begin + _ROWS]
            some, apart = difference[: len(one), : len(two)], bits[: len(one), : len(two)]
            np.bitwise_count(np.bitwise_xor(one[:, None], two, out=some), out=apart)
            if apart.min() <= radius:
                i, j = np.divmod(np.flatnonzero(apart <= radius), len(two))
                pairs = np.stack([one[i], two[j]], axis=1)
                yield pairs if right is not None else pairs[pairs[:, 0] < pairs[:, 1]]
