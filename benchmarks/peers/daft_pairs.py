"""Daft: pHash of every image; the join is ours, since Daft has none: all pairs within 10 bits.

python daft_pairs.py FOLDER RESULT.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import daft  # type: ignore[import-not-found]
import numpy as np
from daft.functions import decode_image, image_hash  # type: ignore[import-not-found]

RADIUS = 10


def main() -> None:
    folder, result = sys.argv[1:]
    files = daft.from_glob_path(f"{folder}/*.jpg")
    images = files.with_column("image", decode_image(daft.col("path").download(), on_error="null"))
    hashed = images.with_column("hash", image_hash(daft.col("image"), method="phash"))
    columns = hashed.select("path", "hash").where(daft.col("hash").not_null()).to_pydict()
    stems = [Path(path).stem for path in columns["path"]]
    hashes = np.array([int.from_bytes(bytes(each), "big") for each in columns["hash"]], np.uint64)
    pairs = []
    for row, one in enumerate(hashes):
        near = np.flatnonzero(np.bitwise_count(hashes[row + 1 :] ^ one) <= RADIUS)
        pairs += [(stems[row], stems[row + 1 + int(other)]) for other in near]
    Path(result).write_text(json.dumps([{"pairs": pairs}]))


if __name__ == "__main__":
    main()
