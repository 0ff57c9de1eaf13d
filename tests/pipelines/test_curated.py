"""What people kept of a dataset: builds read their decisions, wait for them, and never write over them."""

from __future__ import annotations

import datetime as dt
import json
import random
import shutil
import tarfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from stages.source.curated import Curated
from stages.source.prompts import PromptDataset
from store.decisions import DECISIONS, Decisions, write_decisions
from store.errors import MashbillError, UsageError
from store.store import open_store
from store.versions import find_version

RECIPE = """
from dataclasses import replace
from pipelines.dataset import Dataset
from pipelines.recipes.l_orig import l_orig
from stages.image.crop import Crop
from stages.image.crop_scorers import KnownBoxes
from stages.image.inherited import Inherited
from stages.pack.pack import Pack
from stages.source.curated import Curated
from stages.source.mixture import Mixture, Part
from stages.text.asking import Style
from stages.text.chat_local import Local
from stages.text.clean_caption import CleanCaption
from stages.text.recaption import Recaption
from stages.text.write_prompt import WritePrompt

ASPECTS = (1.0, 1.5)

def base():
    found = l_orig()
    columns = tuple(Crop(aspects=ASPECTS) if stage.name == "crop" else stage for stage in found.columns)
    return replace(found, name="base", columns=columns)

def cur(*stages, name="base-cur"):
    return Dataset(name, Curated("base"), (Inherited(), *stages), (), Pack(resolutions=(64,)))

def both():
    return replace(cur(), name="both", source=Mixture((Part("cur", "base-cur"), Part("base", "base"))))

def lost():
    return replace(base(), name="lost", source=Curated("base"))

def clean_caption():
    return cur(CleanCaption(), name="over-clean-caption")

def crop():
    return cur(Crop(aspects=(0.5,)), name="over-crop")

def recaption():
    model = Local("tinyworld/models/captioner")
    return cur(Recaption(model, (Style("long", "long", 64),), keep_original=True), name="over-recaption")

def write_prompt():
    model = Local("tinyworld/models/prompt-writer")
    return cur(WritePrompt(model, Style("prompt", "{values}", 64, 1.0, 0.9)), name="over-write-prompt")

def all_of_them():
    stages = (CleanCaption(), Crop(aspects=(0.5,)), *recaption().columns[1:])
    return cur(*stages, name="over-all")
"""
NOW = dt.datetime(2026, 11, 21, tzinfo=dt.UTC)
PLAIN: dict[str, Any] = dict.fromkeys(DECISIONS.names) | {
    "reasons": [],
    "votes_keep": 0,
    "votes_reject": 0,
    "people": ["ana"],
    "events": [1],
    "decided_at": NOW,
}
BOX = {"crop_left": 3, "crop_top": 1, "crop_right": 63, "crop_bottom": 41}
KEEP = {"verdict": "keep", "votes_keep": 1}
REJECT = {"verdict": "reject", "votes_reject": 1}
COUNT = 14


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, cli: Any) -> Path:
    """A dataset ``base`` of 14 pictures of 80 x 60, of which one is broken; the recipes above."""
    folder = tmp_path_factory.mktemp("curated")
    (folder / "curated_recipe.py").write_text(RECIPE)
    (folder / "photos").mkdir()
    for seed in range(COUNT):
        pixels = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
        path = folder / "photos" / f"{seed:02d}.jpg"
        Image.fromarray(pixels).resize((80, 60), Image.Resampling.BICUBIC).save(path)
        path.with_suffix(".txt").write_text(f"number &amp; {seed}")
        path.with_suffix(".json").write_text('{"asked": {"color": "red", "shape": "disc"}}')
    (folder / "photos" / "00.jpg").write_bytes(b"no image")
    source = ["--set", "source.kind=folder", "--set", f"source.path={folder / 'photos'}"]
    small = ["--set", "source.shard_size=5", "--set", "pack.resolutions=32"]
    done = cli("build", f"{folder / 'curated_recipe.py'}:base", "--store", folder / "store", *source, *small)
    assert done.code == 0, done.err
    return folder


@pytest.fixture
def fresh(folder: Path, tmp_path: Path) -> Path:
    """A copy of the store of ``folder``, without decisions."""
    shutil.copytree(folder / "store", tmp_path / "store", ignore=shutil.ignore_patterns("decisions"))
    return tmp_path / "store"


