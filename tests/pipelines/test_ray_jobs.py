"""A build as a job of a Ray cluster: followed, left, found again."""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipelines import ray_jobs
from pipelines.ray_jobs import Job, RunJob, _follow, arguments_of
from store.errors import MashbillError, UsageError
from store.runs import all_runs
from store.store import open_store

HERE = "http://127.0.0.1:8265"
THERE = "http://head.example:8265"
READY_S = 120.0
MASHBILL = str(Path(sys.executable).parent / "mashbill")
"""Not ``python -m``, which would take a folder named store, where it is started, for the package."""
SLOW = """
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pyarrow as pa

from pipelines.dataset import Dataset
from pipelines.recipes.l_orig import l_orig
from stages.stage import Batch, MapStage


@dataclass(frozen=True)
class Wait(MapStage):
    name: ClassVar[str] = "wait"
    version: ClassVar[int] = 1
    writes: ClassVar[pa.Schema] = pa.schema([("waited", pa.int32())])

    def open(self) -> Callable[[Batch], dict[str, Sequence[Any]]]:
        return _wait


def _wait(batch: Batch) -> dict[str, Sequence[Any]]:
    time.sleep(3)
    return {"waited": [3] * batch.size}


def slow() -> Dataset:
    return replace(l_orig(), name="slow", columns=(*l_orig().columns, Wait()))
"""


def test_the_job_is_named_after_the_build() -> None:
    arguments = arguments_of(THERE, ["min_side=200"], "s3://bucket/store", ["--max-failed-shards", "2"])
    job = Job(THERE, "l-pp", "l-pp", arguments)
    assert job.entrypoint == (
        "exec mashbill build l-pp --store s3://bucket/store --set min_side=200 --max-failed-shards 2 "
        "--ray auto --json"
    )
    assert job.name == Job(HERE, "l-pp", "l-pp", arguments).name
    assert job.name != Job(THERE, "l-pp", "l-pp", (*arguments, "--workers", "2")).name


def test_a_recipe_of_ones_own_is_sent_to_another_machine_and_not_to_this(tmp_path: Path) -> None:
    recipe = f"{tmp_path}/ours.py:ours"
    assert Job(THERE, "ours", recipe, ()).sent == tmp_path
    assert "build ours.py:ours " in Job(THERE, "ours", recipe, ()).entrypoint
    assert Job(HERE, "ours", recipe, ()).sent is None
    assert f"cd {os.getcwd()} && exec mashbill build {recipe} " in Job(HERE, "ours", recipe, ()).entrypoint


def test_the_job_of_a_run_is_named_after_the_run() -> None:
    arguments = arguments_of(THERE, [], "file:///mnt/store", [])
    job = RunJob(THERE, "tiny/0123", arguments)
    assert job.entrypoint == "exec mashbill distill tiny/0123 --queued --store file:///mnt/store"
    assert job.name == "mashbill-run-tiny-0123"


def test_a_store_of_this_machine_is_refused_for_another() -> None:
    with pytest.raises(UsageError, match="is a folder of this machine"):
        arguments_of(THERE, [], "data", [])
    assert arguments_of(HERE, [], "data", [])[:2] == ("--store", "data")


