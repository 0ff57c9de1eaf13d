"""Clusters of embeddings: as brute force finds them, whatever the order of rows and the threads."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from stages.dedup.kmeans import centers
from stages.dedup.near_vectors import MOST_PER_SAMPLE, near_vectors
from stages.dedup.semantic_duplicates import SemanticDuplicates
from stages.dedup.unit_vectors import LENGTH, UnitVectors, rounded
from store.errors import MashbillError, UsageError

ROOT = Path(__file__).resolve().parents[3]
THRESHOLD = 0.95


def vectors(count: int, width: int = 24, seed: int = 0) -> np.ndarray:
    """float32 [count, width]: samples around topics, the last fifth copies of others, near and less near."""
    rng = np.random.default_rng(seed)
    topics = rng.normal(size=(max(1, count // 60), width))
    found = topics[rng.integers(0, len(topics), count)] + 0.45 * rng.normal(size=(count, width))
    copies = count // 5
    noise = rng.uniform(0.0, 0.5, (copies, 1)) * rng.normal(size=(copies, width))
    found[count - copies :] = found[rng.integers(0, count - copies, copies)] + noise
    return found.astype(np.float32)


def table(embeddings: np.ndarray | list[list[float] | None], kind: pa.DataType | None = None) -> pa.Table:
    """What the stage reads; the first of the rows is the best, and so on."""
    count = len(embeddings)
    values = embeddings.tolist() if isinstance(embeddings, np.ndarray) else embeddings
    return pa.table(
        {
            "sample_id": [f"{number:06d}" for number in range(count)],
            "embedding": pa.array(values, kind or pa.list_(pa.float32())),
            "width": pa.array(np.full(count, 10_000 - np.arange(count) // 8), pa.int32()),
            "height": pa.array(np.full(count, 64), pa.int32()),
            "sharpness": pa.array(np.ones(count), pa.float32()),
            "num_bytes": pa.array(np.ones(count), pa.int64()),
            "caption": pa.array([None] * count, pa.string()),
        }
    )


def reduced(rows: pa.Table, stage: SemanticDuplicates | None = None) -> dict[str, tuple[object, ...]]:
    written = (stage or SemanticDuplicates()).reduce(rows, "")
    assert written.schema.equals(SemanticDuplicates.writes)
    values = (tuple(row.values()) for row in written.to_pylist())
    return dict(zip(rows["sample_id"].to_pylist(), values, strict=True))


def test_copies_join_the_best_they_match_and_nothing_else() -> None:
    turned = [[1.0, 0.0], [0.99, 0.1], [0.9, 0.45], [-1.0, 0.0], [0.0, 3.0]]
    found = reduced(table([*turned, None, [2.0, 0.0]]), SemanticDuplicates(threshold=0.9))
    clusters = [found[f"{number:06d}"][:2] for number in range(7)]
    # The third matches the second (0.93) but not the first (0.89): copies of copies join no strangers.
    names = [("000000", 3), ("000000", 3), ("000002", 1), ("000003", 1), ("000004", 1)]
    assert clusters == [*names, (None, None), ("000000", 3)]
    similarity = [found[f"{number:06d}"][2] for number in range(7)]
    assert similarity[1] == pytest.approx(0.99 / np.hypot(0.99, 0.1), abs=2e-4)
    assert similarity[6] == 1.0
    assert [similarity[number] for number in (0, 2, 3, 4, 5)] == [None] * 5


@pytest.mark.parametrize("kind", [pa.list_(pa.float16(), 24), pa.list_(pa.float64()), pa.list_(pa.float16())])
def test_any_list_of_floats_is_an_embedding(kind: pa.DataType) -> None:
    some = vectors(300).astype(np.float16).astype(np.float32)
    assert reduced(table(some, kind)) == reduced(table(some))


def brute_force(some: np.ndarray) -> np.ndarray:
    """int64 [n]: the representative of each row, all compared with all."""
    unit = some / np.linalg.norm(some, axis=1, keepdims=True)
    star, free = np.arange(len(some)), np.ones(len(some), bool)
    for start in range(0, len(some), 1000):
        better, worse = np.nonzero(unit[start : start + 1000] @ unit.T >= THRESHOLD)
        for one, two in zip((better + start).tolist(), worse.tolist(), strict=True):
            if one < two and free[one] and free[two]:
                star[two], free[two] = one, False
    return star


def test_twenty_thousand_as_brute_force_finds_them() -> None:
    some = vectors(20_000)
    expected = brute_force(some)
    found = reduced(table(some))
    star = np.array([int(str(found[f"{number:06d}"][0])) for number in range(len(some))])
    copies, known = star != np.arange(len(some)), expected != np.arange(len(some))
    assert known.sum() > 1500
    unit = some / np.linalg.norm(some, axis=1, keepdims=True)
    cosine = (unit[copies] * unit[star[copies]]).sum(axis=1)
    assert cosine.min() > THRESHOLD - 1e-3  # the vectors are rounded
    assert (copies & known).sum() / known.sum() >= 0.995
    assert (copies & known).sum() / copies.sum() >= 0.995
    assert (star == expected).mean() >= 0.995


def test_the_second_cell_finds_pairs_across_borders() -> None:
    some = UnitVectors(rounded(vectors(6000).astype(np.float64)))
    order = np.random.default_rng(1).permutation(6000)
    every, twice, once = (
        len(near_vectors(some, THRESHOLD, cells, order, nearest).cosine)
        for cells, nearest in ((1, 1), (40, 2), (40, 1))
    )
    assert once / every < 0.99
    assert twice / every > 0.995


def test_the_order_of_rows_and_their_pieces_do_not_matter() -> None:
    rows = table(vectors(3000, seed=2))
    expected = reduced(rows)
    mixed = rows.take(pa.array(np.random.default_rng(3).permutation(3000)))
    assert reduced(mixed) == expected
    assert reduced(pa.concat_tables([mixed.slice(0, 1100), mixed.slice(1100)])) == expected


def test_the_number_of_threads_does_not_matter() -> None:
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import runpy; made = runpy.run_path(sys.argv[2])\n"
        "print(made['reduced'](made['table'](made['vectors'](3000, 96))))\n"
    )
    names = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
    done = subprocess.run(
        [sys.executable, "-c", program, str(ROOT), __file__],
        env=os.environ | dict.fromkeys(names, "1"),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{reduced(table(vectors(3000, 96)))}\n"


def test_products_of_rounded_vectors_are_exact() -> None:
    for width in (1, 7, 768, 4096):
        some = np.random.default_rng(width).normal(size=(50, width))
        some[0], some[1] = 1.0, np.where(np.arange(width) % 2, -1.0, 1.0)
        whole = rounded(some)
        assert np.linalg.norm(whole.astype(float), axis=1).max() <= LENGTH
        exact = whole.astype(np.int64) @ whole.astype(np.int64).T
        products = UnitVectors(whole).at(slice(None)) @ UnitVectors(whole).at(slice(None)).T
        assert (products == exact).all()
        unit = some / np.linalg.norm(some, axis=1, keepdims=True)
        assert np.abs(exact / 4096**2 - unit @ unit.T).max() < 0.02 * max(1, np.sqrt(width) / 32)


def test_a_crowd_at_one_place_costs_no_square() -> None:
    """50,000 near-copies of one picture: all pairs would be more than 10^9."""
    count = 50_000
    whole = rounded(1 + 0.01 * np.random.default_rng(0).normal(size=(count, 8)))
    order = np.argsort([hashlib.sha256(b"%d" % number).digest()[:8] for number in range(count)])
    pairs = near_vectors(UnitVectors(whole), THRESHOLD, 4, order)
    assert len(pairs.better) <= 2 * count * MOST_PER_SAMPLE
    assert set(pairs.worse[pairs.better == 0].tolist()) == set(range(1, count))


def test_centers_are_distinct_and_settled_by_the_order() -> None:
    whole = rounded(np.concatenate([np.ones((500, 4)), np.eye(4)]))
    order = np.arange(len(whole))[::-1]
    found = centers(UnitVectors(whole), 8, order)
    assert len(np.unique(found, axis=0)) == len(found) == 5
    assert (centers(UnitVectors(whole), 8, order) == found).all()


def test_embeddings_that_are_none_are_refused() -> None:
    with pytest.raises(MashbillError, match="sample 000001 has 3 numbers, others 2"):
        reduced(table([[1.0, 0.0], [1.0, 0.0, 0.0]]))
    for odd in ([0.0, 0.0], [float("nan"), 1.0], [None, 1.0]):
        with pytest.raises(MashbillError, match="embedding of sample 000001 is all zeros"):
            reduced(table([[1.0, 0.0], odd]))
    with pytest.raises(UsageError, match="column width holds int32"):
        reduced(table([[1.0, 0.0]]), SemanticDuplicates(column="width"))
    for wrong in ({"threshold": 0.0}, {"threshold": 1.01}, {"cells": 0}):
        with pytest.raises(UsageError, match=f"{next(iter(wrong))}="):
            SemanticDuplicates(**wrong)


@pytest.mark.parametrize("count", [0, 1])
def test_few_rows(count: int) -> None:
    assert len(reduced(table([[1.0, 2.0]]).slice(0, count))) == count
    none = table([None, None])
    assert set(reduced(none).values()) == {(None, None, None)}


RECIPE = '''
"""L-pp, also without pictures of nearly the same colors."""

from dataclasses import dataclass, replace
from typing import ClassVar

import pyarrow as pa

from pipelines.recipes.l_pp import l_pp
from stages.dedup.semantic_duplicates import SemanticDuplicates
from stages.select.keep_best_semantic import KeepBestSemantic
from stages.stage import MapStage, View


@dataclass(frozen=True)
class Colors(MapStage):
    """The mean color; null without an image."""

    name: ClassVar[str] = "colors"
    version: ClassVar[int] = 1
    writes: ClassVar[pa.Schema] = pa.schema([("colors", pa.list_(pa.float16(), 3))])
    view: ClassVar[View] = View.SMALL

    def open(self):
        return lambda batch: {
            "colors": [None if i is None else i.mean(axis=(0, 1)).tolist() for i in batch.images]
        }


def recipe():
    parent = l_pp()
    columns = (*parent.columns, Colors(), SemanticDuplicates(column="colors", threshold=0.995))
    return replace(parent, name="colors", columns=columns, select=(*parent.select, KeepBestSemantic()))
'''


def test_a_build_keeps_the_best_of_each_cluster(tmp_path: Path, cli: Any, folder_source: Any) -> None:
    (tmp_path / "semantic_recipe.py").write_text(RECIPE)
    (tmp_path / "photos").mkdir()
    rng = np.random.default_rng(0)
    for number, (color, side) in enumerate((c, s) for c in ((200, 30, 30), (30, 30, 200)) for s in (64, 96)):
        grain = rng.integers(0, 30, (side // 8, side // 8, 3), dtype=np.uint8)
        image = Image.fromarray(grain + np.array(color, np.uint8)).resize((side, side))
        image.save(tmp_path / "photos" / f"{number}.png")
        (tmp_path / "photos" / f"{number}.txt").write_text(f"picture {number}")
    (tmp_path / "photos" / "bad.png").write_bytes(b"no picture")
    line = ["build", f"{tmp_path / 'semantic_recipe.py'}:recipe", "--store", tmp_path / "store"]
    options = ["--set", "min_side=1", "--set", "pack.resolutions=32", "--workers", "1", "--json"]
    done = cli(*line, *folder_source(tmp_path / "photos"), *options)
    assert done.code == 0, done.err
    assert done.json["dropped"] == {"duplicate_semantic": 2, "not_an_image": 1}
    assert cli("export", "colors", tmp_path, "--as", "parquet", "--store", tmp_path / "store").code == 0
    rows = {row["source_key"]: row for row in pq.read_table(tmp_path / "samples.parquet").to_pylist()}
    assert [rows[f"{number}.png"]["kept"] for number in range(4)] == [False, True, False, True]
    assert rows["0.png"]["semantic_cluster_id"] == rows["1.png"]["sample_id"]
    assert rows["bad.png"]["semantic_cluster_id"] is None
