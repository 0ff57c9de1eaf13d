"""Connected components beside clusters around a representative: how many strangers each glues together.

    python -m benchmarks.chaining [--sizes 1e6 1e7] [--radius 8] [--crawls 11:1000 12:1000]

First random hashes, 1 % of them in planted clusters of five: one original, four copies at 1 to ``radius``
bits from it. Then crawls of the tiny world (SEED:ROWS), whose truth is known, once with every pair of near
hashes and once with those that the second signal (``same_picture``) confirms. Precision and recall are of
pairs of samples in one cluster against pairs of one truth.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.near_duplicate_table import described
from stages.dedup.best_first import best_first
from stages.dedup.candidates import candidate_pairs
from stages.dedup.hamming import hamming_join
from stages.dedup.near_duplicates import NearDuplicates
from stages.dedup.stars import stars
from stages.dedup.thumbnails import Thumbnails, same_pictures
from stages.image.perceptual_hash import HASH_COLUMNS
from stages.image.picture import BrokenImage, read_header, read_small
from tinyworld.crawl import make_crawl

COPIES = 4


def components(one: np.ndarray, two: np.ndarray, count: int) -> np.ndarray:
    """int64 [count]: the smallest item that each is connected with."""
    parent = list(range(count))

    def root(item: int) -> int:
        while parent[item] != item:
            parent[item] = parent[parent[item]]
            item = parent[item]
        return item

    for a, b in zip(one.tolist(), two.tolist(), strict=True):
        low, high = sorted((root(a), root(b)))
        parent[high] = low
    return np.array([root(item) for item in range(count)])


def centers(one: np.ndarray, two: np.ndarray, count: int) -> np.ndarray:
    """int64 [count]: the representative of each; the pairs sorted by ``one``, the better of the two."""
    return stars(one, two, count, lambda rows: np.ones(len(rows), bool))[0]


def num_pairs(labels: np.ndarray) -> int:
    sizes = np.bincount(np.unique(labels, return_inverse=True)[1])
    return int((sizes * (sizes - 1) // 2).sum())


def report(name: str, clusters: np.ndarray, truth: np.ndarray) -> None:
    both = np.unique(clusters, return_inverse=True)[1] * (int(truth.max()) + 1) + truth
    found, true, right = num_pairs(clusters), num_pairs(truth), num_pairs(both)
    precision = right / found if found else 1.0
    largest = np.bincount(np.unique(clusters, return_inverse=True)[1]).max()
    print(
        f"{name}: precision {precision:.4f}, recall {right / true:.4f}, largest cluster {largest},"
        f" false pairs {found - right}",
        flush=True,
    )


def random_hashes(count: int, radius: int) -> None:
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**64, count, dtype=np.uint64)
    truth, groups = np.arange(count), count // 100 // (1 + COPIES)
    for copy in range(COPIES):
        rows = slice(count - (copy + 1) * groups, count - copy * groups)
        bits = rng.integers(1, radius + 1, groups)
        places = np.argsort(rng.random((groups, 64)), axis=1).astype(np.uint64)
        flips = (np.uint64(1) << places) * (np.arange(64) < bits[:, None])
        hashes[rows] = hashes[:groups] ^ np.bitwise_or.reduce(flips, axis=1)
        truth[rows] = np.arange(groups)
    _, first = np.unique(hashes, return_index=True)
    kept = np.sort(first)
    hashes, truth = hashes[kept], truth[kept]
    with tempfile.TemporaryDirectory() as scratch:
        near = hamming_join(hashes, None, radius, scratch)
    by_value = np.argsort(hashes)
    ends = [by_value[np.searchsorted(hashes, side, sorter=by_value)] for side in (near.left, near.right)]
    one, two = np.sort(np.stack(ends), axis=0)
    by_better = np.lexsort((two, one))
    one, two = one[by_better], two[by_better]
    print(f"{count:.0e} random hashes, radius {radius}, {len(one)} near pairs")
    report("  components", components(one, two, len(hashes)), truth)
    report("  representatives", centers(one, two, len(hashes)), truth)


def crawled(folder: Path) -> tuple[pa.Table, np.ndarray]:
    """What near_duplicates reads of every readable image of a drawn crawl, and its true group."""
    files, groups, sizes = {}, [], []
    for number, row in enumerate(pq.read_table(folder / "crawl.parquet").to_pylist()):
        path = folder / "www" / (row["url"] or "///").split("/", 3)[-1]
        if not path.is_file():
            continue
        data = path.read_bytes()
        try:
            read_small(data)
            header = read_header(data)
        except BrokenImage:
            continue
        files[f"{number:06d}"] = data
        groups.append(row["truth_group"])
        sizes.append((header.width, header.height, len(data), row["caption"] or ""))
    rows = described(files)
    for name, values in zip(
        ("width", "height", "num_bytes", "caption"), zip(*sizes, strict=True), strict=True
    ):
        place = rows.column_names.index(name)
        rows = rows.set_column(place, name, pa.array(values, rows.schema.field(name).type))
    return rows, np.unique(groups, return_inverse=True)[1]


def crawl(seed: int, samples: int) -> None:
    stage = NearDuplicates()
    with tempfile.TemporaryDirectory() as scratch:
        make_crawl(Path(scratch) / "crawl", samples, seed=seed)
        rows, truth = crawled(Path(scratch) / "crawl")
        order = best_first(rows)
        ranked = rows.take(pa.array(order))
        usable = ranked[HASH_COLUMNS[0]].is_valid().to_numpy() & ranked["thumbnail"].is_valid().to_numpy()
        nodes = np.flatnonzero(usable)
        hashes = ranked.select(HASH_COLUMNS).take(pa.array(nodes))
        near = candidate_pairs(hashes, stage.radius, stage.match_flips, scratch)
    thumbnails = Thumbnails.of(ranked["thumbnail"].take(pa.array(nodes)), near.used)
    same = same_pictures(near, thumbnails, thumbnails, stage.tolerance)
    print(
        f"crawl {seed}, {samples} rows: {len(nodes)} pictures, {len(same)} near pairs, {same.sum()} confirmed"
    )
    for name, some in (("near hashes", near), ("confirmed", near.where(same))):
        for kind, clusters in (("components", components), ("representatives", centers)):
            found = clusters(some.better, some.worse, len(nodes))
            report(f"  {name}, {kind}", found, truth[order][nodes])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--sizes", type=float, nargs="*", default=[1e6])
    parser.add_argument("--radius", type=int, default=8)
    parser.add_argument("--crawls", nargs="*", default=["11:1000"], metavar="SEED:ROWS")
    given = parser.parse_args()
    for size in given.sizes:
        random_hashes(int(size), given.radius)
    for each in given.crawls:
        seed, samples = each.split(":")
        crawl(int(seed), int(samples))


if __name__ == "__main__":
    main()