def queue(store: Path) -> list[str]:
    samples = find_version(open_store(store), "base").samples(["sample_id", "kept"]).to_pylist()
    return [row["sample_id"] for row in samples if row["kept"]]


def decide(store: Path, rows: dict[str, dict[str, Any]], votes: int = 1) -> Decisions:
    there = open_store(store)
    version = find_version(there, "base").version
    about = {"version": version, "queue": len(queue(store)), "votes_required": votes, "last_event": 1}
    table = pa.Table.from_pylist([PLAIN | row | {"sample_id": key} for key, row in rows.items()], DECISIONS)
    return write_decisions(there, "base", table, about)


@pytest.fixture
def build(folder: Path, cli: Any) -> Callable[..., Any]:
    def run(store: Path, name: str, *options: object) -> Any:
        return cli("build", f"{folder / 'curated_recipe.py'}:{name}", "--store", store, "--json", *options)

    return run


def exported(cli: Any, store: Path, dataset: str, out: Path) -> list[dict[str, Any]]:
    done = cli("export", dataset, out, "--as", "parquet", "--store", store)
    assert done.code == 0, done.err
    return pq.read_table(out / "samples.parquet").to_pylist()


def manifest(store: Path, dataset: str) -> dict[str, Any]:
    return find_version(open_store(store), dataset).manifest()


SOME: list[dict[str, Any]] = [
    KEEP,
    KEEP | {"caption": "a person's <b>words</b>"},
    KEEP | BOX,
    KEEP | {"crop_left": 0, "crop_top": 0, "crop_right": 81, "crop_bottom": 60},
    REJECT | {"reasons": ["hands", "text"], "caption": "not used"},
    REJECT,
    {"votes_keep": 1, "votes_reject": 1, "people": ["ana", "ben"]},
    {"caption": "words alone"},
    {"votes_keep": 2, "votes_reject": 1},
]
"""Decisions on the first samples of the queue; nothing is decided of the others."""
DROPPED = {"crop_outside": 1, "rejected_hands": 1, "rejected_by_person": 1, "tied": 1, "undecided": 6}


def test_people_decide_what_stays_and_say_how(
    fresh: Path, cli: Any, build: Callable[..., Any], tmp_path: Path
) -> None:
    ids = queue(fresh)
    rows = dict(zip(ids, SOME, strict=False))
    export = decide(fresh, rows | {"f" * 24: KEEP})
    done = build(fresh, "cur")
    assert done.code == 0, done.err
    assert done.json["dropped"] == DROPPED
    assert (done.json["samples_in"], done.json["kept"]) == (COUNT - 1, 3)
    found = {row["source_key"]: row for row in exported(cli, fresh, "base-cur", tmp_path / "out")}
    parent = {row["sample_id"]: row for row in exported(cli, fresh, "base", tmp_path / "parent")}
    plain, words, crop, outside, hands, *_ = (found[key] for key in ids[: len(SOME)])
    same = (
        "caption",
        "crop_left",
        "crop_right",
        "crop_choice",
        "crop_aspect",
        "split",
        "sha256",
        "cluster_id",
    )
    assert [plain.get(name) for name in same] == [parent[ids[0]].get(name) for name in same]
    assert (words["caption"], words["captions"]) == ("a person's <b>words</b>", ["a person's <b>words</b>"])
    assert words["caption_original"] == parent[ids[1]]["caption_original"]
    assert {name: crop[name] for name in BOX} == BOX
    assert (crop["crop_choice"], crop["crop_aspect"]) == ("person", 1.5)
    assert (outside["reason"], hands["reason"]) == ("crop_outside", "rejected_hands")
    marks = ("decided_by_person", "caption_by_person", "crop_by_person")
    assert [[row[name] for name in marks] for row in (plain, words, crop, found[ids[-1]])] == [
        [True, False, False],
        [True, True, False],
        [True, False, True],
        [False, False, False],
    ]
    [said] = manifest(fresh, "base-cur")["decisions"]
    assert said["export"] == export.export
    assert said["version"] == find_version(open_store(fresh), "base").version
    assert {name: said[name] for name in ("queue", "decided", "kept", "rejected", "captions", "crops")} == {
        "queue": 13,
        "decided": 6,
        "kept": 4,
        "rejected": 2,
        "captions": 1,
        "crops": 2,
    }
    assert (said["people"], said["not_in_version"], said["coverage_asked"]) == (2, 1, 0.0)
    assert said["coverage"] == pytest.approx(6 / 13)
    assert said["waited_s"] < 60


