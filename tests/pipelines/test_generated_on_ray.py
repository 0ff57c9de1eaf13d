"""A source that holds a GPU: what it is granted, and actors of a Ray cluster that load its pipeline once."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from pipelines.executors import Serial
from pipelines.intake import take_in
from pipelines.placement import Place, granted
from pipelines.recipes.l_orig import l_orig
from stages.source.folder import Folder
from stages.source.generated import Generated
from stages.source.prompts import PromptList
from stages.stage import Resources
from store.store import open_store

RECIPE = '''
"""Images of the tiny UNet, and a word of every process that makes some."""
import os
from dataclasses import dataclass, replace
from pathlib import Path

from pipelines.recipes.tiny_scenes import tiny_scenes
from stages.source.generated import Generated
from stages.source.prompts import PromptList


@dataclass(frozen=True)
class Logged(Generated):
    def read(self, portion, scratch):
        from stages.generate.pipelines import opened

        yield from super().read(portion, scratch)
        with open(Path(__file__).parent / "log", "a") as log:
            loads = opened.cache_info().misses
            log.write(f"{os.getpid()} {os.environ.get('CUDA_VISIBLE_DEVICES')} {loads}\\n")


def drawn():
    prompts = PromptList(tuple(f"drawing {i}" for i in range(8)))
    source = Logged(model="tinyworld/models/unet", prompts=prompts, steps=2, shard_size=2, batch_size=2)
    return replace(tiny_scenes(), name="drawn", source=source)
'''


@dataclass
class Counting:
    """This process, with a note of what each run asked for."""

    asked: list[Resources] = field(default_factory=list)

    def grant(self, stage: str, declared: Resources) -> Resources:
        return Resources(gpus=1.0) if stage == "source" else declared

    def run(self, work: Any, units: Sequence[Any], needs: Resources) -> Any:
        self.asked.append(needs)
        return Serial().run(work, units, needs)


def test_portions_are_read_with_what_the_source_is_granted(photos: Any, tmp_path: Path) -> None:
    executor = Counting()
    take_in(open_store(tmp_path / "s", create=True), Folder(str(photos.path)), executor, lambda *_: None)
    assert executor.asked == [Resources(gpus=1.0)]


def test_a_source_is_granted_what_the_command_line_says() -> None:
    dataset = replace(l_orig(), source=Generated(model="some/teacher", prompts=PromptList(("a",))))
    assert granted(Place("local", 1), dataset)["source"] == Resources()
    grants = granted(Place("local", 1, ("source=gpu:1,cpu:4",)), dataset)
    assert grants["source"] == Resources(cpus=4.0, gpus=1.0)


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A head that does no work, and a node of two CPUs and two GPUs that are names only."""
    from ray.cluster_utils import Cluster

    small = {"object_store_memory": 100 * 2**20}
    folder = tempfile.mkdtemp(prefix="mbt-", dir="/tmp")
    made = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 0, "temp_dir": folder, "include_dashboard": False, **small},
    )
    made.add_node(num_cpus=2, num_gpus=2, **small)
    made.wait_for_nodes(timeout=60)
    yield made
    made.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.slow
def test_actors_with_a_gpu_load_the_pipeline_once(cluster: Any, tmp_path: Path, cli: Any, tree: Any) -> None:
    file = tmp_path / f"drawn_on_ray_{os.getpid()}.py"
    file.write_text(RECIPE)
    line = ["build", f"{file}:drawn", "--json", "--store"]
    done = cli(*line, tmp_path / "ray", "--ray", cluster.address, "--resources", "source=gpu:1")
    assert done.code == 0, done.err
    read = [entry.split() for entry in (tmp_path / "log").read_text().splitlines()]
    assert len(read) == 4
    assert len({pid for pid, _, _ in read}) <= 2
    assert {gpu for _, gpu, _ in read} <= {"0", "1"}
    assert {loads for _, _, loads in read} == {"1"}
    alone = cli(*line, tmp_path / "alone", "--workers", 1)
    assert alone.json["version"] == done.json["version"]
    assert tree(tmp_path / "alone" / "sources") == tree(tmp_path / "ray" / "sources")
