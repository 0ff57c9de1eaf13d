"""Builds on a Ray cluster: the same store, GPU stages on actors, and what is refused before work starts."""

from __future__ import annotations

import http.server
import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.cluster_utils import Cluster

from pipelines.attempts import DEATHS, RAISES, Failed
from pipelines.placement import Place, granted, modules_of
from pipelines.ray_cluster import carried, joined_cluster
from pipelines.ray_executor import Ray
from pipelines.recipes.l_pp import l_pp
from pipelines.workers import Worker
from stages.stage import Resources
from store.errors import UsageError

SMALL = {"object_store_memory": 100 * 2**20}
GPU_RECIPE = '''
"""l-orig with a stage that needs a GPU and says who opened it."""
import os
from dataclasses import dataclass, replace
from typing import ClassVar

import pyarrow as pa

from pipelines.recipes.l_orig import l_orig
from stages.stage import MapStage, Resources, View


@dataclass(frozen=True)
class Big(MapStage):
    """Counts bytes with a model that takes a GPU."""
    name: ClassVar[str] = "big"
    version: ClassVar[int] = 1
    writes: ClassVar[pa.Schema] = pa.schema([("bytes", pa.int64())])
    view: ClassVar[View] = View.BYTES
    resources: ClassVar[Resources] = Resources(gpus=1.0)

    def open(self):
        with open({log!r}, "a") as log:
            log.write(f"{{os.getpid()}} {{os.environ.get('CUDA_VISIBLE_DEVICES')}}\\n")
        return lambda batch: {{"bytes": [len(image or b"") for image in batch.images]}}


def big():
    parent = l_orig()
    return replace(parent, name="big", columns=(*parent.columns, Big()))
'''


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A head that does no work, and a node of two CPUs and two GPUs that are names only."""
    folder = tempfile.mkdtemp(prefix="mbt-", dir="/tmp")
    head = {"num_cpus": 0, "temp_dir": folder, "include_dashboard": False, **SMALL}
    made = Cluster(initialize_head=True, head_node_args=head)
    made.add_node(num_cpus=2, num_gpus=2, **SMALL)
    made.wait_for_nodes(timeout=60)
    yield made
    made.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def line(photos: Any, folder_source: Any) -> Callable[..., list[Any]]:
    def arguments(store: Path, recipe: str = "l-pp") -> list[Any]:
        options = ["--set", "pack.resolutions=32,0", "--set", "pack.samples_per_shard=4", "--json"]
        smallest = ["--set", "min_side=200"] if recipe == "l-pp" else []
        return ["build", recipe, "--store", store, *folder_source(photos.path, 4), *options, *smallest]

    return arguments


@pytest.fixture(scope="module")
def serial(tmp_path_factory: pytest.TempPathFactory, line: Any, cli: Any, tree: Any) -> dict[str, str]:
    """The files of the build without a cluster."""
    store = tmp_path_factory.mktemp("serial") / "store"
    done = cli(*line(store), "--workers", "1")
    assert done.code == 0, done.err
    return tree(store)


def test_a_cluster_makes_the_same_store(
    tmp_path: Path, cluster: Cluster, line: Any, cli: Any, serial: Any, tree: Any
) -> None:
    done = cli(*line(tmp_path / "store"), "--ray", cluster.address)
    assert done.code == 0, done.err
    assert len(done.out.splitlines()) == 1
    assert tree(tmp_path / "store") == serial
    assert list((tmp_path / "store" / "tmp").iterdir()) == []
    assert not ray.is_initialized()


def test_ray_local_is_a_cluster_of_its_own(
    tmp_path: Path, cluster: Cluster, line: Any, command: Any, serial: Any, tree: Any
) -> None:
    """Even where the environment names a stranger's; and nothing of it stays behind."""
    before = set(Path("/tmp").glob("mb-*"))
    environment = command[1] | {"RAY_ADDRESS": cluster.address}
    arguments = [*command[0], *map(str, line(tmp_path / "store")), "--ray", "local", "--workers", "2"]
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert tree(tmp_path / "store") == serial
    assert set(Path("/tmp").glob("mb-*")) <= before
    with joined_cluster(cluster.address):
        jobs = ray._private.state.jobs()
        assert not any(str(tmp_path) in job["Entrypoint"] for job in jobs)


def half(unit: tuple[int, str]) -> int:
    """Work for executors: half of a number, or trouble."""
    number, how = unit
    if how == "raises":
        raise ValueError(f"{number} is odd")
    if how == "usage":
        raise UsageError("no numbers here")
    if how == "dies":
        os.kill(os.getpid(), signal.SIGSEGV)
    return number // 2


