"""Rule ``best_of_prompt``: of the images of one prompt, the best ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stages.stage import SelectStage
from store.errors import UsageError


@dataclass(frozen=True)
class BestOfPrompt(SelectStage):
    """Keeps, of all samples of one ``prompt_id``, the ``keep`` with the highest score ``by``.

    ``by`` is any column of numbers. Only samples that every earlier rule kept compete; those without a
    score come last, equal ones go by ``sample_id``. Samples without a prompt stay.
    """

    name: ClassVar[str] = "best_of_prompt"
    version: ClassVar[int] = 1
    reasons: ClassVar[tuple[str, ...]] = ("not_best_of_prompt",)
    by: str = "clip_similarity"
    keep: int = 1

    def __post_init__(self) -> None:
        if self.keep < 1:
            raise UsageError(f"best_of_prompt.keep={self.keep}: expected 1 or more")

    @property
    def reads(self) -> tuple[str, ...]:  # type: ignore[override]  # `by` decides
        return ("prompt_id", self.by)

    def decide(self, rows: pa.Table) -> pa.Array:
        if not _is_number(rows[self.by].type):
            raise UsageError(f"best_of_prompt.by={self.by}: a column of {rows[self.by].type}, not of numbers")
        scores = rows[self.by].cast(pa.float64(), safe=False).to_numpy()  # null becomes NaN
        scores = np.where(np.isnan(scores), -np.inf, scores)
        prompts = rows["prompt_id"].combine_chunks().dictionary_encode().indices
        codes = prompts.fill_null(-1).to_numpy(zero_copy_only=False)
        order = np.lexsort((rows["sample_id"].to_numpy().astype("S24"), -scores, codes))
        ranks = np.empty(len(order), np.int64)
        ranks[order] = np.arange(len(order)) - np.searchsorted(codes[order], codes[order])
        out = (ranks >= self.keep) & (codes >= 0)
        return pc.if_else(pa.array(out), "not_best_of_prompt", pa.scalar(None, pa.string()))


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))
