"""Image shards that a stage could not get through: reported and left out, while the others go on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pipelines.attempts import Failed

REASON = "shard_failed"
"""The reason of every sample of a shard that was set aside."""


@dataclass(frozen=True)
class FailedShard:
    """An image shard without columns: the stages of the pass that failed, and the last error."""

    shard: int
    stages: tuple[str, ...]
    error: str


class SetAside:
    """The shards that failed in one build, by index. One more than ``limit`` stops the build."""

    def __init__(self, limit: int = 0) -> None:
        self._limit = limit
        self.shards: dict[int, FailedShard] = {}

    @property
    def indices(self) -> frozenset[int]:
        return frozenset(self.shards)

    def add(self, shard: int, stages: tuple[str, ...], failed: Failed[Any]) -> None:
        """Note a shard that failed.

        Raises:
            MashbillError: there were as many as may be.
        """
        self.shards[shard] = FailedShard(shard, stages, failed.error)
        count = len(self.shards)
        if count <= self._limit:
            return
        counted = "" if count == 1 else f" It is number {count}, after {self._others(shard)}."
        failed.stop(
            f"shard {shard} failed {failed.tries} times in {', '.join(stages)}: {failed.error}{counted} "
            "What was finished is kept. Mend the cause and run the same command again, or leave such "
            f"shards out with --max-failed-shards {count}."
        )

    def listed(self) -> list[dict[str, Any]]:
        """``{shard, stages, error}`` of each, in order: what the manifest says."""
        found = (self.shards[index] for index in sorted(self.shards))
        return [{"shard": f.shard, "stages": list(f.stages), "error": f.error} for f in found]

    def _others(self, shard: int) -> str:
        return ", ".join(str(index) for index in sorted(self.shards) if index != shard)