def test_a_cluster_that_does_not_answer(cli: Any, photos: Any, folder_source: Any, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    line = ["build", "l-orig", "--store", tmp_path / "store", *folder_source(photos.path)]
    done = cli(*line, "--ray", f"http://127.0.0.1:{port}")
    assert done.code == 1
    assert f"no Ray cluster answers at http://127.0.0.1:{port}" in done.message
    assert not (tmp_path / "store").exists()


class Breaking:
    """A Jobs API whose connections break where ``texts`` say so; the log is sent from its beginning."""

    def __init__(self, *texts: str | OSError) -> None:
        self.texts = list(texts)

    async def tail_job_logs(self, job_id: str) -> AsyncIterator[str]:
        text = self.texts.pop(0)
        if isinstance(text, OSError):
            raise text
        half = len(text) // 2
        yield text[:half]
        yield text[half:]

    def get_job_status(self, job_id: str) -> Any:
        return SimpleNamespace(value="RUNNING" if self.texts else "SUCCEEDED")


ANSWER = '{"dataset": "l-pp", "version": "x"}'


def test_a_broken_connection_shows_every_line_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_jobs, "PAUSE_S", 0.0)
    log, lost = io.StringIO(), ConnectionError("no route")
    text = f'one\n{{"a line": "of a recipe"}}\ntwo\n{ANSWER}\n'
    client = Breaking(lost, text[:9], lost, lost, text[:20], text)
    assert asyncio.run(_follow(client, "job-1", log)) == ANSWER
    assert log.getvalue().splitlines() == ["one", '{"a line": "of a recipe"}', "two"]


def test_a_log_that_is_lost_for_good_says_that_the_job_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_jobs, "PAUSE_S", 0.0)
    with pytest.raises(MashbillError, match=r"no route\). The job goes on"):
        asyncio.run(_follow(Breaking(*[ConnectionError("no route")] * 9), "job-1", io.StringIO()))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, dict[str, str]]]:
    """A real ``ray start --head``, its address and the environment in which it is reached."""
    with ExitStack() as held:
        free = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(6)]
        ports = [server.getsockname()[1] for server in free]
    names = ("port", "dashboard-port", "dashboard-agent-listen-port", "dashboard-agent-grpc-port")
    names += ("metrics-export-port", "ray-client-server-port")
    folder = Path(os.path.realpath(f"/tmp/mb-{secrets.token_hex(3)}"))  # sockets need a short path
    folder.mkdir()
    bin_folder = str(Path(sys.executable).parent)
    environment = os.environ | {
        "PATH": f"{bin_folder}:{os.environ['PATH']}",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_metrics_report_interval_ms": "200",
        "METRICS": f"http://127.0.0.1:{ports[4]}/metrics",
    }
    line = [f"{bin_folder}/ray", "start", "--head", "--block", "--num-cpus=2", "--disable-usage-stats"]
    line += [f"--{name}={port}" for name, port in zip(names, ports, strict=True)]
    line += [f"--temp-dir={folder}", "--object-store-memory=200000000", "--dashboard-host=127.0.0.1"]
    log = tmp_path_factory.mktemp("ray") / "start.log"
    with log.open("w") as out:
        head = subprocess.Popen(
            line,
            env=environment,
            stdout=out,
            stderr=out,
            start_new_session=True,
            cwd=Path(__file__).parents[2],
        )
    try:
        wait_for(f"http://127.0.0.1:{ports[1]}/api/version", head, log)
        yield f"http://127.0.0.1:{ports[1]}", environment
    finally:
        with suppress(ProcessLookupError):
            os.killpg(head.pid, signal.SIGTERM)
        try:
            head.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(head.pid, signal.SIGKILL)
            head.wait(10)
        subprocess.run(["rm", "-rf", str(folder)], check=False)


