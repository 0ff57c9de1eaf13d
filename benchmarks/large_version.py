"""What costs when nothing is decoded: selecting, showing, explaining and exporting many samples.

    python -m benchmarks.large_version SAMPLES [--store DIR] [--shard-rows 10000]

Writes a store of invented samples (rows and columns, one picture for all) for the recipe ``l-pp``, builds the
version, then changes one threshold and builds again; then asks what people ask of it, each in a process
of its own as the command line does.
"""

from __future__ import annotations

import argparse
import io
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from pipelines.build import build
from pipelines.dataset import Dataset
from pipelines.executors import Serial
from pipelines.planner import Step, plan
from pipelines.recipes.l_pp import l_pp
from stages.pack.pack import Pack
from stages.select.min_side import MinSide
from stages.stage import Source
from store.digest import fingerprint
from store.schema import SAMPLE_ROWS
from store.sources import RawSample, Shard, StoredSource
from store.store import Store, open_store
from tinyworld.draw import draw
from tinyworld.scene import random_scene

WORDS = np.array(["a", "red", "blue", "small", "dog", "cat", "house", "tree", "on", "by", "photo", "sea"])
COPIES = 0.1
"""Share of samples that lie in the cluster of another."""


@dataclass(frozen=True)
class Invented(Source):
    """``samples`` rows that share one picture."""

    kind: ClassVar[str] = "invented"
    samples: int
    shard_rows: int

    def identity(self) -> dict[str, Any]:
        return {"kind": self.kind, "samples": self.samples}

    def plan(self) -> Iterator[pa.Table]:
        for start in range(0, self.samples, self.shard_rows):
            rows = min(self.shard_rows, self.samples - start)
            yield pa.table({"start": [start], "rows": [rows]})

    def read(self, portion: pa.Table, scratch: str) -> Iterator[RawSample]:
        raise NotImplementedError("the rows are written by fill")


def _picture() -> bytes:
    sink = io.BytesIO()
    draw(random_scene(1), 320, 240).save(sink, "JPEG")
    return sink.getvalue()


PICTURE = _picture()


def ids(start: int, rows: int) -> np.ndarray:
    """24 hex digits each, in no order."""
    number = np.arange(start, start + rows, dtype=np.uint64)
    mixed = [(number + np.uint64(k)) * np.uint64(0x9E3779B97F4A7C15) for k in (1, 7)]
    return np.array([f"{a:016x}{b >> 32:08x}" for a, b in zip(*(m.tolist() for m in mixed), strict=True)])


def fill(store: Store, dataset: Dataset) -> None:
    """Write the source and the column sets of a dataset with an ``Invented`` source."""
    source = store.source(fingerprint(dataset.source.identity()))
    for index in range(0 if source.complete else source.write_plan(dataset.source.plan())):
        start, rows = (source.portion(index)[name][0].as_py() for name in ("start", "rows"))
        _write_rows(source, index, ids(start, rows))
    source.complete_with(dataset.source.identity())
    for step in plan(dataset, source.fingerprint):
        columns = store.column_set(step.stage.name, step.fingerprint)
        if columns.complete:
            continue
        for shard in source.shards():
            start = source.portion(shard.index)["start"][0].as_py()
            columns.write(shard.index, _columns(step, ids(start, shard.rows), start), shard.rows)
        columns.commit(step.made_by(), [shard.index for shard in source.shards()])


def _write_rows(source: StoredSource, index: int, keys: np.ndarray) -> None:
    rng = np.random.default_rng(index)
    none = pa.nulls(len(keys))
    values = dict.fromkeys(SAMPLE_ROWS.names, none) | {
        "sample_id": pa.array(keys),
        "source_key": pa.array(keys),
        "url": pa.array(np.char.add("https://example.org/", keys)),
        "caption_original": _captions(rng, len(keys)),
        "image_offset": pa.array(np.zeros(len(keys), np.int64)),
        "image_size": pa.array(np.full(len(keys), len(PICTURE))),
    }
    table = pa.table({field.name: values[field.name].cast(field.type) for field in SAMPLE_ROWS})
    rows_file, digest = source._write_rows(index, table)
    (source.location / "shards" / "all.tar").write_bytes(PICTURE)
    shard = Shard(index, len(keys), len(keys), rows_file, digest, "all.tar", len(PICTURE), "")
    (source.location / "shards" / f"{index:05d}.json").create_json(asdict(shard))


