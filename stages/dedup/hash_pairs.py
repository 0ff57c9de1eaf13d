"""Pairs of hashes as they are found: kept in memory, and in sorted files once they are many."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import numpy as np

_FEWEST_AT_ONCE = 1 << 16
"""Pairs of each file that are merged at once."""


class HashPairs(NamedTuple):
    """Pairs of distinct hash values: uint64, uint64 and int32 arrays of one length, sorted."""

    left: np.ndarray
    right: np.ndarray
    distance: np.ndarray


class PairSink:
    """Takes pairs in any order and gives them back sorted; none may come twice.

    Pairs beyond ``memory_bytes`` (16 bytes each while they come in) go to sorted files in ``scratch``.
    """

    def __init__(self, scratch: str, memory_bytes: int) -> None:
        self._folder = Path(scratch)
        self._most = max(_FEWEST_AT_ONCE, memory_bytes // 64)
        self._held: list[np.ndarray] = []
        self._count = 0
        self._files: list[Path] = []

    def add(self, pairs: np.ndarray) -> None:
        """uint64 [n, 2]."""
        if len(pairs):
            self._held.append(pairs)
            self._count += len(pairs)
        if self._count > self._most:
            self._spill()

    def sorted(self) -> HashPairs:
        if not self._files:
            return _with_distance(self._take())
        self._spill()
        return self._merged()

    def _take(self) -> np.ndarray:
        """uint64 [2, n]: what is held, sorted."""
        pairs = np.concatenate(self._held or [np.empty((0, 2), np.uint64)])
        self._held, self._count = [], 0
        return _ordered(np.ascontiguousarray(pairs.T))

    def _spill(self) -> None:
        pairs = self._take()
        if pairs.shape[1]:
            path = self._folder / f"pairs-{uuid4().hex}.npy"
            np.save(path, pairs)
            self._files.append(path)

    def _merged(self) -> HashPairs:
        """Merges the files range by range of left values into three files, and removes them."""
        runs = [np.load(path, mmap_mode="r") for path in self._files]
        total = sum(run.shape[1] for run in runs)
        out = HashPairs(
            *(
                np.lib.format.open_memmap(
                    self._folder / f"{name}-{uuid4().hex}.npy", "w+", dtype=dtype, shape=(total,)
                )
                for name, dtype in (("left", np.uint64), ("right", np.uint64), ("distance", np.int32))
            )
        )
        step = max(_FEWEST_AT_ONCE, self._most // len(runs))
        edges = np.sort(np.concatenate([run[0, ::step] for run in runs]))
        places = [np.append(np.searchsorted(run[0], edges), run.shape[1]) for run in runs]
        done = 0
        for number in range(len(edges)):
            parts = [run[:, at[number] : at[number + 1]] for run, at in zip(runs, places, strict=True)]
            pairs = _with_distance(_ordered(np.concatenate(parts, axis=1)))
            for sink, column in zip(out, pairs, strict=True):
                sink[done : done + len(column)] = column
            done += len(pairs.left)
        del runs
        for path in self._files:
            path.unlink()
        return out


def _ordered(pairs: np.ndarray) -> np.ndarray:
    return pairs[:, np.lexsort((pairs[1], pairs[0]))]


def _with_distance(pairs: np.ndarray) -> HashPairs:
    return HashPairs(pairs[0], pairs[1], np.bitwise_count(pairs[0] ^ pairs[1]).astype(np.int32))
