"""Ours on the tasks of the others, by the functions of the other benchmarks.

python -m benchmarks.peers.ours near_duplicates|headers|hash_stage|corrupt_row FOLDER RESULT.json
"""

from __future__ import annotations

import io
import json
import sys
import tempfile
from collections import defaultdict
from contextlib import redirect_stdout
from itertools import combinations
from pathlib import Path
from typing import Any

from benchmarks import corrupt_row as corrupt
from benchmarks.headers import by_header
from benchmarks.near_duplicates import columns_of
from benchmarks.pool_overhead import ours as planner_and_pool
from stages.dedup.near_duplicates import NearDuplicates


def near_duplicates(folder: Path) -> dict[str, Any]:
    """Every pair within a cluster."""
    rows = columns_of(folder, sorted(path.stem for path in folder.glob("*.jpg")))
    with tempfile.TemporaryDirectory() as scratch:
        found = NearDuplicates().reduce(rows, scratch)
    clusters = defaultdict(list)
    ids = zip(rows["sample_id"].to_pylist(), found["cluster_id"].to_pylist(), strict=True)
    for name, cluster in ids:
        clusters[cluster].append(name)
    clusters.pop(None, None)
    return {"pairs": [pair for names in clusters.values() for pair in combinations(names, 2)]}


def headers(folder: Path) -> dict[str, Any]:
    return {"note": f"{len(by_header(sorted(folder.glob('*.jpg'))))} kept"}


def hash_stage(folder: Path) -> dict[str, Any]:
    """Tars taken in, thirteen hashes an image, columns committed."""
    images, seconds, read_in = planner_and_pool(sorted(str(path) for path in folder.glob("*.tar")), 2)
    return {"note": f"{images} images; read in {read_in:.1f} s, stage {seconds:.1f} s"}


def corrupt_row(folder: Path) -> dict[str, Any]:
    with redirect_stdout(io.StringIO()) as printed:
        corrupt.main()
    return {"note": printed.getvalue().splitlines()[0]}


TASKS = {each.__name__: each for each in (near_duplicates, headers, hash_stage, corrupt_row)}


def main() -> None:
    task, folder, result = sys.argv[1:]
    Path(result).write_text(json.dumps([TASKS[task](Path(folder))]))


if __name__ == "__main__":
    main()
