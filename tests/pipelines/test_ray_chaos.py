"""Ray under fire: workers, nodes and drivers are killed, and the store has the bytes of a quiet build."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from ray.cluster_utils import Cluster

from pipelines.attempts import DEATHS, Failed
from pipelines.ray_cluster import carried, joined_cluster
from pipelines.ray_executor import Ray
from pipelines.workers import Worker
from stages.stage import Resources

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SMALL = {"object_store_memory": 100 * 2**20}
GONE_S = 60.0
AGENTS_GONE_S = 240.0
"""Ray's own agents write nothing of ours and look for their parent now and then."""
RECIPE = '''
"""l-pp with a stage that takes its time, and dies of one image while ``trouble`` is there."""
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import pyarrow as pa

from pipelines.recipes.l_pp import l_pp
from stages.stage import MapStage, View


@dataclass(frozen=True)
class Slow(MapStage):
    """Counts bytes, slowly."""
    name: ClassVar[str] = "slow"
    version: ClassVar[int] = 1
    writes: ClassVar[pa.Schema] = pa.schema([("bytes", pa.int64())])
    view: ClassVar[View] = View.BYTES

    def open(self):
        return count


def count(batch):
    time.sleep(0.6)
    sizes = [len(image or b"") for image in batch.images]
    if {poison} in sizes and Path({trouble!r}).exists():
        os.kill(os.getpid(), signal.SIGSEGV)
    return {{"bytes": sizes}}


def slow():
    parent = l_pp()
    return replace(parent, columns=(Slow(), *parent.columns))
'''


