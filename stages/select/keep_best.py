"""Rule ``keep_best``: of each cluster of copies, the best one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stages.stage import SelectStage


@dataclass(frozen=True)
class KeepBest(SelectStage):
    """Keeps one sample of each ``cluster_id``: most pixels, then sharpest, then longest caption.

    Ties end at the smaller ``sample_id``, so the answer does not depend on order. Only samples that
    every earlier rule kept compete: a copy is not lost with a keeper that another rule drops.
    """

    name: ClassVar[str] = "keep_best"
    version: ClassVar[int] = 1
    reads: ClassVar[tuple[str, ...]] = (
        "cluster_id",
        "width",
        "height",
        "sharpness",
        "caption",
        "sha256",
    )
    reasons: ClassVar[tuple[str, ...]] = ("duplicate_exact", "duplicate_near")

    def decide(self, rows: pa.Table) -> pa.Array:
        if rows.num_rows == 0:
            return pa.array([], pa.string())
        ranked = pa.table(
            {
                "cluster": pc.coalesce(rows["cluster_id"], rows["sample_id"]),
                "pixels": pc.multiply(rows["width"].cast(pa.int64()), rows["height"]),
                "sharpness": pc.fill_null(rows["sharpness"], 0.0),
                "caption": pc.fill_null(pc.utf8_length(rows["caption"]), 0),
                "sample_id": rows["sample_id"],
            }
        )
        order = pc.sort_indices(
            ranked,
            sort_keys=[
                ("cluster", "ascending"),
                ("pixels", "descending"),
                ("sharpness", "descending"),
                ("caption", "descending"),
                ("sample_id", "ascending"),
            ],
        ).to_numpy()
        clusters = np.asarray(ranked["cluster"].to_pylist(), dtype=object)[order]
        first = np.concatenate([[True], clusters[1:] != clusters[:-1]])
        keeper = order[np.maximum.accumulate(np.where(first, np.arange(len(order)), 0))]
        content = np.asarray(rows["sha256"].to_pylist(), dtype=object)
        reasons = np.where(content[order] == content[keeper], "duplicate_exact", "duplicate_near")
        result = np.empty(len(order), dtype=object)
        result[order] = np.where(first, None, reasons)
        return pa.array(result, pa.string())
