"""``mashbill runs`` and the refusals of ``mashbill distill``: what people read of the runs of a store."""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipelines.distill import Prepared, prepare, prepared_again, start
from store.errors import MashbillError
from store.lease import LeaseLost
from store.runs import RunAt, RunState, run_in
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


def test_settings_that_change_no_result_name_no_other_run(store: Store, recipe: str, run: RunAt) -> None:
    more = ["log_every=3", "checkpoint_every=2", "workers=1", "samples.count=2", "gradient_checkpointing=yes"]
    more += ["max_bad_steps=3", "max_skipped=5", "force=true"]
    again = prepare(store, f"{recipe}:ours", ["steps=9", *more])
    assert again.run == run
    assert (again.recipe.log_every, again.recipe.stages[0].data.max_skipped) == (3, 5)
    assert run.record()["recipe"]["assignments"] == ["steps=9"]
    assert "log_every" not in run.record()["run"]
    for other in ("validation.every=2", "seed=1", "precision=bfloat16", "captions=random", "sharded=true"):
        assert prepare(store, f"{recipe}:ours", ["steps=9", other]).run != run, other


def test_a_student_is_named_by_what_is_in_its_folder(
    store: Store, recipe: str, random_models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mark(student: object, *more: str) -> str:
        return prepare(store, f"{recipe}:ours", [f"student={student}", *more]).run.fingerprint

    folder = tmp_path / "here" / "start" / "pixart"
    shutil.copytree(random_models["pixart"], folder)
    first = mark(folder)
    assert first == mark(random_models["pixart"])
    (folder / "README.md").write_text("a card")
    (folder / ".cache").mkdir()
    (folder / ".cache" / "fetched").write_text("today")
    monkeypatch.chdir(tmp_path / "here")
    assert mark("start/pixart") == first
    record = prepare(store, f"{recipe}:ours", ["student=start/pixart", "steps=9"]).run.record()
    assert record["run"]["student"] == str(folder)  # it holds in every folder

    weights = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    whole, stat = weights.read_bytes(), weights.stat()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert mark("start/pixart") != first
    weights.write_bytes(whole)
    os.utime(weights, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert mark("start/pixart") == first
    (folder / "scheduler" / "scheduler_config.json").write_text("{}")
    assert mark("start/pixart") != first

    assert len({mark("a/b"), mark("a/c"), mark("a/b", "student_revision=v2"), first}) == 4
    assert mark("a/b") == mark("a/b", "student_revision=main")


def test_a_queued_run_goes_on_in_another_folder_but_not_with_another_student(
    store: Store, recipe: str, random_models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(random_models["pixart"], tmp_path / "start")
    monkeypatch.chdir(tmp_path)
    made = prepare(store, f"{recipe}:ours", ["student=start"])
    monkeypatch.chdir("/")
    assert prepared_again(store, made.run) == made
    (tmp_path / "start" / "scheduler" / "scheduler_config.json").write_text("{}")
    with pytest.raises(MashbillError, match=r"no longer gives run .*: it has another student\."):
        prepared_again(store, made.run)


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
    assert "expected a run: a frozen dataclass with name, dataset, student, stages, steps" in done.message
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


def test_a_run_that_was_taken_over_leaves_what_the_other_tells(store: Store, recipe: str, run: RunAt) -> None:
    told = RunState("running", 5, 9)

    def overtaken(prepared: Prepared, progress: bool) -> dict[str, Any]:
        lease = Path(f"{run.folder}.lease")
        assert not prepared.run.lost()
        assert json.loads(lease.read_text())["owner"] == prepared.run.owner
        lease.write_text(lease.read_text().replace(prepared.run.owner, "theirs"))
        assert prepared.run.lost()
        run.tell(told)
        raise LeaseLost("taken over")

    with pytest.raises(LeaseLost):
        start(prepare(store, f"{recipe}:ours", ["steps=9"]), training=overtaken)
    assert replace(run.state(), at=0.0) == told
    Path(f"{run.folder}.lease").write_text("{")
    assert not run_in(run.folder, "ours").lost()  # nobody knows: no reason to stop


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
