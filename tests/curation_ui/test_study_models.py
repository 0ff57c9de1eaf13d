"""Where models' images come from, and the command line around studies."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from curation_ui.study.create import plan_study
from curation_ui.study.design import study_at
from curation_ui.study.models import read_model, read_prompts
from store.errors import MashbillError, UsageError
from store.parquet import read_table
from store.store import Store, open_store
from tests.curation_ui.study_fixture import make, picture, small, write_models

ROOT = Path(__file__).parents[2]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path / "store", create=True)


def folder_of(tmp_path: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        file = tmp_path / "images" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        picture(number).save(file)
    return tmp_path / "images"


def test_a_folder_named_by_prompt_and_seed(tmp_path: Path, store: Store):
    folder = folder_of(tmp_path, "0_5.png", "1/7.png", "1-8.png", "00000.png", ".hidden.png")
    model = read_model(store, f"ours={folder}", ["a cat", "a dog"])
    assert {(image.prompt, image.seed) for image in model.images} == {
        ("a cat", 5),
        ("a cat", None),
        ("a dog", 7),
        ("a dog", 8),
    }
    assert model.source == {"kind": "folder", "path": str(folder), "images": 4}


def test_sidecars_outrank_names(tmp_path: Path, store: Store):
    folder = folder_of(tmp_path, "0_5.png", "b.png", "c.png")
    (folder / "0_5.txt").write_text("from text\n")
    (folder / "0_5.json").write_text(json.dumps({"prompt": "from json", "seed": 99}))
    (folder / "b.json").write_text(json.dumps({"caption": "a caption", "generation_seed": 3}))
    (folder / "c.txt").write_text("no seed")
    model = read_model(store, f"ours={folder}", None)
    said = [(image.prompt, image.seed) for image in model.images]
    assert said == [("from text", 99), ("a caption", 3), ("no seed", None)]


def test_an_image_without_a_prompt_is_refused(tmp_path: Path, store: Store):
    with pytest.raises(UsageError, match=r"odd\.png: which prompt"):
        read_model(store, f"ours={folder_of(tmp_path, 'odd.png')}", None)


@pytest.mark.parametrize("text", ["ours", "=x", "ours="])
def test_a_model_is_a_label_and_a_place(store: Store, text: str):
    with pytest.raises(UsageError, match="Expected LABEL=FOLDER"):
        read_model(store, text, None)
    with pytest.raises(MashbillError, match="no such folder, and no such run"):
        read_model(store, "ours=no/where", None)
    with pytest.raises(MashbillError, match="no dataset"):
        read_model(store, "ours=nowhere", None)


def test_prompts_of_every_kind_of_file(tmp_path: Path):
    prompts = ["a, b", 'say "c"']
    (tmp_path / "p.txt").write_text("\n".join([prompts[0], "", prompts[1]]))
    (tmp_path / "p.jsonl").write_text("".join(json.dumps({"prompt": p}) + "\n" for p in prompts))
    (tmp_path / "p.csv").write_text('id,prompt\n1,"a, b"\n2,"say ""c"""\n')
    pq.write_table(pa.table({"prompt": prompts}), tmp_path / "p.parquet")
    for kind in ("txt", "jsonl", "csv", "parquet"):
        assert read_prompts(str(tmp_path / f"p.{kind}")) == prompts
    (tmp_path / "q.csv").write_text("text\nx\n")
    for wrong in ("q.csv", "none.txt", "p.doc"):
        (tmp_path / "p.doc").write_text("")
        with pytest.raises(UsageError, match=r"expected|no such file"):
            read_prompts(str(tmp_path / wrong))


def test_models_that_do_not_meet_are_told_why(tmp_path: Path, store: Store):
    for name, prompt, seed in (("a", "one", 1), ("b", "one", 2), ("c", "two", 1)):
        (tmp_path / name).mkdir()
        picture(1).save(tmp_path / name / "x.png")
        (tmp_path / name / "x.json").write_text(json.dumps({"prompt": prompt, "seed": seed}))
    a, b, c = (read_model(store, f"{name}={tmp_path / name}", None) for name in "abc")
    with pytest.raises(MashbillError, match="match=number"):
        plan_study(small(), [a, b], 1)
    with pytest.raises(MashbillError, match="share no prompt"):
        plan_study(small(), [a, c], 1)
    with pytest.raises(UsageError, match="two models or more"):
        plan_study(small(), [a], 1)
    with pytest.raises(UsageError, match="its own label"):
        plan_study(small(), [a, a], 1)
    assert len(plan_study(small(match="number"), [a, b], 1).pairs) == 1