def wait_for(url: str, head: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + READY_S
    while time.monotonic() < end:
        assert head.poll() is None, log.read_text()
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except urllib.error.HTTPError:
            return  # it answers, and asks for the token
        except OSError:
            time.sleep(0.5)
        else:
            return
    raise AssertionError(log.read_text())


def metrics_until_the_end(build: subprocess.Popen[str], url: str) -> str:
    """Our lines of what Ray's exporter said while the build went on."""
    seen, end = set[str](), time.monotonic() + 200
    while build.poll() is None and time.monotonic() < end:
        with suppress(OSError), urllib.request.urlopen(url, timeout=5) as answer:
            text = answer.read().decode()
            seen |= {line for line in text.splitlines() if line.startswith("ray_mashbill")}
        time.sleep(0.2)
    return "\n".join(sorted(seen))


@pytest.mark.slow
def test_a_job_is_left_and_found_again(
    cluster: tuple[str, dict[str, str]],
    photos: Any,
    tmp_path: Path,
    mashbill: Any,
    folder_source: Any,
    tree: Any,
) -> None:
    address, environment = cluster
    (tmp_path / "slow.py").write_text(SLOW)
    recipe = f"{tmp_path / 'slow.py'}:slow"
    options = [*folder_source(photos.path, 2), "--set", "pack.resolutions=32", "--json"]
    here = mashbill("build", recipe, "--store", tmp_path / "local", *options, "--workers", "2")
    assert here.code == 0, here.err
    line = [MASHBILL, "build", recipe, "--store", str(tmp_path / "house")]
    line += [*map(str, options), "--ray", address]

    first = subprocess.Popen(
        line, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path
    )
    seen = ""
    assert first.stderr is not None
    for text in first.stderr:
        seen += text
        if "Running entrypoint" in seen:
            first.send_signal(signal.SIGINT)
            break
    rest = first.communicate(timeout=120)[1]
    assert first.returncode == 130, seen + rest
    assert "the job goes on" in rest

    again = subprocess.Popen(
        line, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path
    )
    metrics = metrics_until_the_end(again, environment["METRICS"])
    out, log = again.communicate(timeout=200)
    assert again.returncode == 0, log
    name = seen.split("job ", 1)[1].split(" ", 1)[0]
    assert f"job {name} on {address}" in log  # the same one, not a second
    assert "reading the source" in log
    assert re.search(r'ray_mashbill_done\{.*dataset="slow".*\} \d', metrics), metrics
    answer = json.loads(out.splitlines()[-1])
    assert answer["version"] == here.json["version"]
    assert tree(tmp_path / "house") == tree(tmp_path / "local")


@pytest.mark.slow
def test_what_fails_in_a_job_is_said_here(
    cluster: tuple[str, dict[str, str]], tmp_path: Path, folder_source: Any
) -> None:
    address, environment = cluster
    line = [MASHBILL, "build", "l-orig", "--store", str(tmp_path / "house")]
    line += [*folder_source(tmp_path / "nowhere"), "--ray", address]
    done = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=200, cwd=tmp_path)
    assert done.returncode == 1
    message = done.stderr[done.stderr.rindex("mashbill: ") :]
    assert "nowhere" in message
    assert len(message.strip().splitlines()) == 1


@pytest.mark.slow
def test_a_build_that_is_a_job_starts_its_runs_as_jobs(
    cluster: tuple[str, dict[str, str]],
    photos: Any,
    tmp_path: Path,
    folder_source: Any,
    cli: Any,
    random_models: dict[str, Path],
) -> None:
    address, environment = cluster
    house = tmp_path / "house"
    store = open_store(house, create=True)
    sets = ["dataset=l-orig", "steps=2", "resolution=32", "batch_size=2", "inference_steps=1"]
    sets.append(f"student={random_models['unet']}")
    options = [text for assignment in sets for text in ("--set", assignment)]
    assert cli("trigger", "add", "finetune-tiny", *options, "--store", house).code == 0
    line = [MASHBILL, "build", "l-orig", "--store", str(house), *map(str, folder_source(photos.path))]
    line += ["--set", "pack.resolutions=32", "--ray", address]
    for _ in range(2):  # the second build finds all done, and nothing new
        done = subprocess.run(
            line, env=environment, capture_output=True, text=True, timeout=200, cwd=tmp_path
        )
        assert done.returncode == 0, done.stderr
        (run,) = all_runs(store)
        end = time.monotonic() + 120
        while run.state().state in ("queued", "running") and time.monotonic() < end:
            time.sleep(0.5)
        assert (run.state().state, run.state().error) == ("done", None), done.stderr
        assert len(run.starts()) == 1
    assert f"trains {run.id}" not in done.stderr