@contextmanager
def nodes(count: int, **head: Any) -> Iterator[tuple[Cluster, list[Any]]]:
    """A head that does no work, and nodes of two CPUs."""
    folder = tempfile.mkdtemp(prefix="mbt-", dir="/tmp")
    arguments = {"num_cpus": 0, "temp_dir": folder, "include_dashboard": False, **SMALL, **head}
    cluster = Cluster(initialize_head=True, head_node_args=arguments)
    try:
        workers = [cluster.add_node(num_cpus=2, **SMALL) for _ in range(count)]
        cluster.wait_for_nodes(timeout=60)
        yield cluster, workers
    finally:
        cluster.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def trouble(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("recipe") / "trouble"


@pytest.fixture(scope="module")
def line(photos: Any, folder_source: Any, command: Any, trouble: Path) -> Callable[..., list[str]]:
    """A build of about 25 seconds of one CPU: a shard for each of 20 images."""
    recipe = trouble.parent / "slow_recipe.py"
    poison = (photos.path / "photo-03.jpg").stat().st_size
    recipe.write_text(RECIPE.format(poison=poison, trouble=str(trouble)))
    options = ["--set", "min_side=200", "--set", "pack.resolutions=32", "--set", "pack.samples_per_shard=2"]

    def arguments(store: Path, *more: str) -> list[str]:
        source = folder_source(photos.path, 1)
        return [*command[0], "build", f"{recipe}:slow", "--store", str(store), *source, *options, *more]

    return arguments


@contextmanager
def started(line: list[str], command: Any) -> Iterator[subprocess.Popen[str]]:
    pipe = subprocess.PIPE
    with subprocess.Popen(
        line, env=command[1], stdout=pipe, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as build:
        try:
            yield build
        except BaseException:
            build.kill()
            raise


def wait_for(text: str, build: subprocess.Popen[str]) -> None:
    seen = ""
    while text not in seen:
        letter = build.stdout.read(1) if build.stdout else ""
        assert letter, seen
        seen += letter


@contextmanager
def background(line: list[str], cluster: Cluster, command: Any) -> Iterator[subprocess.Popen[str]]:
    """A build that has begun with the slow stage; somebody reads what it says."""
    with started([*line, "--ray", cluster.address], command) as build:
        wait_for("slow", build)
        reader = threading.Thread(target=lambda: build.stdout.read() if build.stdout else None)
        reader.start()
        yield build
        reader.join(10)


def finish(line: list[str], command: Any) -> str:
    with started(line, command) as build:
        out, _ = build.communicate(timeout=400)
    assert build.returncode == 0, out
    return out


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory, line: Any, command: Any, tree: Any) -> dict[str, str]:
    """The files of a build on this machine that nobody disturbed."""
    store = tmp_path_factory.mktemp("quiet") / "store"
    finish(line(store, "--workers", "2"), command)
    return tree(store)


def check(store: Path, quiet: dict[str, str], tree: Any) -> None:
    assert tree(store) == quiet
    assert list((store / "tmp").iterdir()) == []


def at_work(workers: list[Any]) -> list[psutil.Process]:
    """The processes of these nodes that run a unit at this moment."""
    found = []
    for node in workers:
        for raylet in node.all_processes.get("raylet", []):
            with suppress(psutil.NoSuchProcess):
                found += psutil.Process(raylet.process.pid).children()
    busy = []
    for process in found:
        with suppress(psutil.NoSuchProcess):
            if "work_in" in " ".join(process.cmdline()):
                busy.append(process)
    return busy


@pytest.mark.parametrize("seed", range(2))
def test_workers_are_killed_at_random(
    seed: int, tmp_path: Path, line: Any, command: Any, quiet: Any, tree: Any
) -> None:
    """Never a lone one: a unit has its last try alone, and three deaths are its own fault."""
    chance, killed = random.Random(seed), 0
    with nodes(2) as (cluster, workers), background(line(tmp_path / "store"), cluster, command) as build:
        while killed < 8 and build.poll() is None:
            if len(busy := at_work(workers)) > 1:
                with suppress(psutil.NoSuchProcess):
                    chance.choice(busy).kill()
                    killed += 1
            time.sleep(0.2 + chance.random())
        assert build.wait(300) == 0
    assert killed >= 4
    check(tmp_path / "store", quiet, tree)


@pytest.mark.parametrize("graceful", [False, True])
def test_nodes_go_and_come(
    graceful: bool, tmp_path: Path, line: Any, command: Any, quiet: Any, tree: Any
) -> None:
    """Each takes its units with it, three times over: more than the tries a unit has for itself."""
    with nodes(2) as (cluster, workers), background(line(tmp_path / "store"), cluster, command) as build:
        for _ in range(3):
            time.sleep(1.0)
            cluster.remove_node(workers.pop(0), allow_graceful=graceful)
            workers.append(cluster.add_node(num_cpus=2, **SMALL))
        assert build.wait(300) == 0
    check(tmp_path / "store", quiet, tree)


@pytest.mark.parametrize("after_s", [0.5, 4.0])
def test_the_driver_is_killed(
    after_s: float, tmp_path: Path, line: Any, command: Any, quiet: Any, tree: Any
) -> None:
    """Its tasks end with it, and the same command goes on."""
    with nodes(2) as (cluster, workers):
        with started(line(tmp_path / "store", "--ray", cluster.address), command) as build:
            wait_for("slow", build)
            time.sleep(after_s)
            build.kill()
        end = time.monotonic() + GONE_S
        while at_work(workers):
            assert time.monotonic() < end
            time.sleep(0.2)
        left = tree(tmp_path / "store").items()  # the build's word and its lease are taken over later
        kept = {k: v for k, v in left if not k.startswith("builds/") and not k.endswith(".lease")}
        assert kept.items() <= quiet.items()
        finish(line(tmp_path / "store", "--ray", cluster.address), command)
    check(tmp_path / "store", quiet, tree)


def test_a_cluster_of_its_own_goes_with_the_build(
    tmp_path: Path, line: Any, command: Any, quiet: Any, tree: Any
) -> None:
    with started(line(tmp_path / "store", "--ray", "local", "--workers", "2"), command) as build:
        wait_for("slow", build)
        ours = psutil.Process(build.pid).children(recursive=True)
        assert any("raylet" in process.name() for process in ours)
        build.kill()
    writing = [process for process in ours if "Agent" not in process.name()]
    assert psutil.wait_procs(writing, timeout=GONE_S)[1] == []
    assert psutil.wait_procs(ours, timeout=AGENTS_GONE_S)[1] == []
    finish(line(tmp_path / "store", "--ray", "local", "--workers", "2"), command)
    check(tmp_path / "store", quiet, tree)


def test_a_poisoned_shard_is_set_aside_and_the_others_go_on(
    tmp_path: Path, line: Any, command: Any, quiet: Any, tree: Any, trouble: Path
) -> None:
    trouble.touch()
    try:
        with nodes(2) as (cluster, _):
            options = ["--ray", cluster.address, "--max-failed-shards", "1"]
            out = finish(line(tmp_path / "store", *options), command)
            assert "was set aside: slow" in out
            assert "1 shard_failed" in out
            finish(line(tmp_path / "local", "--workers", "2", "--max-failed-shards", "1"), command)
            assert tree(tmp_path / "store") == tree(tmp_path / "local")
            trouble.unlink()
            finish(line(tmp_path / "store", "--ray", cluster.address), command)
    finally:
        trouble.unlink(missing_ok=True)
    found = tree(tmp_path / "store")
    assert {name: found.get(name) for name in quiet} == quiet


def run(cluster: Cluster, work: Callable[[int], int], count: int, needs: Resources) -> list[Any]:
    """What the executor gives for units 0 to ``count``."""
    with joined_cluster(cluster.address), carried([sys.modules[__name__]]):
        return list(Ray(Worker.like_this(), {}).run(work, list(range(count)), needs))


def swell(unit: int) -> int:
    """Work for executors: unit 3 takes all the memory it can get."""
    taken = []
    while unit == 3:
        taken.append(bytearray(os.urandom(1 << 20) * 50))
        time.sleep(0.01)
    time.sleep(0.2)
    return unit


def test_a_unit_that_takes_all_memory_is_set_aside() -> None:
    memory = psutil.virtual_memory()
    limit = (memory.total - memory.available + 3 * 2**30) / memory.total
    config = {"memory_usage_threshold": limit, "memory_monitor_refresh_ms": 100}
    with nodes(1, _system_config=config) as (cluster, _):
        found = run(cluster, swell, 8, Resources())
    failed = [item for item in found if isinstance(item, Failed)]
    assert [(item.unit, item.tries) for item in failed] == [(3, DEATHS)]
    assert "out of memory" in failed[0].error
    assert sorted(item for item in found if not isinstance(item, Failed)) == [0, 1, 2, 4, 5, 6, 7]


def test_a_node_that_dies_under_an_actor() -> None:
    with nodes(0) as (cluster, _):
        first, _second = (cluster.add_node(num_cpus=1, num_gpus=1, **SMALL) for _ in range(2))
        cluster.wait_for_nodes(timeout=60)
        change = threading.Timer(5.0, cluster.remove_node, (first,), {"allow_graceful": False})
        change.start()
        found = run(cluster, linger, 24, Resources(gpus=1.0))
        change.join(60)
    assert sorted(found) == list(range(24))


def linger(unit: int) -> int:
    """Work for executors that takes half a second."""
    time.sleep(0.5)
    return unit
