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

    With ``by`` by a hash of that column, so that samples that agree in it are on one side (``sha256``: exact
    copies); of their id where it is null. A sample keeps its split whatever else is in the dataset. ``seed``
    draws another split.
    """

    name: ClassVar[str] = "split"
    version: ClassVar[int] = 1
    writes: ClassVar[pa.Schema] = pa.schema([("split", pa.string())])
    validation_share: float = 0.02
    seed: int = 0
    by: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.validation_share <= 1:
            raise UsageError(f"validation_share={self.validation_share}: expected 0 to 1")

    @property
    def reads(self) -> tuple[str, ...]:  # type: ignore[override]
        return ("sample_id", self.by) if self.by else ("sample_id",)

    def open(self) -> Callable[[Batch], dict[str, Sequence[Any]]]:
        def run(batch: Batch) -> dict[str, Sequence[Any]]:
            ids = batch.columns["sample_id"]
            keys = batch.columns[self.by] if self.by else ids
            return {"split": [self._split(key or own) for key, own in zip(keys, ids, strict=True)]}

        return run

    def _split(self, key: str) -> str:
        digest = hashlib.sha256(f"{self.seed}:{key}".encode()).digest()
        share = int.from_bytes(digest[:8], "big") / 2**64
        return "validation" if share < self.validation_share else "train"