def test_nothing_is_copied_and_the_pack_has_what_people_said(
    fresh: Path, cli: Any, build: Callable[..., Any], tmp_path: Path
) -> None:
    decide(fresh, dict(zip(queue(fresh), SOME, strict=False)))
    assert build(fresh, "cur").code == 0
    source = fresh / "sources" / manifest(fresh, "base-cur")["source"]["fingerprint"]
    assert not list(source.rglob("*.tar"))
    packed = []
    pack = Path(find_version(open_store(fresh), "base-cur").pack("64").path)
    for shard in pack.glob("*.tar"):
        with tarfile.open(shard) as tar:
            members = [member for member in tar.getmembers() if member.name.endswith(".json")]
            packed += [json.loads(tar.extractfile(member).read()) for member in members]  # type: ignore[union-attr]
    by_id = {fields["source_key"]: fields for fields in packed}
    ids = queue(fresh)
    assert set(by_id) == set(ids[:3])
    assert by_id[ids[1]]["captions"] == ["a person's <b>words</b>"]
    left, top, right, bottom = by_id[ids[2]]["crop"]
    assert (left, right) == (3, 63)
    assert top >= 1
    assert bottom <= 41
    assert by_id[ids[2]]["width"] > by_id[ids[2]]["height"]
    assert cli("verify", "base-cur", "--store", fresh).code == 0
    prompts = PromptDataset("base-cur").found_in(open_store(fresh)).read()
    assert {prompt.text for prompt in prompts} == {fields["caption"] for fields in packed}


def test_show_runs_report_and_explain_say_who_decided(
    fresh: Path, cli: Any, build: Callable[..., Any], tmp_path: Path
) -> None:
    ids = queue(fresh)
    decide(fresh, dict(zip(ids, SOME, strict=False)))
    done = build(fresh, "cur")
    shown = cli("show", "base-cur", "--store", fresh).out
    assert "6 of 13 decided by 2 people (coverage 0.462, asked 0)" in shown
    assert "waited" not in shown
    report = fresh / "datasets/base-cur" / done.json["version"] / "report/index.html"
    page = report.read_text()
    assert "6 of 13 decided by 2 people" in page
    assert "hands, text" in page
    assert "people rejected it: hands" in page
    found = {
        row["source_key"]: row["sample_id"] for row in exported(cli, fresh, "base-cur", tmp_path / "out")
    }
    told = cli("explain", "base-cur", found[ids[4]], "--store", fresh, "--json").json
    assert told["decision"]["reasons"] == ["hands", "text"]
    assert told["decision"]["people"] == ["ana"]
    assert told["decision"]["decided_at"].startswith("2026-11-21")
    assert told["source"]["source_detail"] == "hands, text"
    text = cli("explain", "base-cur", found[ids[4]], "--store", fresh).out
    assert "votes_reject       1" in text
    assert cli("explain", "base-cur", found[ids[-1]], "--store", fresh, "--json").json["decision"] is None
    shutil.rmtree(fresh / "decisions")
    assert cli("explain", "base-cur", found[ids[4]], "--store", fresh, "--json").json["decision"] is None


def test_the_same_decisions_build_nothing_again_and_others_do(fresh: Path, build: Callable[..., Any]) -> None:
    ids = queue(fresh)
    first = decide(fresh, dict.fromkeys(ids[:4], KEEP))
    one = build(fresh, "cur").json
    again = build(fresh, "cur").json
    assert again["version"] == one["version"]
    assert all(stage["reused"] for stage in again["stages"])
    decide(fresh, dict.fromkeys(ids[:5], KEEP))
    more = build(fresh, "cur").json
    assert (one["kept"], more["kept"]) == (4, 5)
    back = build(fresh, "cur", "--set", f"source.decisions={first.export[:8]}").json
    assert back["version"] == one["version"]


def test_a_resumed_build_and_one_on_other_shards_have_the_same_ids(
    fresh: Path, build: Callable[..., Any]
) -> None:
    decide(fresh, dict(zip(queue(fresh), SOME, strict=False)))
    source = Curated("base").found_in(open_store(fresh))
    ids = [sample.locator for portion in source.plan() for sample in source.read(portion, "")]
    decide(fresh, {})  # while it was building, people took everything back
    again = [sample.locator for portion in source.plan() for sample in source.read(portion, "")]
    assert ids == again
    assert len(set(ids)) == COUNT - 1
    assert source.found_in(open_store(fresh)) == source


