"""What rows cost where no image is read: completing, reducing, selecting, listing; part of ``unit_costs``.

    python -m benchmarks.row_costs TASK ROWS STORE

does one task in a process of its own, so that its memory is its own, and prints CPU-seconds and bytes.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.large_version import Invented, fill
from pipelines.build import build
from pipelines.cost_units import Cost, key_of
from pipelines.dataset import Dataset
from pipelines.executors import Serial
from pipelines.recipes.l_pp import l_pp
from stages.dedup.decontaminate import Decontaminate
from stages.dedup.near_duplicates import NearDuplicates
from stages.image.perceptual_hash import HASH_COLUMNS, THUMBNAIL_BYTES
from stages.pack.pack import Pack
from stages.stage import Reduction
from store.digest import fingerprint
from store.store import Store, open_store
from store.versions import find_version
from tinyworld.caption import caption
from tinyworld.draw import draw
from tinyworld.scene import random_scene

FEW, MANY, HASHES = 1_000, 100_000, (50_000, 200_000)
ROUNDS = 3
EVALUATED = 100
"""Images and captions of an evaluation set."""
COPIES = 0.2
"""Share of the invented images that are near copies of another."""


def row_costs(known: dict[str, Cost], scratch: Path) -> dict[str, Cost]:
    """Lines through two sizes, each in processes of their own.

    Args:
        known: what was measured before, with the bytes of rows.
    """
    found = {size: _tasks(size, scratch / f"rows-{size}") for size in (FEW, MANY)}
    costs = {}
    for name in found[FEW]:
        (few, few_bytes), (many, many_bytes) = (found[size][name] for size in (FEW, MANY))
        row, memory = _slope(few, many, FEW, MANY), _slope(few_bytes, many_bytes, FEW, MANY)
        costs[name] = Cost(row=row, row_memory=memory)  # what they cost once is in "start"
    rules = _rules(open_store(scratch / f"rows-{MANY}"))
    ruled = sum(rule.row for rule in rules.values())
    select = replace(costs["select"], row=max(costs["select"].row - ruled, 0.0))
    costs["select"] = replace(select, row_bytes=known["select"].row_bytes)
    return costs | rules | {"start": Cost(once=_start_s())}


def _slope(few: float, many: float, low: int, high: int) -> float:
    return max(many - few, 0.0) / (high - low)


def reduction_costs(known: dict[str, Cost], scratch: Path) -> dict[str, Cost]:
    """Of l-pp's reductions: seconds from the first size to the last. Memory from the second size on, since
    what sorts hashes into buckets is not loaded for a few."""
    found = {size: _reductions(size, scratch / f"hashes-{size}") for size in (FEW, *HASHES)}
    costs = {}
    for key, (few, _) in found[FEW].items():
        (_, middle_bytes), (many, many_bytes) = (found[size][key] for size in HASHES)
        row = _slope(few, many, FEW, HASHES[1])
        once, memory = max(few - row * FEW, 0.0), _slope(middle_bytes, many_bytes, *HASHES)
        default = " ".join(key.split()[:2])
        costs[key] = Cost(once=once, row=row, row_memory=memory, row_bytes=known[default].row_bytes)
    return costs


def _reductions(rows: int, folder: Path) -> dict[str, tuple[float, float]]:
    store = open_store(folder, create=True)
    pq.write_table(_invented_hashes(rows), _hashes_at(store))
    found = {key_of(NearDuplicates()): _run("near_duplicates", rows, store)}
    for number, stage in enumerate(_decontaminate(folder.parent)):
        found[key_of(stage)] = _run(f"decontaminate_{number}", rows, store)
    return found


def _decontaminate(folder: Path) -> list[Decontaminate]:
    """Without evaluation sets, with images, with captions, and with both."""
    images, captions = folder / "evaluation", folder / "evaluation.txt"
    if not captions.exists():
        images.mkdir()
        for number in range(EVALUATED):
            draw(random_scene(7000 + number), 320, 240).save(images / f"{number}.jpg")
        captions.write_text("".join(f"{caption(random_scene(7000 + n))}\n" for n in range(EVALUATED)))
    named = ((), (str(images),)), ((), (str(captions),))
    return [Decontaminate(images=i, captions=c) for i in named[0] for c in named[1]]


def _tasks(rows: int, folder: Path) -> dict[str, tuple[float, float]]:
    """CPU-seconds and bytes of each task."""
    store = open_store(folder, create=True)
    fill(store, _dataset(rows))
    complete, select, again, listed = (
        _run(task, rows, store, ROUNDS) for task in ("complete", "select", "again", "list")
    )
    return {
        "complete": complete,
        "select": select,
        "pack row": (max(listed[0] - again[0], 0.0), listed[1]),
    }


def _hashes_at(store: Store) -> Path:
    return Path(store.root.path) / "hashes.parquet"


def _dataset(rows: int, resolutions: tuple[int, ...] = ()) -> Dataset:
    return replace(l_pp(), source=Invented(rows, 10_000), pack=Pack(resolutions=resolutions))


def _run(task: str, rows: int, store: Store, rounds: int = 1) -> tuple[float, float]:
    """CPU-seconds, the least of some rounds, and the bytes of the last."""
    command = [sys.executable, "-m", "benchmarks.row_costs", task, str(rows), store.root.path]
    done = [subprocess.run(command, check=True, capture_output=True, text=True).stdout for _ in range(rounds)]
    said = [json.loads(out) for out in done]
    return min(out["cpu_s"] for out in said), said[-1]["bytes"]


def _rules(store: Store) -> dict[str, Cost]:
    """Of each rule of l-pp."""
    samples = find_version(store, "l-pp").samples()
    costs = {}
    for rule in l_pp().select:
        rows = samples.select(list(dict.fromkeys(["sample_id", *rule.reads])))
        began = time.process_time()
        rule.decide(rows)
        costs[key_of(rule)] = Cost(row=(time.process_time() - began) / rows.num_rows)
    return costs


def _start_s() -> float:
    """CPU-seconds of a process that imports what a build needs, and writes a report of one sample."""
    with tempfile.TemporaryDirectory() as name:
        photos = Path(name) / "photos"
        photos.mkdir()
        draw(random_scene(1), 320, 320).save(photos / "1.jpg")
        (photos / "1.txt").write_text("a drawn scene")
        command = [sys.executable, "-m", "pipelines", "build", "l-pp", "--workers", "1", "--store"]
        options = ["--set", "source.kind=folder", "--set", f"source.path={photos}"]
        before = _children_s()
        subprocess.run([*command, f"{name}/store", *options], check=True, capture_output=True)
        return _children_s() - before


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class _Enough(Exception):
    """What was to be measured is done."""


def _stop_at_packing(what: str, done: int, total: int) -> None:
    if what.startswith("packing"):
        raise _Enough


def _complete(rows: int, store: Store) -> None:
    identity = Invented(rows, 10_000).identity()
    source = store.source(fingerprint(identity))
    (source.location / "source.json").remove()
    source.complete_with(identity)


def _select(rows: int, store: Store) -> None:
    """Select, name and commit a version that is not there."""
    for folder in ("datasets", "tables"):
        (store.root / folder).remove()
    _again(rows, store)


def _again(rows: int, store: Store) -> None:
    build(store, _dataset(rows), Serial(), lambda *_: None)


def _list(rows: int, store: Store) -> None:
    try:
        build(store, _dataset(rows, (16,)), Serial(), _stop_at_packing)
    except _Enough:
        return


def _invented_hashes(rows: int) -> pa.Table:
    """Rows as ``near_duplicates`` reads them; ``COPIES`` of them are two bits from another."""
    rng = np.random.default_rng(rows)
    own = rng.random(rows) >= COPIES
    like = np.where(own, np.arange(rows), rng.integers(0, rows, rows))
    ids = np.char.add("00000000", np.array([f"{value:016x}" for value in rng.permutation(rows)]))
    columns: dict[str, Any] = {"sample_id": pa.array(ids), "sha256": pa.array(ids)}
    bits = np.where(own, np.uint64(0), np.uint64(3) << rng.integers(0, 60, rows).astype(np.uint64))
    for name in HASH_COLUMNS:
        values = rng.integers(0, 2**64, rows, dtype=np.uint64)
        columns[name] = pa.array(values[like] ^ bits)
    thumbnails = rng.integers(0, 256, (rows, THUMBNAIL_BYTES), dtype=np.uint8)[like]
    columns["thumbnail"] = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(THUMBNAIL_BYTES), rows, [None, pa.py_buffer(thumbnails.tobytes())]
    )
    sides = rng.integers(300, 1600, (2, rows)).astype(np.int32)
    numbers = {"width": sides[0], "height": sides[1], "num_bytes": sides[0] * np.int64(200)}
    columns |= {name: pa.array(values) for name, values in numbers.items()}
    words = pa.array([f"a drawn scene, number {number}, of many things" for number in range(rows)])
    return pa.table(
        columns | {"sharpness": rng.random(rows, np.float32), "caption": words, "caption_original": words}
    )


def _reduced(stage: Reduction, store: Store) -> None:
    table = pq.read_table(_hashes_at(store), columns=list(dict.fromkeys(["sample_id", *stage.reads])))
    with tempfile.TemporaryDirectory() as scratch:
        stage.reduce(table, scratch)


def _near_duplicates(rows: int, store: Store) -> None:
    _reduced(NearDuplicates(), store)


def _decontaminated(number: int, rows: int, store: Store) -> None:
    _reduced(_decontaminate(Path(store.root.path).parent)[number], store)


_TASKS: dict[str, Callable[[int, Store], None]] = {
    "complete": _complete,
    "select": _select,
    "again": _again,
    "list": _list,
    "near_duplicates": _near_duplicates,
    **{f"decontaminate_{number}": partial(_decontaminated, number) for number in range(4)},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("task", choices=_TASKS)
    parser.add_argument("rows", type=int)
    parser.add_argument("store")
    options = parser.parse_args()
    began = time.process_time()
    _TASKS[options.task](options.rows, open_store(options.store))
    print(json.dumps({"cpu_s": time.process_time() - began, "bytes": _peak_bytes()}))


def _peak_bytes() -> int:
    """Of this process alone; ``ru_maxrss`` counts what its parent held when it was started. Linux."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024


if __name__ == "__main__":
    main()
