"""The fused pass on a Ray cluster of this machine, beside the local pool and a bare process pool.

    python -m benchmarks.ray_overhead [--images 1000 10000] [--workers 1 2] [--rounds 3] [--model-ms 40]

All three run the same unit of work (``run_pass``: read, decode, hash, write and commit columns) over the
same shards of 100 small JPEGs. Told apart: start-up until units can be sent, the first result after
that, and the steady state, which is images per second from the second result of each worker on.

Then a stage that keeps a GPU busy and the CPU free (it sleeps for ``--model-ms`` per 32 images) after a
full decode, over shards of 1,000: our actor, whose threads decode ahead, and Ray Data, with decode tasks
before an actor. No ``--images`` leaves out the first part.
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import ray
from PIL import Image

from pipelines.executors import Pool, Serial
from pipelines.intake import take_in
from pipelines.map_pass import PassUnit, run_pass
from pipelines.planner import Step, plan
from pipelines.ray_cluster import own_cluster
from pipelines.ray_executor import Ray
from pipelines.recipes.l_pp import l_pp
from pipelines.workers import Worker
from stages.image.picture import read_full
from stages.source.webdataset import WebDataset
from stages.stage import Batch, MapStage, Resources, View
from store.sources import StoredSource
from store.store import Store, open_store
from store.tar import TarWriter

SHARD = 100
GPU_SHARD = 1000
SIDE = 256
DISTINCT = 50


@dataclass(frozen=True)
class Timed:
    """Seconds of one run and its steady images per second."""

    start_s: float
    first_s: float
    steady: float


def write_tars(folder: Path, images: int, shard: int) -> None:
    folder.mkdir()
    pictures = []
    for seed in range(DISTINCT):
        grid = np.random.default_rng(seed).integers(0, 256, (24, 24, 3), dtype=np.uint8)
        sink = io.BytesIO()
        Image.fromarray(grid).resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(sink, "JPEG", quality=90)
        pictures.append(sink.getvalue())
    for start in range(0, images, shard):
        with (folder / f"{start:07d}.tar").open("wb") as file:
            tar = TarWriter(file)
            for number in range(start, start + shard):
                tar.add(f"{number:07d}.jpg", pictures[number % DISTINCT])
            tar.close()


def timed(start: float, results: Iterator[Any], workers: int) -> Timed:
    """Follow the results of a run whose start-up began at ``start``."""
    ready = time.monotonic()
    ends = [(time.monotonic(), rows) for rows in results]
    warm = 2 * workers - 1
    steady = sum(rows for _, rows in ends[warm + 1 :]) / (ends[-1][0] - ends[warm][0])
    return Timed(ready - start, ends[0][0] - ready, steady)


def bare(units: list[PassUnit], workers: int) -> Timed:
    start = time.monotonic()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pipelines.preload"])
    with context.Pool(workers) as pool:
        return timed(start, pool.imap_unordered(run_pass, units), workers)


def local(units: list[PassUnit], workers: int) -> Timed:
    return timed(time.monotonic(), Pool(workers).run(run_pass, units, Resources()), workers)


def on_ray(units: list[PassUnit], workers: int) -> Timed:
    start = time.monotonic()
    with own_cluster(workers):
        return timed(start, Ray(Worker.like_this(), {}).run(run_pass, units, Resources()), workers)


WAYS: dict[str, Callable[[list[PassUnit], int], Timed]] = {
    "bare process pool": bare,
    "local pool": local,
    "Ray, a cluster of its own": on_ray,
}


def units_of(store: Store, source: StoredSource, steps: Sequence[Step]) -> list[PassUnit]:
    for step in steps:
        store.column_set(step.stage.name, step.fingerprint).location.remove()
    return [PassUnit(store, source.fingerprint, shard, tuple(steps)) for shard in source.shards()]


def compare(images: int, workers: int, rounds: int) -> None:
    found: dict[str, list[Timed]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as scratch:
        store, source = taken(Path(scratch), images, SHARD)
        steps = [s for s in plan(l_pp(), source.fingerprint) if getattr(s.stage, "view", View.NONE)]
        for _ in range(rounds):
            for way, run in WAYS.items():
                found[way].append(run(units_of(store, source, steps), workers))
    for way, times in found.items():
        shares = [t.steady / b.steady for t, b in zip(times, found["bare process pool"], strict=True)]
        start, first, steady = (
            statistics.median(getattr(t, f) for t in times) for f in ("start_s", "first_s", "steady")
        )
        share = f"{statistics.median(shares):.2f} ({min(shares):.2f} to {max(shares):.2f})"
        print(f"| {images} | {workers} | {way} | {start:.1f} | {first:.1f} | {steady:.0f} | {share} |")


def taken(folder: Path, images: int, shard: int) -> tuple[Store, StoredSource]:
    write_tars(folder / "tars", images, shard)
    store = open_store(folder / "store", create=True)
    source, _ = take_in(store, WebDataset(path=str(folder / "tars")), Serial(), lambda *_: None)
    return store, source


@dataclass(frozen=True)
class Model(MapStage):
    """Stands in for a model on a GPU: for ``ms`` a batch the CPU is free."""

    name: ClassVar[str] = "model"
    version: ClassVar[int] = 1
    writes: ClassVar[pa.Schema] = pa.schema([("mean", pa.float32())])
    view: ClassVar[View] = View.FULL
    ms: float = 40.0

    def open(self) -> Callable[[Batch], dict[str, Sequence[Any]]]:
        def run(batch: Batch) -> dict[str, Sequence[Any]]:
            pixels = np.stack([np.asarray(image) for image in batch.images])
            time.sleep(self.ms / 1e3)
            return {"mean": pixels[:, 0, 0, 0].astype(np.float32)}

        return run


class DataModel:
    """The same for Ray Data."""

    def __init__(self, ms: float) -> None:
        self._ms = ms

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        time.sleep(self._ms / 1e3)
        return {"id": batch["id"], "mean": batch["pixels"][:, 0, 0, 0].astype(np.float32)}


def decoded(batch: dict[str, Any]) -> dict[str, Any]:
    pixels = [np.asarray(read_full(data)) for data in batch["data"]]
    return {"id": batch["id"], "pixels": np.stack(pixels)}


def read_shard(batch: dict[str, Any]) -> dict[str, Any]:
    rows, data = batch["id"], []
    for tar, offset, size in zip(batch["tar"], batch["offset"], batch["size"], strict=True):
        with open(tar, "rb") as file:
            file.seek(offset)
            data.append(file.read(size))
    return decoded({"id": rows, "data": data})


@contextmanager
def gpu_cluster(cpus: int) -> Iterator[None]:
    """A cluster of this machine with one GPU that is a name only."""
    with tempfile.TemporaryDirectory(prefix="mb-", dir="/tmp") as folder:
        ray.init(
            address="local",
            num_cpus=cpus,
            num_gpus=1,
            include_dashboard=False,
            _temp_dir=folder,
            object_store_memory=500_000_000,
            log_to_driver=False,
            logging_level="ERROR",
        )
        try:
            yield
        finally:
            ray.shutdown()


def rows_of(source: StoredSource) -> Any:
    tables = []
    for shard in source.shards():
        rows = source.rows(shard, ["sample_id", "image_offset", "image_size"])
        tar = pa.array([source.tar(shard).url] * rows.num_rows)
        tables.append(rows.rename_columns(["id", "offset", "size"]).append_column("tar", tar))
    return ray.data.from_arrow(tables)


def actors(store: Store, source: StoredSource, ms: float, threads: int) -> float:
    """Images per second of our actor pass, from its first result on."""
    step = Step(Model(ms), "model", {})
    units = [PassUnit(store, source.fingerprint, shard, (step,), threads) for shard in source.shards()]
    store.column_set("model", "model").location.remove()
    needs = Resources(cpus=1.0, gpus=1.0)
    return timed(time.monotonic(), Ray(Worker.like_this(), {}).run(run_pass, units, needs), 1).steady


def ray_data(source: StoredSource, ms: float) -> float:
    """Images per second of decode tasks before one actor, from its first result on."""
    ray.data.DataContext.get_current().enable_progress_bars = False
    pixels = rows_of(source).map_batches(read_shard, batch_size=32, num_cpus=0.5)
    pool = ray.data.ActorPoolStrategy(size=1)
    done = pixels.map_batches(DataModel, fn_constructor_args=(ms,), compute=pool, batch_size=32, num_gpus=1)
    ends = [(time.monotonic(), len(batch["id"])) for batch in done.iter_batches(batch_size=None)]
    return sum(count for _, count in ends[1:]) / (ends[-1][0] - ends[0][0])


def gpu_stage(images: int, ms: float, rounds: int) -> None:
    ways: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        store, source = taken(Path(scratch), images, GPU_SHARD)
        with gpu_cluster(cpus=2):
            for _ in range(rounds):
                for threads in (0, 1, 2):
                    rate = actors(store, source, ms, threads)
                    ways.setdefault(f"actor, {threads} threads decode ahead", []).append(rate)
                ways.setdefault("Ray Data, decode tasks and an actor", []).append(ray_data(source, ms))
    for way, rates in ways.items():
        print(f"| {way} | {statistics.median(rates):.0f} ({min(rates):.0f} to {max(rates):.0f}) |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--images", type=int, nargs="*", default=[1000, 10_000])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model-ms", type=float, default=40.0)
    options = parser.parse_args()
    print("| images | workers | way | start-up s | first result s | steady images/s | of the bare pool |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for images in options.images:
        for workers in options.workers:
            compare(images, workers, options.rounds)
    print(f"\n| a model of {options.model_ms:g} ms per 32 images | images/s |\n| --- | --- |")
    gpu_stage(max(options.images, default=10_000), options.model_ms, options.rounds)


if __name__ == "__main__":
    main()