def test_a_mixture_inherits_what_people_said(
    fresh: Path, cli: Any, build: Callable[..., Any], tmp_path: Path
) -> None:
    ids = queue(fresh)
    decide(fresh, dict(zip(ids, SOME, strict=False)))
    assert build(fresh, "cur").code == 0
    done = build(fresh, "both")
    assert done.code == 0, done.err
    [said] = manifest(fresh, "both")["decisions"]
    assert (said["dataset"], said["kept"]) == ("base", 4)
    rows = [row for row in exported(cli, fresh, "both", tmp_path / "out") if row["part"] == "cur"]
    assert Counter((row["caption_by_person"], row["crop_by_person"]) for row in rows) == {
        (False, False): 1,
        (True, False): 1,
        (False, True): 1,
    }


def test_less_than_was_asked_is_an_error_that_says_what_to_do(fresh: Path, build: Callable[..., Any]) -> None:
    done = build(fresh, "cur")
    assert done.code == 1
    assert "Make some: mashbill curate base" in done.err
    decide(fresh, dict.fromkeys(queue(fresh)[:5], KEEP))
    done = build(fresh, "cur", "--set", "source.coverage=0.9")
    assert done.code == 1
    assert "people decided 5 of 13 samples of base@" in done.err
    assert "asks for 7 more" in done.err
    assert "--set source.wait_minutes=60" in done.err
    assert build(fresh, "cur", "--dry-run", "--set", "source.coverage=0.9").code == 0
    done = build(fresh, "cur", "--set", "source.coverage=0.9", "--set", "source.wait_minutes=0.03")
    assert done.code == 1
    assert "after 0.03 minutes" in done.err
    for wrong in ("coverage=1.5", "coverage=nan", "wait_minutes=-1", "wait_minutes=inf"):
        assert build(fresh, "cur", "--set", f"source.{wrong}").code == 2
    fixed = ["--set", "source.decisions=abcd", "--set", "source.wait_minutes=1"]
    done = build(fresh, "cur", *fixed)
    assert done.code == 2
    assert "one export never grows" in done.err
    done = build(fresh, "cur", "--set", "source.dataset=nothing")
    assert done.code == 1
    assert "no dataset 'nothing'" in done.err


def test_a_build_waits_until_people_have_decided_enough(fresh: Path, build: Callable[..., Any]) -> None:
    ids = queue(fresh)

    def people() -> None:
        for count in (4, 10, 13):
            time.sleep(0.7)
            decide(fresh, dict.fromkeys(ids[:count], KEEP))

    working = threading.Thread(target=people)
    working.start()
    try:
        done = build(fresh, "cur", "--set", "source.coverage=1", "--set", "source.wait_minutes=1")
    finally:
        working.join()
    assert done.code == 0, done.err
    assert done.json["kept"] == 13
    assert "waiting for people: mashbill curate base: 0 of 13 decisions" in done.err
    [said] = manifest(fresh, "base-cur")["decisions"]
    assert (said["coverage"], said["coverage_asked"]) == (1.0, 1.0)
    assert said["waited_s"] >= 1.5


def test_a_recipe_in_which_their_words_would_go_nowhere_is_refused(
    fresh: Path, build: Callable[..., Any]
) -> None:
    decide(fresh, dict.fromkeys(queue(fresh), KEEP))
    done = build(fresh, "lost")
    assert done.code == 2
    assert "Put Inherited() of stages.image.inherited into its columns" in done.err


# A decision outranks a model: of every stage that writes words or crops.

WORDS = {"caption": "a person's words", "captions": ["a person's words"]}
SEEN = BOX | {"crop_choice": "person", "crop_aspect": 1.5}


