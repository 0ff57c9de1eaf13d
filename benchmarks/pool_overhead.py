"""The hash stage through the planner and the pool, beside a bare pool that only hashes.

    python -m benchmarks.pool_overhead TAR [TAR ...] [--workers N]

Both run ``N`` processes over the same WebDataset tars, a tar per task. The bare pool walks each tar with
``tarfile``, decodes and hashes with the same stage function, and returns the hashes; ours reads the same
tars in place, checks, writes and commits column sets. Reading the tars in is timed apart.
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import statistics
import tarfile
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from pipelines.columns import make_columns
from pipelines.executors import Pool
from pipelines.intake import take_in
from pipelines.planner import plan
from pipelines.recipes.l_pp import l_pp
from stages.image.perceptual_hash import PerceptualHash
from stages.image.picture import read_small
from stages.source.webdataset import WebDataset
from stages.stage import Batch
from store.store import open_store


def bare_task(tar: str) -> int:
    """Hash every image of one tar; the number of them."""
    run, images, count = PerceptualHash().open(), [], 0
    with tarfile.open(tar) as opened:
        for member in opened:
            file = opened.extractfile(member)
            if file is None or not member.name.endswith(".jpg"):
                continue
            images.append(read_small(io.BytesIO(file.read()).getvalue()))
            if len(images) == 32:
                count += len(run(Batch(32, {}, images, [None] * 32))["phash"])
                images = []
    if images:
        count += len(run(Batch(len(images), {}, images, [None] * len(images)))["phash"])
    return count


def bare_pool(tars: list[str], workers: int) -> tuple[int, float]:
    began = time.monotonic()
    with multiprocessing.get_context("fork").Pool(workers) as pool:
        count = sum(pool.imap_unordered(bare_task, tars))
    return count, time.monotonic() - began


def ours(tars: list[str], workers: int) -> tuple[int, float, float]:
    """Images, seconds of the hash stage, seconds of reading the tars in."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "tars"
        folder.mkdir()
        for number, tar in enumerate(tars):
            (folder / f"{number:05d}.tar").symlink_to(Path(tar).resolve())
        store = open_store(Path(scratch) / "store", create=True)
        began = time.monotonic()
        source, _ = take_in(store, WebDataset(path=str(folder)), Pool(workers), lambda *_: None)
        read_in = time.monotonic() - began
        recipe = l_pp()
        only = replace(recipe, columns=recipe.columns, select=())
        steps = [s for s in plan(only, source.fingerprint) if s.stage.name == "perceptual_hash"]
        began = time.monotonic()
        make_columns(store, source, steps, Pool(workers), lambda *_: None)
        return sum(shard.images for shard in source.shards()), time.monotonic() - began, read_in


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("tars", nargs="+")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repeat", type=int, default=1, help="use each tar so many times")
    options = parser.parse_args()
    tars = options.tars * options.repeat
    bare, own, read_in, images = [], [], [], 0
    for _ in range(options.rounds):
        count, seconds = bare_pool(tars, options.workers)
        bare.append(count / seconds)
        images, seconds, reading = ours(tars, options.workers)
        own.append(images / seconds)
        read_in.append(reading)
        assert images == count, (images, count)
    share = statistics.median(o / b for o, b in zip(own, bare, strict=True))
    print("| way | images/s |\n| --- | --- |")
    print(f"| bare pool of {options.workers} | {statistics.median(bare):.0f} |")
    print(f"| planner and pool of {options.workers}, columns committed | {statistics.median(own):.0f} |")
    print(f"\n{images} images, {options.rounds} rounds in turn; share of the bare pool {share:.2f};", end=" ")
    print(f"reading in took {statistics.median(read_in):.1f} s")


if __name__ == "__main__":
    main()