def test_images_that_cannot_be_decoded_take_their_pairs_along(tmp_path: Path):
    models = write_models(tmp_path, 4)
    (tmp_path / "student" / "002_0.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    record = make(tmp_path, small(), models).record()
    assert (record["pairs"], record["broken"]) == (3, 1)
    assert record["prompts"] == 3


def test_a_dataset_version_is_a_model(tmp_path: Path, cli: Callable[..., Any], folder_source: Any):
    """Read in place: no image is copied, and its caption is the prompt."""
    photos, store = tmp_path / "photos", tmp_path / "store"
    photos.mkdir()
    for number in range(5):
        picture(number, 256).save(photos / f"{number}.jpg", quality=90)
        (photos / f"{number}.txt").write_text(f"prompt number {number}")
    done = cli("build", "l-orig", "--store", store, *folder_source(photos, 2), "--workers", "1", "--json")
    assert done.code == 0, done.err
    [model, _] = write_models(tmp_path / "other")
    made = cli(
        *("study", "create", "duel", "--store", store, "--preset", "imagine-flash", "--yes", "--json"),
        *("--model", "crawl=l-orig", "--model", model, "--set", "match=number"),
    )
    assert made.code == 0, made.err
    assert made.json["pairs"] == 5
    rows = read_table(open_store(store).root / "studies" / "duel" / "images.parquet").to_pylist()
    assert sum(row["tar"] == "images.tar" for row in rows) == 5
    others = {row["tar"] for row in rows} - {"images.tar"}
    assert all(tar.startswith("sources/") for tar in others), "the store may be moved"
    study = study_at(open_store(store), "duel")
    assert others
    assert all(study.tar(tar).exists() for tar in others)
    assert made.json["models"][0]["kind"] == "dataset"


def test_pictures_of_a_run_are_a_model(tmp_path: Path, store: Store):
    run = Path(store.url, "runs", "few", "0123456789ab")
    (run / "samples").mkdir(parents=True)
    asked = {"samples": {"prompts": ["one", "two"]}}
    record = {"name": "few", "recipe": {}, "run": asked, "student": "", "dataset": "d", "version": "v"}
    record |= {"pack": "64", "created": 1.0, "triggered_by": None}
    (run / "run.json").write_text(json.dumps(record))
    strip = Image.new("RGB", (128, 64))
    strip.paste(picture(1, 64), (0, 0))
    strip.paste(picture(2, 64), (64, 0))
    strip.save(run / "samples" / "step-00000010.png")
    model = read_model(store, "few=few/0123", None)
    assert [(image.prompt, image.seed) for image in model.images] == [("one", 0), ("two", 0)]
    (tmp_path / "second.png").write_bytes(model.images[1].read())
    with Image.open(tmp_path / "second.png") as image:
        assert image.tobytes() == picture(2, 64).tobytes()
    asked["samples"]["prompts"] = []
    (run / "run.json").write_text(json.dumps(record))
    with pytest.raises(MashbillError, match="Name prompts"):
        read_model(store, "few=few/0123", None)


def test_create_says_what_it_will_cost_and_asks(tmp_path: Path, cli: Callable[..., Any]):
    models = [word for text in write_models(tmp_path, 6) for word in ("--model", text)]
    create = ("study", "create", "duel", "--store", tmp_path / "s", *models, "--seed", "4")
    done = cli(*create, "--preset", "sd35-flash")
    assert done.code == 1
    assert "nothing was made" in done.message
    assert "expected interval" in done.out
    assert "design effect" in done.out
    made = cli(*create, "--preset", "sd35-flash", "--yes")
    assert made.code == 0, made.err
    assert "frozen as" in made.out
    again = cli(*create, "--preset", "sd35-flash", "--yes")
    assert again.code == 1
    assert "already" in again.message
    none = cli("study", "report", "duel", "--store", tmp_path / "s")
    assert none.code == 1
    assert "nobody has voted" in none.message


def test_wrong_designs_are_usage_errors(tmp_path: Path, cli: Callable[..., Any]):
    models = [word for text in write_models(tmp_path, 2) for word in ("--model", text)]
    create = ("study", "create", "duel", "--store", tmp_path / "s", *models, "--yes")
    ours = tmp_path / "our_design.py"
    ours.write_text("def ours():\n    return 3\n")
    for wrong, word in (
        ((), "--preset"),
        (("--preset", "nonesuch"), "imagine-flash"),
        (("--preset", f"{ours}:ours"), "expected a study Design"),
        (("--preset", "sd35-flash", "--set", "votes=0"), "votes=0"),
        (("--preset", "sd35-flash", "--set", "voices=2"), "no such field"),
    ):
        done = cli(*create, *wrong)
        assert done.code == 2, done.err
        assert word in done.message


def test_serve_prints_links_and_ends_when_told(tmp_path: Path):
    study = make(tmp_path, small(), write_models(tmp_path, 2))
    command = [sys.executable, "-m", "pipelines", "study", "serve", study.name, "--port", "0"]
    process = subprocess.Popen(
        [*command, "--store", str(tmp_path / "store"), "--invite", "2"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONWARNINGS": "default"},
    )
    assert process.stdout is not None
    try:
        lines = [process.stdout.readline() for _ in range(4)]
        links = [re.search(r"http://127\.0\.0\.1:\d+/enter#\S+", line) for line in lines[:3]]
        assert all(links), lines
        assert links[0] is not None
        with urllib.request.urlopen(links[0].group(0), timeout=20) as page:
            assert page.status == 200
        process.send_signal(signal.SIGTERM)
        process.wait(30)
    finally:
        process.kill()
        process.wait(20)
        process.stdout.close()
