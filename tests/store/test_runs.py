"""Runs on disk: their record, their state, who is at work on them, and what they stand on."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from store.errors import MashbillError
from store.lineage import lineage, runs_of
from store.location import this_host
from store.runs import RunAt, RunState, all_runs, find_run, run_at, run_in
from store.store import Store, open_store

ROOT = Path(__file__).resolve().parents[2]
AT_WORK = """
import sys
from store.errors import MashbillError
from store.runs import run_in
try:
    with run_in(sys.argv[1]).at_work():
        print("works", flush=True)
        sys.stdin.readline()
except MashbillError as error:
    print(error, flush=True)
"""


def record(**other: Any) -> dict[str, Any]:
    made = {
        "name": "tiny",
        "recipe": {"reference": "tiny", "assignments": ["steps=2"], "dataset": "l-orig@latest"},
        "run": {"name": "tiny", "steps": 2, "method": {"teacher": "tiny/teacher"}},
        "student": "tiny/student@main",
        "dataset": "l-orig",
        "version": "4f9a00000000",
        "pack": "64",
        "created": 1.5,
        "triggered_by": None,
    }
    return made | other


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path / "store", create=True)


@pytest.fixture
def run(store: Store) -> RunAt:
    made = run_at(store, "tiny", "0123456789ab")
    assert made.create(record())
    return made


@contextmanager
def worker(run: RunAt) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Another process that wants to work on the run, and the first thing it says."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", AT_WORK, run.folder],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


def test_a_record_is_written_once(run: RunAt) -> None:
    assert not run.create(record(name="other"))
    assert run.record()["name"] == "tiny"
    assert run.id == "tiny/0123456789ab"
    assert run_in(run.folder).record() == run.record()


def test_states_follow_what_was_told(run: RunAt) -> None:
    assert run.state() == RunState("queued", 0, 0)
    run.tell(RunState("failed", 3, 10, "the loss is nan"))
    said = run.state()
    assert (said.state, said.step, said.steps, said.error) == ("failed", 3, 10, "the loss is nan")
    assert abs(said.at - time.time()) < 60
    (run.location / "summary.json").write_json({"loss": 1.0})
    assert run.state().state == "done"  # however it was killed after the last word
    assert run.summary() == {"loss": 1.0}


def test_the_queue_is_entered_once_and_never_over_something_else(run: RunAt) -> None:
    assert run.queue(10)
    assert run.state().at > 0
    run.tell(RunState("running", 1, 10))
    assert not run.queue(10)
    assert run.state().state == "running"


def test_starts_are_counted(run: RunAt) -> None:
    run.add_start(0, queued=True)
    run.add_start(5, queued=False)
    assert [(start["step"], start["queued"], start["pid"]) for start in run.starts()] == [
        (0, True, os.getpid()),
        (5, False, os.getpid()),
    ]


def test_the_second_process_hears_who_is_at_work(run: RunAt) -> None:
    with worker(run) as (first, says):
        assert says == "works"
        with worker(run) as (_, second):
            assert second.startswith(f"process {first.pid} on ")
            assert "is at work on run tiny/0123456789ab" in second
        holder = run.holder()
        assert holder is not None
        assert holder.pid == first.pid


def test_a_run_whose_process_was_killed_is_stopped_and_can_be_taken(run: RunAt) -> None:
    run.tell(RunState("running", 7, 10))
    with worker(run) as (first, says):
        assert says == "works"
        assert run.shown() == "running"
        first.send_signal(signal.SIGKILL)
        first.wait(20)
    assert run.shown() == "stopped"
    with run.at_work():
        assert run.shown() == "running"
    assert run.holder() is None


def test_several_who_take_over_from_the_dead_are_one_in_the_end(run: RunAt) -> None:
    with worker(run) as (first, _):
        first.send_signal(signal.SIGKILL)
        first.wait(20)
    with worker(run) as (_, one), worker(run) as (_, two), worker(run) as (_, three):
        assert sorted(text == "works" for text in (one, two, three)) == [False, False, True]


def test_of_another_host_the_beat_tells(run: RunAt, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("store.runs.PATIENCE_S", 0.5)
    monkeypatch.setattr("store.runs.BEAT_S", 0.5)
    there = {"host": "elsewhere-1", "pid": 1, "owner": "theirs", "started": 0.0, "beat": 1}
    lease = Path(f"{run.folder}.lease")
    lease.write_text(json.dumps(there))
    assert run.holder() is not None
    with run.at_work():  # it stood still
        assert run.holder() is not None
        assert json.loads(lease.read_text())["host"] == this_host()
    lease.write_text(json.dumps(there))
    os.utime(lease, (time.time() - 60, time.time() - 60))
    assert run.holder() is None


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("run.json", "{", "run.json is not valid JSON"),
        ("run.json", "[]", "run.json holds list, expected an object"),
        ("run.json", '{"name": "tiny"}', "run.json is not the record of a run: recipe, run, student"),
        ("state.json", '{"state": "running"', "state.json is not valid JSON"),
        (
            "state.json",
            '{"state": "asleep", "step": 1, "steps": 2}',
            "state.json is not as mashbill wrote it",
        ),
        ("state.json", '{"what": 1}', "state.json is not as mashbill wrote it"),
        ("starts.json", "{}", "starts.json is not as mashbill wrote it"),
        ("summary.json", "3", "summary.json holds int"),
    ],
)
def test_damage_names_the_file_and_the_mend(run: RunAt, name: str, text: str, says: str) -> None:
    Path(run.folder, name).write_text(text)
    with pytest.raises(MashbillError) as caught:
        {"run": run.record, "state": run.state, "starts": run.starts, "summary": run.summary}[
            name.removesuffix(".json")
        ]()
    assert says in str(caught.value)
    assert run.folder in str(caught.value)
    assert any(word in str(caught.value) for word in ("Restore", "Remove"))


def test_runs_are_found_by_the_first_characters(store: Store, run: RunAt) -> None:
    run_at(store, "tiny", "0199").create(record())
    assert [found.id for found in all_runs(store)] == ["tiny/0123456789ab", "tiny/0199"]
    assert find_run(store, "tiny/012").id == run.id
    with pytest.raises(MashbillError, match="fits more than one run: tiny/0123456789ab, tiny/0199"):
        find_run(store, "tiny/01")
    with pytest.raises(MashbillError, match="'huge/01' is no run in"):
        find_run(store, "huge/01")


def test_runs_live_on_a_local_disk() -> None:
    remote = open_store("memory://runs-of-nobody", create=True)
    assert all_runs(remote) == []
    with pytest.raises(MashbillError, match="runs are written to a local disk"):
        run_at(remote, "tiny", "01")


def test_lineage_both_ways(built: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    folder, result = built
    shutil.copytree(folder, tmp_path / "store")
    store = open_store(tmp_path / "store")
    run = run_at(store, "tiny", "aa")
    run.create(record(version=result["version"]))
    run_at(store, "tiny", "bb").create(record())
    Path(store.runs.path, "tiny", "cc").mkdir()
    Path(store.runs.path, "tiny", "cc", "run.json").write_text("{")

    name = f"l-orig@{result['version']}"
    assert [found.id for found in runs_of(store, name)] == ["tiny/aa", "tiny/cc"]  # nobody knows of cc
    assert [found.id for found in runs_of(store, "l_orig")] == ["tiny/aa", "tiny/bb", "tiny/cc"]
    with pytest.raises(MashbillError, match="no dataset 'l-none'"):
        runs_of(store, "l-none")

    made = lineage(store, run)
    assert made["there"]
    assert made["models"] == {"teacher": "tiny/teacher"}
    assert made["source"]["settings"]["kind"] == "folder"
    assert [stage["name"] for stage in made["stages"]][:2] == ["content_hash", "size"]
    assert made["kept"] == result["kept"]
    assert made["dataset_recipe"]["pack"]["resolutions"] == [64, 0]
    assert made["decisions"] == []
    assert set(made["pack"]["files"]) >= {"packs/64/pack.json", "packs/64/train-00000.tar"}
    gone = lineage(store, run_at(store, "tiny", "bb"))
    assert not gone["there"]
    assert "source" not in gone
