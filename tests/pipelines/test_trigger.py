"""Triggers: every new version starts its runs once, whoever looks, and whatever is killed."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from pipelines.distill import prepare, waits
from pipelines.run_queue import Queue
from pipelines.trigger import add, look, look_afresh, subscriptions, unanswered
from pipelines.trigger_options import TOKEN
from pipelines.webhook import listening
from store.errors import MashbillError, UsageError
from store.runs import RunAt, RunState, all_runs
from store.store import Store, open_store

WAIT_S = 120.0
RECIPE = """
from dataclasses import replace
from distill_runs.recipes.finetune_tiny import finetune_tiny

def ours():
    run = finetune_tiny()
    stage = run.stages[0]
    stage = replace(stage, data=replace(stage.data, resolution={resolution}))
    return replace(run, name="ours", dataset="l_orig@latest", stages=(stage,))
"""


@pytest.fixture(scope="module")
def small(random_models: dict[str, Path]) -> list[str]:
    """A run of two steps on the packs of ``build``."""
    settings = ["resolution=32", "steps=2", "batch_size=2", "samples.count=1", "inference_steps=1"]
    return [*settings, f"student={random_models['pixart']}", "min_snr=none", "dataset=l-orig"]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path / "store", create=True)


@pytest.fixture
def build(cli: Any, photos: Any, folder_source: Any, store: Store) -> Callable[..., Any]:
    """Builds l-orig; each number makes another version."""

    def run(number: int, *more: str) -> Any:
        options = ["--store", store.url, "--workers", "1", "--json", "--set", "pack.resolutions=32"]
        options += ["--set", f"pack.quality={80 + number}"]
        done = cli("build", "l-orig", *options, *folder_source(photos.path), *more)
        assert done.code == 0, done.err
        return done

    return run


def sets(assignments: list[str]) -> list[str]:
    return [text for assignment in assignments for text in ("--set", assignment)]


def only_run(store: Store) -> RunAt:
    (run,) = all_runs(store)
    return run


def until(true: Callable[[], object]) -> None:
    end = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


@contextmanager
def watcher(store: Store, command: Any, *options: str) -> Iterator[subprocess.Popen[str]]:
    line, environment = command
    with subprocess.Popen(
        [*line, "trigger", "--store", store.url, *options],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        timer = threading.Timer(WAIT_S, process.kill)
        timer.start()
        try:
            yield process
        finally:
            timer.cancel()
            process.kill()


def test_a_build_queues_the_run_of_its_version_once(
    build: Any, store: Store, cli: Any, tmp_path: Path, small: list[str]
) -> None:
    first = build(1)
    assert "trigger" not in first.err
    line = ["trigger", "add", "finetune_tiny", "--store", store.url, *sets(small)]
    done = cli(*line)
    assert (done.code, done.out) == (0, "finetune-tiny: runs for every new l-orig\n")
    assert "is there already" in cli(*line).out

    build(1)
    assert all_runs(store) == []  # that version was there before the trigger
    second = build(2)
    run = only_run(store)
    assert f"trigger finetune-tiny: {run.id} for version {second.json['version']}" in second.err
    assert "`mashbill trigger --watch" in second.err
    record = run.record()
    assert (record["version"], record["recipe"]["dataset"]) == (second.json["version"], "l-orig")
    assert record["triggered_by"] == {"trigger": "finetune-tiny", "version": second.json["version"]}
    assert waits(run)

    run.tell(RunState("failed", 1, 2, "nan"))
    for _ in range(2):
        assert "trigger" not in build(2).err
        assert look(store) == []
    build(1)  # an old version that is the newest again
    assert [found.id for found in all_runs(store)] == [run.id]
    assert not waits(run)
    assert cli("trigger", "retry", run.id, "--store", store.url).code == 0
    assert waits(run)


def test_looking_again_after_any_kill_adds_nothing(build: Any, store: Store, small: list[str]) -> None:
    add(store, "finetune-tiny", small, now=False)
    build(1)
    run = only_run(store)
    answer = store.root / "triggers" / "finetune-tiny" / f"{run.record()['version']}.json"
    before = run.record()
    answer.remove()  # killed before the version was answered
    assert [found.run for found in look(store)] == [run.id]
    (run.location / "state.json").remove()  # killed before the run was queued
    answer.remove()
    assert not waits(run)
    assert look_afresh(store)[0].run == run.id
    assert waits(run)
    answer.remove()
    run.tell(RunState("running", 1, 2))  # and started since
    look(store)
    assert run.state().state == "running"
    assert run.record() == before
    assert unanswered(store) == []


def test_many_looking_at_once_are_one(build: Any, store: Store, small: list[str]) -> None:
    build(1)
    add(store, "finetune-tiny", small, now=True)
    threads = [threading.Thread(target=look, args=(store,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert waits(only_run(store))
    assert unanswered(store) == []


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        ([], 2, "trigger: say add, remove, list or retry"),
        (["add", "no-such-recipe"], 2, "there are: "),
        (["add", "finetune-tiny", "--set", "dataset=l-orig@4f9a"], 2, "no new version replaces"),
        (["add", "finetune-tiny", "--set", "name=x.json"], 2, "cannot name a folder"),
        (["remove", "nobody"], 1, "no trigger 'nobody' in"),
        (["retry", "tiny/01"], 1, "'tiny/01' is no run in"),
        (["retry", "tiny@01"], 1, "no version 'tiny@01' failed"),
        (["--watch", "--slots", "0"], 2, "expected 1 or more"),
        (["--listen", "8418", "--once"], 2, "expected HOST:PORT"),
    ],
)
def test_refusals(options: list[str], code: int, says: str, store: Store, cli: Any) -> None:
    done = cli("trigger", *options, "--store", store.url)
    assert done.code == code, done.err
    assert says in done.err
    assert subscriptions(store) == []


def test_two_triggers_need_two_names(store: Store, cli: Any) -> None:
    line = ["trigger", "add", "finetune-tiny", "--store", store.url]
    assert cli(*line).code == 0
    done = cli(*line, "--set", "steps=3")
    assert done.code == 2
    assert "--set name=ANOTHER" in done.message
    assert cli(*line, "--set", "steps=3", "--set", "name=three").code == 0
    listed = cli("trigger", "list", "--json", "--store", store.url).json["triggers"]
    assert [(one["name"], one["dataset"]) for one in listed] == [("finetune-tiny", "l-pp"), ("three", "l-pp")]
    assert "three: finetune-tiny --set steps=3" in cli("trigger", "list", "--store", store.url).out
    assert cli("trigger", "remove", "finetune_tiny", "--store", store.url).code == 0
    assert [one.name for one in subscriptions(store)] == ["three"]


def test_a_version_of_which_no_run_can_be_made_is_said_once_and_retried_by_hand(
    build: Any, store: Store, cli: Any, tmp_path: Path
) -> None:
    recipe = tmp_path / "ours_to_mend.py"
    recipe.write_text(RECIPE.format(resolution=64))
    add(store, f"{recipe}:ours", [], now=False)
    done = build(1)  # the build is fine
    version = done.json["version"]
    assert f"no run for version {version}: l-orig@{version} has no pack of 64 px" in done.err
    assert "no pack" not in build(1).err
    assert "no run: " in cli("trigger", "list", "--store", store.url).out
    recipe.write_text(RECIPE.format(resolution=32))
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    line = [sys.executable, "-m", "pipelines", "trigger", "retry", f"ours@{version}", "--store", store.url]
    subprocess.run(line, env=environment, check=True, capture_output=True, timeout=WAIT_S)
    assert waits(only_run(store))


def test_a_damaged_trigger_is_named_and_fails_no_build(build: Any, store: Store, cli: Any) -> None:
    (store.root / "triggers" / "mine.json").write_json({"name": "mine"})
    done = build(1)
    assert "is built, but its triggers could not be served" in done.err
    assert "mine.json is not as mashbill wrote it" in done.err
    assert cli("trigger", "--once", "--store", store.url).code == 1


def test_a_recipe_that_changed_in_the_queue_fails_the_run_and_not_another(
    build: Any, store: Store, cli: Any, tmp_path: Path
) -> None:
    recipe = tmp_path / "ours_that_changes.py"
    recipe.write_text(RECIPE.format(resolution=32))
    add(store, f"{recipe}:ours", [], now=False)
    build(1)
    run = only_run(store)
    recipe.write_text(RECIPE.format(resolution=16))
    done = cli("trigger", "--once", "--store", store.url)
    assert done.code == 1
    assert f"not done: {run.id}" in done.message
    state = run.state()
    assert state.state == "failed"
    assert f"no longer gives run {run.id}: it has another stages" in str(state.error)
    assert run.starts() == []
    assert cli("trigger", "--once", "--store", store.url).code == 0  # a failed run is left alone
    assert only_run(store).id == run.id


def test_a_run_that_dies_without_getting_further_is_left(store: Store, build: Any, small: list[str]) -> None:
    add(store, "finetune-tiny", small, now=False)
    build(1)
    run = only_run(store)

    def dies(at_step: int) -> None:
        run.add_start(run.state().step, queued=True)
        run.tell(RunState("running", at_step, 100))

    dies(10)
    assert waits(run)
    dies(20)
    assert waits(run)
    dies(20)
    assert not waits(run)
    run.add_start(20, queued=False)  # by hand
    run.tell(RunState("running", 50, 100))
    assert not waits(run)


def test_only_what_waits_is_started_from_the_queue(
    store: Store, build: Any, cli: Any, small: list[str]
) -> None:
    build(1)
    add(store, "finetune-tiny", small, now=True)
    run_id = str(look(store)[0].run)
    run = only_run(store)
    run.tell(RunState("failed", 0, 2, "nan"))
    done = cli("distill", run_id, "--queued", "--store", store.url)
    assert (done.code, run.starts()) == (1, [])
    assert "does not wait in the queue: it is failed" in done.message
    assert cli("distill", run_id, "--set", "steps=3", "--store", store.url).code == 2
    assert cli("distill", "finetune-tiny", "--queued", "--store", store.url).code == 2


def test_slots_count_what_others_run_here(store: Store, build: Any, small: list[str]) -> None:
    build(1)
    add(store, "finetune-tiny", small, now=True)
    add(store, "finetune-tiny", [*small, "name=second", "seed=2"], now=True)
    look(store)
    first, second = all_runs(store)
    said: list[str] = []
    queue = Queue(store, 1, said.append)
    with first.at_work():
        assert queue._fill() == 1
    assert queue.children == {}
    assert waits(second)


def test_the_webhook_looks_at_once(
    store: Store, build: Any, monkeypatch: pytest.MonkeyPatch, small: list[str]
) -> None:
    version = build(1).json["version"]
    add(store, "finetune-tiny", small, now=True)
    monkeypatch.setenv(TOKEN, "secret")

    def post(
        url: str, body: str, token: str = "secret", path: str = "/versions", method: str = "POST"
    ) -> Any:
        connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=20)
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        found = answer.status, json.loads(answer.read())
        connection.close()
        return found

    with listening(store, "127.0.0.1:0", lambda: look_afresh(store)) as url:
        assert post(url, '{"dataset": "l-orig"}', token="wrong")[0] == 401
        assert post(url, '{"dataset": "l-orig"}', path="/")[0] == 404
        assert post(url, '{"dataset": "l-none"}')[1]["error"].startswith(
            "no dataset 'l-none'; there are: l-orig"
        )
        assert post(url, "[]")[0] == post(url, "{")[0] == post(url, '{"dataset": 3}')[0] == 400
        assert post(url, "x" * 70_000)[0] == 413
        assert post(url, "", method="GET")[0] == 405
        assert all_runs(store) == []
        status, said = post(url, '{"dataset": "l_orig"}')
        assert status == 200
        run = only_run(store)
        assert said == {
            "answered": [{"trigger": "finetune-tiny", "version": version, "run": run.id, "error": None}]
        }
        assert post(url, '{"dataset": "l-orig"}')[1] == {"answered": []}
        with pytest.raises(MashbillError, match="cannot listen there"), listening(store, url[7:], list):
            pass
    assert waits(run)


def test_an_address_of_others_needs_a_token(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TOKEN, raising=False)
    with pytest.raises(UsageError, match=TOKEN), listening(store, "0.0.0.0:0", list):
        pass


def test_killed_between_queueing_and_start_and_two_watchers_after(
    build: Any, store: Store, command: Any, cli: Any, small: list[str]
) -> None:
    version = build(1).json["version"]
    other = prepare(store, "finetune-tiny", [*small, "name=other"]).run
    add(store, "finetune-tiny", small, now=True)
    with other.at_work(), watcher(store, command, "--watch") as first:  # which takes the only slot
        assert first.stderr
        assert f"for version {version}" in first.stderr.readline()
        first.kill()
        first.wait(WAIT_S)
    shutil.rmtree(other.folder)
    run = only_run(store)
    assert (waits(run), run.starts()) == (True, [])
    with watcher(store, command, "--once") as one, watcher(store, command, "--once") as two:
        ends = [process.wait(WAIT_S) for process in (one, two)]
        said = [process.stderr.read() if process.stderr else "" for process in (one, two)]
    assert ends == [0, 0], said
    assert run.state().state == "done", said
    assert len(run.starts()) == 1
    assert (run.summary() or {})["version"] == version
    assert Path(run.folder, "model", "model_index.json").exists()

    again = cli("distill", run.id, "--store", store.url, "--json").json  # and by hand it is found done
    assert (again["run"], again["reused"]) == (run.id, True)
    assert cli("trigger", "retry", run.id, "--store", store.url).code == 1
    assert not Path(f"{run.folder}.lease").exists()


def test_an_interrupted_watcher_leaves_its_run_in_the_queue(
    build: Any, store: Store, command: Any, small: list[str]
) -> None:
    build(1)
    add(store, "finetune-tiny", small, now=True)
    with watcher(store, command, "--watch") as first:
        until(lambda: all_runs(store) and only_run(store).state().state == "running")
        run = only_run(store)
        with suppress(ProcessLookupError):
            first.send_signal(signal.SIGINT)
        assert first.wait(WAIT_S) == 130
    assert run.holder() is None
    assert waits(run), run.state()


def test_a_failed_start_says_why(build: Any, store: Store, cli: Any, small: list[str]) -> None:
    build(1)
    done = cli("distill", "finetune-tiny", "--store", store.url, *sets(small), "--set", "split=nothing")
    assert done.code in (1, 2), done.out
    run = only_run(store)
    assert run.state().state == "failed"
    assert str(run.state().error) in done.err
    assert run.record()["triggered_by"] is None
