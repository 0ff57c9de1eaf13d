"""Stage ``split``: train or validation, decided by the sample alone."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa

from stages.stage import Batch, MapStage
from store.errors import UsageError


@dataclass(frozen=True)
class Split(MapStage):
    """Puts a ``validation_share`` (0 to 1) of samples into ``validation``, by a hash of their id.

    A sample keeps its split whatever else is in the dataset. ``seed`` draws another split.
    """

    name: ClassVar[str] = "split"
    version: ClassVar[int] = 1
    reads: ClassVar[tuple[str, ...]] = ("sample_id",)
    writes: ClassVar[pa.Schema] = pa.schema([("split", pa.string())])
    validation_share: float = 0.02
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.validation_share <= 1:
            raise UsageError(f"validation_share={self.validation_share}: expected 0 to 1")

    def open(self) -> Callable[[Batch], dict[str, Sequence[Any]]]:
        return lambda batch: {"split": [self._split(key) for key in batch.columns["sample_id"]]}

    def _split(self, sample_id: str) -> str:
        digest = hashlib.sha256(f"{self.seed}:{sample_id}".encode()).digest()
        share = int.from_bytes(digest[:8], "big") / 2**64
        return "validation" if share < self.validation_share else "train"
