"""The reason why an image cannot be decoded."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from stages.image.decode import Decode
from stages.stage import Batch


def test_fine_broken_and_no_image() -> None:
    images = [np.zeros((64, 64, 3), np.uint8), None, None]
    written = Decode().open()(Batch(3, {}, images, [None, "truncated", None]))
    table = pa.table(written, schema=Decode.writes)
    assert table.to_pydict() == {"decode_error": [None, "truncated", None]}
