"""Which of several copies is the best: the order in which they represent and are kept."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

READS = ("width", "height", "sharpness", "num_bytes", "caption")
SHARPNESS_STEP = 1.25
"""Sharpness counts in steps of this factor: compressing a picture again moves it by up to 1.09, mostly
up, and must not make the worse file the sharper one."""


def best_first(rows: pa.Table) -> np.ndarray:
    """int64 [n]: row numbers from the best sample to the worst.

    Most pixels, then sharpest (in steps), most bytes, longest caption; ties end at the smaller
    ``sample_id``, so the order of the rows does not matter.
    """
    sharpness = np.maximum(pc.fill_null(rows["sharpness"].cast(pa.float64()), 0.0).to_numpy(), 1e-3)
    pixels = pc.multiply(rows["width"].cast(pa.int64()), rows["height"].cast(pa.int64()))
    keys = {
        "pixels": pc.fill_null(pixels, 0),
        "sharpness": pa.array(np.floor(np.log(sharpness) / np.log(SHARPNESS_STEP))),
        "num_bytes": pc.fill_null(rows["num_bytes"], 0),
        "caption": pc.fill_null(pc.utf8_length(rows["caption"]), 0),
    }
    order = [(name, "descending") for name in keys] + [("sample_id", "ascending")]
    table = pa.table(keys | {"sample_id": rows["sample_id"]})
    return np.asarray(pc.sort_indices(table, sort_keys=order).to_numpy())
