"""How many rows a scoring model sees at once."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

from stages.pretrained import device, in_batches

Item = TypeVar("Item")
Result = TypeVar("Result")


class Batching:
    """``batch_size`` rows at a time on a GPU, one at a time on a CPU.

    On a CPU no value then depends on its neighbors, to the bit. On a GPU it does by float noise (2e-7 of
    a cosine in float32, measured with batches on a CPU). A batch that the GPU's memory does not hold is
    halved, from there on, and standard error says so.
    """

    def __init__(self, stage: str, batch_size: int) -> None:
        self.stage = stage
        self.batch_size = batch_size if device() == "cuda" else 1

    def scored(
        self, run: Callable[[Sequence[Item]], Sequence[Result]], items: Sequence[Item]
    ) -> list[Result]:
        """``run`` over all items, a result for each."""
        return in_batches(run, items, self.batch_size, self._halved)

    def _halved(self, batch_size: int) -> None:
        self.batch_size = batch_size
        print(f"{self.stage}: the GPU's memory holds batches of {batch_size} only; going on", file=sys.stderr)
