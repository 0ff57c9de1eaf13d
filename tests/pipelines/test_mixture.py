"""Mixtures of dataset versions: everything, or by weight; no image twice; nothing copied, nothing lost."""

from __future__ import annotations

import json
import shutil
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

RECIPE = """
from dataclasses import replace
from pipelines.dataset import Dataset
from pipelines.recipes.l_orig import l_orig
from stages.image.inherited import Inherited
from stages.pack.pack import Pack
from stages.source.mixture import Mixture, Part

def first():
    return replace(l_orig(), name="first")

def second():
    return replace(l_orig(), name="second")

def both(weights=(0.0, 0.0)):
    parts = (Part("a", "first", weights[0]), Part("b", "second", weights[1]))
    return Dataset("both", Mixture(parts), (Inherited(),), (), Pack(resolutions=(32,)))

def weighted():
    return replace(both((3.0, 1.0)), name="weighted")
"""


def photo(path: Path, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((80, 60), Image.Resampling.BICUBIC).save(path)
    path.with_suffix(".txt").write_text(f"a picture of number {seed}")


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory, cli: Any) -> Path:
    """30 pictures in ``first``, one of them broken; 20 in ``second``, of which 5 are also in ``first``."""
    folder = tmp_path_factory.mktemp("mixture")
    (folder / "recipe.py").write_text(RECIPE)
    for name, seeds in (("first", range(30)), ("second", range(25, 45))):
        (folder / name).mkdir()
        for seed in seeds:
            photo(folder / name / f"{seed:02d}.jpg", seed)
    (folder / "first" / "00.jpg").write_bytes(b"no image")
    for name in ("first", "second"):
        source = ["--set", "source.kind=folder", "--set", f"source.path={folder / name}"]
        small = ["--set", "source.shard_size=7", "--set", "pack.resolutions=32"]
        done = cli("build", f"{folder / 'recipe.py'}:{name}", "--store", folder / "store", *source, *small)
        assert done.code == 0, done.err
    return folder


def built(mixed: Path, cli: Any, name: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    done = cli("build", f"{mixed / 'recipe.py'}:{name}", "--store", mixed / "store", "--json")
    assert done.code == 0, done.err
    out = mixed / f"out-{name}"
    assert cli("export", name, out, "--as", "parquet", "--store", mixed / "store").code == 0
    return done.json, pq.read_table(out / "samples.parquet").to_pylist()


def test_everything_and_no_image_twice(mixed: Path, cli: Any) -> None:
    answer, rows = built(mixed, cli, "both")
    assert (answer["samples_in"], answer["kept"]) == (49, 44)
    assert answer["dropped"] == {"in_another_part": 5}
    kept = [row for row in rows if row["kept"]]
    assert Counter(row["part"] for row in kept) == {"a": 29, "b": 15}
    assert len({row["sha256"] for row in kept}) == 44
    assert all(row["width"] == 80 and row["crop_right"] - row["crop_left"] == 60 for row in kept)
    assert cli("verify", "both", "--store", mixed / "store").code == 0


def test_no_image_is_copied_and_packs_have_the_parts_words(mixed: Path, cli: Any) -> None:
    answer, rows = built(mixed, cli, "both")
    manifest = json.loads((mixed / "store/datasets/both" / answer["version"] / "manifest.json").read_text())
    source = mixed / "store/sources" / manifest["source"]["fingerprint"]
    assert not list(source.rglob("*.tar"))
    words = {row["sample_id"]: (row["caption"], row["source_key"]) for row in rows if row["kept"]}
    packed = {}
    for shard in (mixed / "store/datasets/both" / answer["version"] / "packs/32").glob("*.tar"):
        with tarfile.open(shard) as tar:
            for member in tar.getmembers():
                if member.name.endswith(".json"):
                    fields = json.loads(tar.extractfile(member).read())  # type: ignore[union-attr]
                    packed[fields["sample_id"]] = (fields["caption"], fields["source_key"])
    assert packed == words


def test_weights_take_as_much_as_can_be_had(mixed: Path, cli: Any) -> None:
    answer, rows = built(mixed, cli, "weighted")
    # 29 of a free, 15 of b: 3 to 1 allows min(29 / 0.75, 15 / 0.25) = 38.67, of a 29 and of b 10
    assert Counter(row["part"] for row in rows if row["kept"]) == {"a": 29, "b": 10}
    assert answer["dropped"] == {"in_another_part": 5, "not_drawn": 5}


def test_what_an_earlier_part_did_not_give_a_later_one_may(mixed: Path, cli: Any) -> None:
    recipe, store = f"{mixed / 'recipe.py'}:weighted", mixed / "store"
    few = ["--set", "source.parts.a.weight=1", "--set", "source.parts.b.weight=9"]
    done = cli("build", recipe, "--store", store, "--json", *few)
    # b has 20 images, none of which the two of a need be: 2 and 18, or 1 of a and 9 times as many
    assert done.code == 0, done.err
    assert done.json["kept"] in (20, 21, 22)
    assert done.json["dropped"].get("in_another_part", 0) <= 2


def test_a_moved_store_still_finds_the_images(mixed: Path, cli: Any, tmp_path: Path) -> None:
    built(mixed, cli, "both")
    shutil.copytree(mixed / "store", tmp_path / "moved")
    (mixed / "store").rename(mixed / "away")
    try:
        assert cli("verify", "both", "--store", tmp_path / "moved").code == 0
    finally:
        (mixed / "away").rename(mixed / "store")


def test_what_cannot_be_mixed(mixed: Path, cli: Any, tmp_path: Path) -> None:
    recipe = f"{mixed / 'recipe.py'}:both"
    done = cli("build", recipe, "--store", tmp_path)
    assert done.code == 1
    assert "first" in done.err
    done = cli("build", recipe, "--store", mixed / "store", "--set", "source.parts.a.weight=2")
    assert done.code == 2
    assert "a weight above 0 for every part" in done.err
    done = cli("build", recipe, "--store", mixed / "store", "--set", "source.parts.a.dataset=first@nope")
    assert done.code == 1
    assert "nope" in done.err