def outcomes(units: Sequence[tuple[int, str]], needs: Resources) -> tuple[list[int], list[Failed[Any]]]:
    found = list(Ray(Worker.like_this(), {}).run(half, units, needs))
    failed = [item for item in found if isinstance(item, Failed)]
    return sorted(item for item in found if not isinstance(item, Failed)), failed


@pytest.mark.parametrize("needs", [Resources(), Resources(gpus=0.5)], ids=["tasks", "actors"])
def test_units_that_fail_are_tried_again_and_the_others_go_on(cluster: Cluster, needs: Resources) -> None:
    trouble = {4: "raises", 8: "dies"}
    with joined_cluster(cluster.address), carried([sys.modules[__name__]]):
        done, failed = outcomes([(n, trouble.get(n, "")) for n in range(0, 20, 2)], needs)
        with pytest.raises(UsageError, match="no numbers here"):
            outcomes([(2, "usage"), (4, "")], needs)
    assert done == [0, 1, 3, 5, 6, 7, 8, 9]
    found = {f.unit[0]: (f.tries, f.error) for f in failed}
    assert found[4] == (RAISES, "ValueError: 4 is odd")
    assert found[8][0] == DEATHS
    assert "worker process died" in found[8][1]


def test_a_gpu_stage_opens_its_model_once_in_each_actor(
    tmp_path: Path, cluster: Cluster, line: Any, cli: Any
) -> None:
    """Two actors of a CPU and a GPU each fill the two CPUs there are, and starve nobody."""
    file = tmp_path / f"big_{os.getpid()}.py"
    file.write_text(GPU_RECIPE.format(log=str(tmp_path / "log")))
    done = cli(*line(tmp_path / "store", f"{file}:big"), "--ray", cluster.address)
    assert done.code == 0, done.err
    opened = [entry.split() for entry in (tmp_path / "log").read_text().splitlines()]
    assert len({pid for pid, _ in opened}) == len(opened) <= 2
    assert {gpu for _, gpu in opened} <= {"0", "1"}
    again = cli(*line(tmp_path / "plain", f"{file}:big"), "--workers", "1")
    assert again.json["version"] == done.json["version"]


@pytest.mark.parametrize(("gpus", "actors"), [(0.5, 4), (2.0, 1)])
def test_a_gpu_is_shared_or_several_are_held(gpus: float, actors: int, cluster: Cluster) -> None:
    with joined_cluster(cluster.address), carried([sys.modules[__name__]]):
        needs = Resources(cpus=0.5, gpus=gpus)
        held = list(Ray(Worker.like_this(), {}).run(who, list(range(12)), needs))
    assert len({pid for pid, _ in held}) <= actors
    assert {gpu for _, gpu in held} <= ({"0", "1"} if gpus < 1 else {"0,1", "1,0"})


def who(unit: int) -> tuple[int, str]:
    """Work for executors: the process, and the GPUs it sees."""
    time.sleep(0.1)
    return os.getpid(), os.environ["CUDA_VISIBLE_DEVICES"]


