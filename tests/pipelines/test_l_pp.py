"""``l-pp`` end to end: copies and small images go, with reasons; what did not change is not done again."""

from __future__ import annotations

import io
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image

MIN_PX = 230
"""Of the photographs, those with a width or height under it are too small."""


@pytest.fixture(scope="module")
def crawl(tmp_path_factory: pytest.TempPathFactory, photos: Any) -> Path:
    """The photographs with an exact copy of one, and a smaller, harder compressed one of another."""
    folder = tmp_path_factory.mktemp("copies") / "crawl"
    shutil.copytree(photos.path, folder)
    for source, name in (("photo-05", "copy-exact"), ("photo-06", "copy-near")):
        shutil.copy(folder / f"{source}.txt", folder / f"{name}.txt")
        data = (folder / f"{source}.jpg").read_bytes()
        if name == "copy-near":
            image, sink = Image.open(io.BytesIO(data)), io.BytesIO()
            size = (image.width * 9 // 10, image.height * 9 // 10)
            image.resize(size).save(sink, "JPEG", quality=60)
            data = sink.getvalue()
        (folder / f"{name}.jpg").write_bytes(data)
    return folder


@pytest.fixture(scope="module")
def built_pp(
    tmp_path_factory: pytest.TempPathFactory, crawl: Path, cli: Any, folder_source: Any, tree: Any
) -> tuple[Path, list[dict[str, Any]], list[dict[str, str]]]:
    """A store, and the answers and files of a build and of one with another smallest side."""
    store = tmp_path_factory.mktemp("pp") / "store"
    line = ["build", "l_pp", "--store", store, *folder_source(crawl), "--workers", "1", "--json"]
    answers, states = [], []
    for change in ("min_side=200", f"min_side={MIN_PX}"):
        done = cli(*line, "--set", "pack.resolutions=32", "--set", change)
        assert done.code == 0, done.err
        answers.append(done.json)
        states.append(tree(store, times=True))
    return store, answers, states


def test_copies_go_and_the_best_stays(built_pp: Any, photos: Any, tmp_path: Path, cli: Any) -> None:
    store, (first, _), _ = built_pp
    assert first["samples_in"] == photos.count + 2
    assert first["samples_in"] == first["kept"] + sum(first["dropped"].values())
    assert first["dropped"] == photos.dropped | {"duplicate_exact": 1, "duplicate_near": 1, "too_small": 1}
    name = f"l-pp@{first['version']}"
    assert cli("export", name, tmp_path, "--as", "parquet", "--store", store).code == 0
    rows = {row["source_key"]: row for row in pq.read_table(tmp_path / "samples.parquet").to_pylist()}
    assert rows["copy-near.jpg"]["reason"] == "duplicate_near"
    exact = [rows[f"{key}.jpg"] for key in ("photo-05", "copy-exact")]
    assert Counter(row["reason"] for row in exact) == {None: 1, "duplicate_exact": 1}
    assert exact[0]["cluster_id"] == exact[1]["cluster_id"] is not None
    assert rows["photo-06.jpg"]["cluster_id"] == rows["copy-near.jpg"]["cluster_id"]
    assert rows["photo-06.jpg"]["kept"]
    story = cli("explain", name, rows["copy-near.jpg"]["sample_id"], "--store", store, "--json").json
    assert {mate["sample_id"] for mate in story["cluster"]} == {
        rows["photo-06.jpg"]["sample_id"],
        rows["copy-near.jpg"]["sample_id"],
    }
    assert story["decided_by"] == "keep_best"


def test_another_smallest_side_hashes_and_decodes_nothing(built_pp: Any) -> None:
    _, (first, second), (before, after) = built_pp
    reused = {stage["name"]: stage["reused"] for stage in second["stages"]}
    assert {name for name, value in reused.items() if not value} == {"select", "pack"}
    assert {"perceptual_hash", "near_duplicates", "decode"} <= set(reused)
    assert second["dropped"]["too_small"] > first["dropped"]["too_small"]
    assert {name: after.get(name) for name in before if name.startswith(("columns/", "sources/"))} == {
        name: digest for name, digest in before.items() if name.startswith(("columns/", "sources/"))
    }


def test_l_pp_and_l_orig_share_their_columns(
    built_pp: Any, crawl: Path, cli: Any, folder_source: Any
) -> None:
    store, _, _ = built_pp
    line = ["build", "l-orig", "--store", store, *folder_source(crawl), "--workers", "1", "--json"]
    done = cli(*line, "--set", "pack.resolutions=32")
    assert done.code == 0, done.err
    made = {stage["name"] for stage in done.json["stages"] if not stage["reused"]}
    assert made == {"join", "select", "pack"}
    assert [entry["dataset"] for entry in cli("datasets", "--store", store, "--json").json["datasets"]] == [
        "l-orig",
        "l-pp",
    ]


def test_l_pp_is_the_same_elsewhere(
    built_pp: Any, crawl: Path, tmp_path: Path, mashbill: Any, folder_source: Any, tree: Any
) -> None:
    store, (first, _), _ = built_pp
    shutil.copytree(crawl, tmp_path / "moved")
    source = folder_source(tmp_path / "moved", shard_size=5)
    options = ["--set", "pack.resolutions=32", "--set", "min_side=200", "--workers", "2", "--json"]
    done = mashbill("build", "l-pp", "--store", tmp_path / "other", *source, *options)
    assert done.code == 0, done.err
    assert done.json["version"] == first["version"]
    place = f"datasets/l-pp/{first['version']}"
    ours, theirs = tree(store / place), tree(tmp_path / "other" / place)
    del ours["manifest.json"], theirs["manifest.json"]
    ours, theirs = ({k: v for k, v in t.items() if "/order-" not in k} for t in (ours, theirs))
    assert theirs == ours
