"""Datasets of prompts: built to a specification, and what was asked beside what was got."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.coverage import coverage
from pipelines.recipes.tiny_prompts import CONTRAST
from tinyworld.read_caption import read_caption
from tinyworld.shapes import BACKGROUND_COLORS, COLORS, color_distance


@pytest.fixture(scope="module")
def prompts(tmp_path_factory: pytest.TempPathFactory, cli: Any) -> tuple[Path, dict[str, Any]]:
    """The store and the answer of a build of 400 prompts."""
    store = tmp_path_factory.mktemp("prompts") / "store"
    done = cli(
        "build", "tiny-prompts", "--store", store, "--set", "source.samples=400", "--json", "--workers", "1"
    )
    assert done.code == 0, done.err
    return store, done.json


@pytest.fixture(scope="module")
def rows(prompts: tuple[Path, dict[str, Any]], cli: Any) -> list[dict[str, Any]]:
    store, _ = prompts
    assert cli("export", "tiny-prompts", store / "out", "--as", "parquet", "--store", store).code == 0
    return list(pq.read_table(store / "out" / "samples.parquet").to_pylist())


def test_prompts_add_up_and_copies_are_dropped(prompts: Any, rows: list[dict[str, Any]]) -> None:
    _, answer = prompts
    assert answer["samples_in"] == 400 == answer["kept"] + sum(answer["dropped"].values())
    kept = [row["caption"] for row in rows if row["kept"]]
    assert len(set(kept)) == len(kept) == len({row["caption"] for row in rows})
    assert answer["dropped"] == {"prompt_copy": 400 - len(kept)}


def test_every_prompt_says_what_was_asked_and_every_share_is_met(rows: list[dict[str, Any]]) -> None:
    asked = [json.loads(row["meta"])["asked"] for row in rows]
    for one, row in zip(asked, rows, strict=True):
        said = read_caption(row["caption"])
        assert said.count == {"two": 2, "three": 3, "four": 4}.get(one.get("count"), 1)
        assert {(thing.shape, thing.color) for thing in said.things} == {(one["shape"], one["color"])}
        assert said.background_colors == (one["background"],)
        behind = BACKGROUND_COLORS[one["background"]]
        assert color_distance(COLORS[one["color"]], behind) >= CONTRAST
    assert Counter(one.get("count") for one in asked) == {None: 160, "two": 120, "three": 80, "four": 40}
    assert set(Counter(one["color"] for one in asked).values()) == {40}
    assert set(Counter(one["shape"] for one in asked).values()) == {50}


def test_the_report_shows_asked_and_got(prompts: Any, cli: Any) -> None:
    store, answer = prompts
    page = (store / "datasets" / "tiny-prompts" / answer["version"] / "report" / "index.html").read_text()
    assert "Asked and got" in page
    assert "The prompts" in page
    assert "glossy rendering" in page


def test_prompts_have_no_packs_and_say_so(prompts: Any, cli: Any, tmp_path: Path) -> None:
    store, _ = prompts
    done = cli("export", "tiny-prompts", tmp_path / "out", "--as", "webdataset", "--store", store)
    assert done.code == 1
    assert "has no packs" in done.err
    assert cli("verify", "tiny-prompts", "--store", store).code == 0


def test_packs_need_images(cli: Any, tmp_path: Path) -> None:
    done = cli("build", "tiny-prompts", "--store", tmp_path, "--set", "pack.resolutions=64")
    assert done.code == 2
    assert "no stage writes sha256, width, height, crop_left; a dataset with packs needs them" in done.err


def test_shares_by_hand() -> None:
    asked = [{"color": "red"}] * 6 + [{"color": "blue"}] * 3 + [{}]
    captions = ["A red hat"] * 4 + ["a hat"] * 2 + ["BLUE hats", "blues", "bluish"] + ["a hat"]
    table = pa.table(
        {
            "meta": [json.dumps({"asked": one}) for one in asked] + [None, "{}"],
            "caption": [*captions, None, "x"],
            "kept": [True] * 5 + [False] + [True] * 3 + [True, True, True],
        }
    )
    found = coverage(table)
    assert found is not None
    assert (found["samples"], found["kept"]) == (10, 9)
    (color,) = found["attributes"]
    assert [(v["value"], v["asked"], v["got"], v["said"]) for v in color["values"]] == [
        ("red", 0.6, 5 / 9, 4 / 5),
        ("blue", 0.3, 3 / 9, 2 / 3),
        ("unsaid", 0.1, 1 / 9, None),
    ]
    # kept 5, 3, 1 where 5.4, 2.7, 0.9 are expected, dropped 1, 0, 0 where 0.6, 0.3, 0.1 are: chi square
    # 0.4^2/5.4 + 0.3^2/2.7 + 0.1^2/0.9 + 0.4^2/0.6 + 0.3^2/0.3 + 0.1^2/0.1 = 0.7407; of 2 degrees exp(-half)
    assert color["p"] == pytest.approx(0.6905, abs=1e-3)
    assert coverage(table.slice(10)) is None
    assert coverage(table.drop_columns(["meta"])) is None
