"""CPU-seconds of some work, and the line through several; a part of ``benchmarks.unit_costs``."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

ROUNDS = 3


@dataclass(frozen=True)
class Group:
    """Images of one look: their bytes and, as means, size in bytes and pixels."""

    images: list[bytes]
    side: int

    @property
    def bytes(self) -> float:
        return sum(map(len, self.images)) / len(self.images)

    @property
    def pixels(self) -> float:
        return float(self.side * (self.side * 3 // 4))


def cpu_s(work: Callable[[], Any], rounds: int = ROUNDS) -> float:
    """CPU-seconds of this process, the least of some rounds: other work only adds to it."""
    times = []
    for _ in range(rounds):
        began = time.process_time()
        work()
        times.append(time.process_time() - began)
    return min(times)


def line(rows: Sequence[Sequence[float]], times: Sequence[float]) -> list[float]:
    """Factors of the columns of ``rows``, none negative, with the least relative squared error."""
    whole, wanted = np.array(rows, float), np.array(times, float)
    weight = 1 / np.maximum(wanted, 1e-9)
    best, least = np.zeros(whole.shape[1]), np.inf
    for count in range(1, whole.shape[1] + 1):
        for some in itertools.combinations(range(whole.shape[1]), count):
            found = np.linalg.lstsq(whole[:, some] * weight[:, None], wanted * weight, rcond=None)[0]
            error = float((((whole[:, some] @ found) - wanted) ** 2 * weight**2).sum())
            if (found >= 0).all() and error < least * 0.98:
                best, least = np.zeros(whole.shape[1]), error
                best[list(some)] = found
    return [float(value) for value in best]
