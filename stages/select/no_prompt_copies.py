"""Rule ``no_prompt_copies``: each prompt once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stages.stage import SelectStage


@dataclass(frozen=True)
class NoPromptCopies(SelectStage):
    """Drops as ``prompt_copy`` what ``prompt_copies`` found to be a copy of a prompt that stays.

    Where an earlier rule dropped the prompt itself, the first of its copies, by id, stays in its place.
    """

    name: ClassVar[str] = "no_prompt_copies"
    version: ClassVar[int] = 1
    reads: ClassVar[tuple[str, ...]] = ("prompt_copy_of",)
    reasons: ClassVar[tuple[str, ...]] = ("prompt_copy",)

    def decide(self, rows: pa.Table) -> pa.Array:
        copy_of = rows["prompt_copy_of"].cast(pa.string())
        prompts = pc.coalesce(copy_of, rows["sample_id"]).combine_chunks().dictionary_encode().indices
        codes = prompts.to_numpy()
        order = np.lexsort(
            (rows["sample_id"].to_numpy().astype("S24"), pc.is_valid(copy_of).to_numpy(), codes)
        )
        first = np.diff(codes[order], prepend=-1) != 0
        stays = np.empty(len(order), bool)
        stays[order] = first
        return pc.if_else(pa.array(stays), pa.scalar(None, pa.string()), "prompt_copy")