def _captions(rng: np.random.Generator, rows: int) -> pa.Array:
    words = WORDS[rng.integers(0, len(WORDS), (rows, 10))]
    return pa.array([" ".join(line) for line in words.tolist()])


def _columns(step: Step, keys: np.ndarray, start: int) -> pa.Table:
    rng = np.random.default_rng([start, len(step.stage.name)])
    rows = len(keys)
    copies = rng.random(rows) < COPIES
    clusters = np.where(copies, keys[rng.integers(0, rows, rows)], keys)
    sides = rng.integers(200, 1600, (2, rows))
    known = {
        "sha256": pa.array(np.char.add(keys, keys)),
        "caption": _captions(rng, rows),
        "split": pa.array(np.where(rng.random(rows) < 0.02, "validation", "train")),
        "width": pa.array(sides[0]),
        "height": pa.array(sides[1]),
        **dict.fromkeys(("crop_left", "crop_top"), pa.array(np.zeros(rows, int))),
        **dict.fromkeys(("crop_right", "crop_bottom"), pa.array(np.full(rows, 200))),
        "format": pa.array(["jpeg"] * rows),
        "crop_choice": pa.array(["center"] * rows),
        "cluster_id": pa.array(clusters),
        "duplicate_kind": pa.array(np.where(copies, "near", None)),
    }
    table = pa.table({"sample_id": pa.array(keys)})
    for field in step.stage.writes:
        if field.name in known:
            values = known[field.name]
        elif pa.types.is_integer(field.type) or pa.types.is_floating(field.type):
            values = pa.array(rng.integers(1, 200, rows))
        else:
            values = pa.nulls(rows)
        table = table.append_column(field, values.cast(field.type))
    return table


def _timed(what: str, command: list[str]) -> None:
    started, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    cpu = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before.ru_utime
    print(f"{what:<34} {time.monotonic() - started:7.2f} s {cpu:7.2f} CPU-s  {len(out):>9,} characters out")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("samples", type=int)
    parser.add_argument("--store", default=None)
    parser.add_argument("--shard-rows", type=int, default=10_000)
    parser.add_argument("--min-side", type=int, nargs=2, default=(300, 301))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        store = open_store(options.store or f"{scratch}/store", create=True)
        dataset = replace(l_pp(), source=Invented(options.samples, options.shard_rows))
        dataset = replace(dataset, pack=Pack(resolutions=()))
        started = time.monotonic()
        fill(store, dataset)
        print(f"{options.samples:,} samples written in {time.monotonic() - started:.0f} s")
        for least in options.min_side:
            rules = tuple(MinSide(least) if r.name == "min_side" else r for r in dataset.select)
            started = time.monotonic()
            built = build(store, replace(dataset, select=rules), Serial(), lambda *_: None)
            print(
                f"build with min_side={least:<16} {time.monotonic() - started:7.2f} s, kept {built['kept']:,}"
            )
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(f"peak memory of these              {peak:7.2f} GiB")
        ask(store, options.samples, Path(scratch))


def ask(store: Store, samples: int, scratch: Path) -> None:
    """Time the questions of the command line."""
    name = [sys.executable, "-m", "pipelines"]
    at = ["--store", store.url]
    some = str(ids(samples // 2, 1)[0])
    _timed("datasets", [*name, "datasets", *at])
    _timed("show", [*name, "show", "l-pp", *at])
    _timed("show --json", [*name, "show", "l-pp", "--json", *at])
    _timed("explain", [*name, "explain", "l-pp", some, *at])
    _timed("explain --json", [*name, "explain", "l-pp", some, "--json", *at])
    _timed("export --as parquet", [*name, "export", "l-pp", str(scratch / "out"), "--as", "parquet", *at])
    assert json.loads((Path(store.root.path) / "store.json").read_text())


if __name__ == "__main__":
    main()
