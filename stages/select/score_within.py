"""Rule ``score_within``: no sample whose score lies outside of bounds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from stages.stage import SelectStage
from store.errors import UsageError


@dataclass(frozen=True)
class ScoreWithin(SelectStage):
    """Drops samples whose ``column`` is under ``minimum`` or over ``maximum``; the bounds are kept.

    The reasons are the column's name with ``_low`` or ``_high``. What has no score (null or NaN) stays,
    and is dropped as ``_unknown`` with ``drop_unknown``. A bound of None does not bind. The rule is named by
    its column, so that a recipe can have one for each: ``clip_similarity_within``.
    """

    version: ClassVar[int] = 1
    column: str
    minimum: float | None = None
    maximum: float | None = None
    drop_unknown: bool = False

    def __post_init__(self) -> None:
        bounds = [bound for bound in (self.minimum, self.maximum) if bound is not None]
        if any(map(math.isnan, bounds)) or bounds != sorted(bounds):
            raise UsageError(
                f"{self.name}: minimum={self.minimum}, maximum={self.maximum}: expected numbers, "
                "the maximum not under the minimum, or none"
            )

    @property
    def name(self) -> str:  # type: ignore[override]  # the column decides
        return f"{self.column}_within"

    @property
    def reads(self) -> tuple[str, ...]:  # type: ignore[override]
        return (self.column,)

    @property
    def reasons(self) -> tuple[str, ...]:  # type: ignore[override]
        return tuple(f"{self.column}_{end}" for end in ("low", "high", "unknown"))

    def decide(self, rows: pa.Table) -> pa.ChunkedArray:
        score = rows[self.column]
        if score.type != pa.float32():
            score = score.cast(pa.float64())
        low, high, unknown = self.reasons
        nothing = pa.scalar(None, pa.string())
        reason = pc.if_else(pc.greater(score, _bound(self.maximum, math.inf, score.type)), high, nothing)
        reason = pc.if_else(pc.less(score, _bound(self.minimum, -math.inf, score.type)), low, reason)
        known = pc.invert(pc.is_null(score, nan_is_null=True))
        return pc.if_else(known, reason, unknown if self.drop_unknown else nothing)


def _bound(bound: float | None, none: float, kind: pa.DataType) -> pa.Scalar:
    """In the column's own type: a float32 of 0.7 is under 0.7, and not under a minimum of 0.7."""
    return pa.scalar(none if bound is None else bound, kind)