@pytest.fixture(scope="module")
def over(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store in which people gave words to the first half of the queue, and crops to every second sample."""
    store = tmp_path_factory.mktemp("over") / "store"
    shutil.copytree(folder / "store", store)
    rows = {}
    for number, key in enumerate(queue(store)):
        words = {"caption": WORDS["caption"]} if number < 7 else {}
        rows[key] = KEEP | words | (BOX if number % 2 else {})
    decide(store, rows)
    return store


@pytest.mark.parametrize("name", ["clean_caption", "crop", "recaption", "write_prompt", "all_of_them"])
def test_no_stage_writes_over_a_person(
    over: Path, name: str, cli: Any, build: Callable[..., Any], tmp_path: Path
) -> None:
    done = build(over, name, "--workers", "1")
    assert done.code == 0, done.err
    rows = {row["source_key"]: row for row in exported(cli, over, done.json["dataset"], tmp_path / "out")}
    parent = {row["sample_id"]: row for row in exported(cli, over, "base", tmp_path / "parent")}
    for number, key in enumerate(queue(over)):
        row = rows[key]
        if number < 7:
            assert {column: row[column] for column in WORDS} == WORDS
            assert row.get("recaption_requests") is None
            assert row.get("write_prompt_requests") is None
        elif name in ("recaption", "all_of_them"):
            assert row["recaption_requests"] >= 1
            assert parent[key]["caption"] in row["captions"]
        elif name == "write_prompt":
            assert row["write_prompt_requests"] >= 1
        if number % 2:
            assert {column: row[column] for column in SEEN} == SEEN
        elif name in ("crop", "all_of_them"):
            assert (row["crop_right"] - row["crop_left"], row["crop_aspect"]) == (30, 0.5)


# Whatever people decide, nothing is lost.

VERDICT = st.sampled_from([None, "keep", "reject"])
DECISION = st.fixed_dictionaries(
    {
        "verdict": VERDICT,
        "reasons": st.lists(st.sampled_from(["hands", "text", "blur"]), max_size=2),
        "votes_keep": st.integers(0, 3),
        "votes_reject": st.integers(0, 3),
        "caption": st.sampled_from([None, "words", "\u202e<script>", "x" * 300]),
        "crop": st.sampled_from([None, (0, 0, 80, 60), (1, 2, 3, 4), (0, 0, 1, 999)]),
    }
)


def expected_reason(row: dict[str, Any] | None, votes: int) -> str | None:
    if row is None:
        return "undecided"
    if row["verdict"] == "reject":
        return f"rejected_{row['reasons'][0]}" if row["reasons"] else "rejected_by_person"
    if row["verdict"] == "keep":
        return "crop_outside" if row["crop"] == (0, 0, 1, 999) else None
    even = row["votes_keep"] == row["votes_reject"] != 0
    return "tied" if even and 2 * row["votes_keep"] >= votes else "undecided"


@settings(max_examples=25, deadline=None)
@given(found=st.dictionaries(st.integers(0, COUNT + 3), DECISION), votes=st.integers(1, 4))
def test_in_is_kept_plus_dropped_whatever_is_decided(
    over: Path, found: dict[int, dict[str, Any]], votes: int
) -> None:
    ids = [*queue(over), *(f"{number:024x}" for number in range(9))]
    rows = {}
    for number, row in found.items():
        box = dict(zip(BOX, row["crop"], strict=True)) if row["crop"] else {}
        rows[ids[number]] = {name: value for name, value in row.items() if name != "crop"} | box
    export = decide(over, rows, votes)
    source = Curated("base", decisions=export.export).found_in(open_store(over))
    samples = [sample for portion in source.plan() for sample in source.read(portion, "")]
    wanted = {key: expected_reason(found.get(number), votes) for number, key in enumerate(queue(over))}
    assert {sample.source_key: sample.error for sample in samples} == wanted
    assert all((sample.place is None) == (sample.error is not None) for sample in samples)
    [said] = source.decided()
    assert said["kept"] + said["rejected"] == said["decided"] <= said["queue"] == len(samples)
    assert said["not_in_version"] == sum(number >= COUNT - 1 for number in found)


@pytest.mark.parametrize("seed", range(2))
def test_a_built_version_adds_up_whatever_is_decided(
    fresh: Path, build: Callable[..., Any], seed: int
) -> None:
    draw = random.Random(seed)
    ids = queue(fresh)
    decide(fresh, {key: draw.choice(SOME) for key in ids if draw.random() < 0.7})
    done = build(fresh, "cur")
    assert done.code == 0, done.err
    assert done.json["samples_in"] == len(ids) == done.json["kept"] + sum(done.json["dropped"].values())


def test_a_source_without_a_dataset_or_a_sound_share_is_refused(fresh: Path) -> None:
    with pytest.raises(UsageError, match=r"source\.dataset is empty"):
        Curated().found_in(open_store(fresh))
    with pytest.raises(UsageError, match=r"source\.coverage=-1"):
        Curated("base", coverage=-1)
    with pytest.raises(MashbillError, match="nobody has decided anything about 'base'"):
        Curated("base").found_in(open_store(fresh))
