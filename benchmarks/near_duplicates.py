"""Near-duplicates found in a folder with planted copies, end to end in one process.

    python -m benchmarks.near_duplicates FOLDER TRUTH.json

``TRUTH.json``: a list of ``[file stem, stem of the original or null, kind or null]``. A planted copy is
found when it ends in the cluster of its original; a false pair is a copy joined to anything else.
CPU-seconds are of the whole process: imports, reading, decoding, hashing, joining.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

from stages.dedup.near_duplicates import NearDuplicates
from stages.image.content_hash import ContentHash
from stages.image.perceptual_hash import PerceptualHash
from stages.image.picture import read_header, read_small
from stages.image.sharpness import Sharpness
from stages.image.size import Size
from stages.stage import Batch, View

BATCH = 32
READERS: dict[View, Callable[[bytes], Any]] = {
    View.BYTES: bytes,
    View.HEADER: read_header,
    View.SMALL: read_small,
}


def columns_of(folder: Path, names: list[str]) -> pa.Table:
    """What near_duplicates reads, of ``<folder>/<name>.jpg``."""
    stages = (ContentHash(), Size(), PerceptualHash(), Sharpness())
    opened = [(stage, stage.open()) for stage in stages]
    parts = []
    for start in range(0, len(names), BATCH):
        some = names[start : start + BATCH]
        data = [(folder / f"{name}.jpg").read_bytes() for name in some]
        views = {view: [read(each) for each in data] for view, read in READERS.items()}
        columns = {
            "sample_id": pa.array(some),
            "caption": pa.nulls(len(some), pa.string()),
        }
        for stage, run in opened:
            batch = Batch(len(some), {}, views[stage.view], [None] * len(some))
            written = run(batch)
            for field in stage.writes:
                columns[field.name] = pa.array(written[field.name], field.type)
        parts.append(pa.table(columns))
    return pa.concat_tables(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument("truth", type=Path)
    arguments = parser.parse_args()
    truth = {name: (origin, kind) for name, origin, kind in json.loads(arguments.truth.read_text())}
    rows = columns_of(arguments.folder, sorted(truth))
    hashed = time.process_time()
    with tempfile.TemporaryDirectory() as scratch:
        found = NearDuplicates().reduce(rows, scratch)
    done = time.process_time()

    cluster = dict(zip(rows["sample_id"].to_pylist(), found["cluster_id"].to_pylist(), strict=True))
    origin = {name: original or name for name, (original, _) in truth.items()}
    planted, hit = Counter[str](), Counter[str]()
    for name, (original, kind) in truth.items():
        if original is not None:
            planted[kind] += 1
            hit[kind] += cluster[name] == cluster[original]
    false = [(a, b) for a, b in cluster.items() if b is not None and origin[a] != origin[b]]
    for kind, count in planted.items():
        print(f"{kind:10s} {hit[kind]:4d} of {count}")
    print(f"images {len(truth)}, found {hit.total()} of {planted.total()}, false {len(false)}")
    print(f"CPU-seconds {done:.2f}: read, decode, hash {hashed:.2f}; cluster {done - hashed:.2f}")


if __name__ == "__main__":
    main()