def test_what_a_recipe_file_defines_travels(tmp_path: Path, command: Any) -> None:
    """To workers that cannot import it; and two copies of a stage are one model."""
    folder = tmp_path / f"apart_{os.getpid()}"
    folder.mkdir()
    (folder / "beside.py").write_text("def helped(text):\n    return text.upper()\n")
    (folder / "own.py").write_text(
        "import beside\nfrom dataclasses import dataclass\n\n"
        "@dataclass(frozen=True)\nclass Stage:\n    field: int = 3\n\n"
        "    def say(self):\n        return beside.helped('it works')\n"
    )
    sys.path.append(str(folder))
    try:
        import own  # type: ignore[import-not-found]
    finally:
        sys.path.remove(str(folder))
    modules = modules_of(f"{folder}/own.py:recipe")
    assert {module.__name__ for module in modules} == {"own", "beside"}
    with carried(modules):
        sent = [ray.cloudpickle.dumps(own.Stage()), ray.cloudpickle.dumps(own.Stage())]
    (tmp_path / "sent").write_bytes(pickle.dumps(sent))
    script = (
        f"import pickle; a, b = map(pickle.loads, pickle.load(open({str(tmp_path / 'sent')!r}, 'rb')))\n"
        "print(a.say(), a == b)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stdout == "IT WORKS True\n", done.stderr


def refused(cli: Any, line: Any, store: Path, *options: str) -> str:
    """The message of a build that stops before it reads anything."""
    done = cli(*line(store), *options)
    assert done.code in (1, 2), done.out
    assert not (store / "sources").exists(), done.message
    assert len(done.message.splitlines()) == 1
    return str(done.message)


def test_an_address_that_does_not_answer(tmp_path: Path, line: Any, cli: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        said = refused(cli, line, tmp_path / "a", "--ray", f"127.0.0.1:{port}")
        assert "no answer there (timed out)" in said
    said = refused(cli, line, tmp_path / "b", "--ray", f"127.0.0.1:{port}")
    assert "no answer there" in said
    assert "ray start --head" in said
    for address in ("everywhere", "ray://127.0.0.1:10001"):
        said = refused(cli, line, tmp_path / "c", "--ray", address)
        assert "expected off, local, auto" in said


def test_an_address_where_something_else_answers(tmp_path: Path, line: Any, cli: Any) -> None:
    class Quiet(http.server.BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        said = refused(cli, line, tmp_path / "a", "--ray", f"127.0.0.1:{server.server_port}")
        server.shutdown()
    assert "what answers there is not Ray" in said


def test_a_cluster_without_what_a_stage_needs(tmp_path: Path, cluster: Cluster, line: Any, cli: Any) -> None:
    options = ["--ray", cluster.address, "--resources"]
    said = refused(cli, line, tmp_path / "a", *options, "decode=gpu:4")
    assert "decode needs a node with 1 CPU, 4 GPU; no node of the cluster can give that" in said
    assert "--resources decode=" in said
    assert "5 laser" in refused(cli, line, tmp_path / "b", *options, "decode=laser:5")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("decode=gpu:1.5", "whole number"),
        ("decode=gpu", "no NAME:AMOUNT"),
        ("decode=cpu:-1", "no NAME:AMOUNT"),
        ("nobody=cpu:1", "no map stage 'nobody'; there are: content_hash"),
    ],
)
def test_resources_that_cannot_be(text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        granted(Place("local", 1, (text,)), l_pp())


def test_resources_change_what_a_stage_declares(tmp_path: Path, line: Any, cli: Any) -> None:
    texts = ("decode=gpu:0.5,laser:2", "decode=memory_gb:1", "size=cpu:2")
    grants = granted(Place("local", 1, texts), l_pp())
    assert grants["decode"] == Resources(1.0, 0.5, 1.0, (("laser", 2.0),))
    assert grants["size"] == Resources(cpus=2.0)
    assert "on a cluster only" in refused(cli, line, tmp_path / "a", "--resources", "decode=gpu:1")


def test_a_store_that_workers_do_not_see(cluster: Cluster, line: Any, cli: Any) -> None:
    done = cli(*line("memory://of-the-driver/store"), "--ray", cluster.address)  # type: ignore[arg-type]
    assert done.code == 1
    assert "does not see the store memory://" in done.message
    assert "s3://bucket/store" in done.message


def test_workers_of_another_version(
    tmp_path: Path, cluster: Cluster, line: Any, cli: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "site" / "pillow-0.0.7.dist-info"
    other.mkdir(parents=True)
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: pillow\nVersion: 0.0.7\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    node = cluster.add_node(num_cpus=1, **SMALL)
    monkeypatch.undo()
    cluster.wait_for_nodes(timeout=60)
    try:
        said = refused(cli, line, tmp_path / "store", "--ray", cluster.address)
    finally:
        cluster.remove_node(node)
    assert "has other versions: pillow " in said
    assert "here, 0.0.7 there" in said


def test_an_interrupt_ends_with_130_and_goes_on(
    tmp_path: Path, cluster: Cluster, line: Any, command: Any, serial: Any, tree: Any, cli: Any
) -> None:
    arguments = [*command[0], *map(str, line(tmp_path / "store")), "--ray", cluster.address]
    pipe = subprocess.PIPE
    with subprocess.Popen(arguments, env=command[1], stdout=pipe, stderr=pipe, text=True) as build:
        seen = ""
        while "reading the source" not in seen:
            letter = build.stderr.read(1) if build.stderr else ""
            assert letter, seen
            seen += letter
        build.send_signal(signal.SIGINT)
        _, err = build.communicate(timeout=60)
        assert build.returncode == 130, err
    assert "Traceback" not in err
    assert err.rstrip().endswith("interrupted; the same command goes on from here")
    assert cli(*line(tmp_path / "store"), "--ray", cluster.address).code == 0
    assert tree(tmp_path / "store") == serial
