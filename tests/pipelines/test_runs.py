"""``mashbill runs`` and the refusals of ``mashbill distill``: what people read of the runs of a store."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from pipelines.distill import prepare, prepared_again
from store.errors import MashbillError
from store.runs import RunAt, RunState
from store.store import Store, open_store

RECIPE = """
from distill_runs.methods.finetune import Finetune
from distill_runs.packs import Data
from distill_runs.settings import Run, Stage

def ours():
    stage = Stage(data=Data(resolution=48), steps=7)
    return Run("ours", "l_orig@latest", "tiny/student", Finetune(), (stage,))

def nothing():
    return {"name": "ours"}
"""


@pytest.fixture
def store(built: tuple[Path, dict[str, Any]], tmp_path: Path) -> Store:
    shutil.copytree(built[0], tmp_path / "store")
    return open_store(tmp_path / "store")


@pytest.fixture
def recipe(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> str:
    stem = re.sub(r"\W", "_", request.node.name)  # modules are imported once per name
    file = tmp_path_factory.mktemp("recipes") / f"runs_{stem}.py"
    file.write_text(RECIPE)
    return str(file)


@pytest.fixture
def run(store: Store, recipe: str) -> RunAt:
    return prepare(store, f"{recipe}:ours", ["steps=9"]).run


def test_preparing_is_idempotent_and_keeps_what_was_asked(
    store: Store, recipe: str, built: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(recipe).parent)
    first = prepare(store, f"{Path(recipe).name}:ours", ["steps=9"])
    version = built[1]["version"]
    assert (first.recipe.dataset, first.packs[0].name) == (f"l-orig@{version}", "64")
    record = first.run.record()
    assert record["recipe"] == {
        "reference": f"{recipe}:ours",  # it holds in every folder
        "assignments": ["steps=9"],
        "dataset": "l_orig@latest",
    }
    assert (record["dataset"], record["version"], record["run"]["stages"][0]["steps"]) == (
        "l-orig",
        version,
        9,
    )
    assert record["triggered_by"] is None
    assert first.run.state() == RunState("queued", 0, 0)

    monkeypatch.chdir("/")
    assert prepare(store, f"{recipe}:ours", ["steps=9", f"dataset=l-orig@{version}"]).run == first.run
    assert first.run.record() == record
    assert prepared_again(store, first.run) == first
    assert prepare(store, f"{recipe}:ours", []).run != first.run


def test_a_folder_of_another_recipe_is_refused(store: Store, recipe: str, run: RunAt) -> None:
    other = prepare(store, f"{recipe}:ours", []).run
    shutil.copy(f"{other.folder}/run.json", f"{run.folder}/run.json")
    with pytest.raises(MashbillError, match=r"holds another run than its name says: .*run\.json was changed"):
        prepare(store, f"{recipe}:ours", ["steps=9"])
    with pytest.raises(MashbillError, match="no longer gives run"):
        prepared_again(store, run)


def test_what_is_no_run_recipe_is_refused(store: Store, recipe: str, cli: Any) -> None:
    done = cli("distill", f"{recipe}:nothing", "--store", store.url)
    assert done.code == 2
    assert (
        "returned dict, expected a run: a frozen dataclass with name, dataset, stages, steps" in done.message
    )
    done = cli("distill", f"{recipe}:ours", "--store", store.url, "--set", "resolution=4000")
    assert done.code == 1
    assert "no pack of 4000 px or more; it has 64, original" in done.message
    assert store.runs.names() == []


def test_two_processes_on_one_run(store: Store, recipe: str, run: RunAt, cli: Any) -> None:
    with run.at_work():
        done = cli("distill", f"{recipe}:ours", "--set", "steps=9", "--store", store.url)
    assert done.code == 1
    assert re.search(rf"process \d+ on .* is at work on run {run.id}", done.message)
    assert run.starts() == []


def test_runs_are_listed_in_columns(store: Store, recipe: str, run: RunAt, cli: Any, built: Any) -> None:
    version = built[1]["version"]
    run.tell(RunState("failed", 3, 9, "the loss is nan\nat step 3"))
    run.add_start(0, queued=False)
    broken = prepare(store, f"{recipe}:ours", ["steps=2"]).run
    Path(broken.folder, "run.json").write_text("{")
    lines = cli("runs", "--store", store.url).out.splitlines()
    assert lines[0].split() == ["run", "state", "steps", "dataset", "started"]
    assert lines[1].startswith(f"ours/{broken.fingerprint[:8]}  damaged  -")
    when = r"\d{4}-\d\d-\d\d \d\d:\d\d"
    row = rf"ours/{run.fingerprint[:8]} +failed +3/9 +l-orig@{version}  {when}  the loss is nan"
    assert re.fullmatch(row, lines[2])
    assert (
        len({line.index(column) for line, column in zip(lines, ("state", "dam", "fail"), strict=True)}) == 1
    )

    rows = cli("runs", "l-orig", "--json", "--store", store.url).json["runs"]
    assert [(row["run"], row["state"]) for row in rows] == [(broken.id, "damaged"), (run.id, "failed")]
    assert "run.json is not valid JSON" in rows[0]["error"]
    assert (rows[1]["step"], rows[1]["steps"], rows[1]["starts"]) == (3, 9, 1)


def test_no_runs_and_no_dataset(store: Store, cli: Any) -> None:
    assert cli("runs", "--store", store.url).out == "no runs yet\n"
    done = cli("runs", "l-none", "--store", store.url)
    assert (done.code, "no dataset 'l-none'" in done.message) == (1, True)
    done = cli("runs", "tiny/01", "--store", store.url)
    assert (done.code, "is no run in" in done.message) == (1, True)


def test_one_run_with_its_lineage(store: Store, recipe: str, run: RunAt, cli: Any, built: Any) -> None:
    other = prepare(store, f"{recipe}:ours", []).run
    told = cli("runs", run.id[:9], "--json", "--store", store.url).json
    version = built[1]["version"]
    assert told["others_on_this_version"] == [other.id]
    assert told["lineage"]["version"] == version
    assert told["lineage"]["models"] == {"student": "tiny/student"}
    assert set(told["lineage"]["pack"]["files"]) >= {"packs/64/pack.json"}
    assert json.loads(json.dumps(told)) == told

    out = cli("runs", run.id, "--store", store.url).out
    for part in (
        f"{run.id}: queued, step 0/9",
        f"recipe: {recipe}:ours --set steps=9, asked for l_orig@latest",
        f"reads l-orig@{version}, pack 64",
        "student: tiny/student",
        "decisions  none by people",
        f"other runs on this version: {other.id}",
    ):
        assert part in out
    shutil.rmtree(store.datasets.path)
    assert "that version is no longer in the store" in cli("runs", run.id, "--store", store.url).out
