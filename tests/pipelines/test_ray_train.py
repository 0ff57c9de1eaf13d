"""Training on Ray: Ray Train starts the ranks, which are those of any other start."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from store.runs import all_runs
from store.store import open_store


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_ranks_train_a_run_and_it_is_found_done(
    tmp_path: Path, built: Any, random_models: dict[str, Path], mashbill: Any
) -> None:
    shutil.copytree(built[0], tmp_path / "store")
    settings = ["dataset=l-orig", "resolution=64", "steps=4", "batch_size=2", "checkpoint_every=2"]
    settings += ["samples.count=1", "inference_steps=1", f"student={random_models['unet']}"]
    line = ["distill", "finetune-tiny", "--store", str(tmp_path / "store"), "--json"]
    line += [text for setting in settings for text in ("--set", setting)]
    done = mashbill(*line, "--ray", "local", "--ranks", "2")
    assert done.code == 0, done.err
    assert (done.json["world_size"], done.json["steps"], done.json["samples_seen"]) == (2, 4, 16)
    (run,) = all_runs(open_store(tmp_path / "store"))
    assert (run.shown(), run.state().step, len(run.starts())) == ("done", 4, 1)
    assert (Path(run.folder) / "model" / "model_index.json").exists()
    assert mashbill(*line).json["reused"]


RECIPE = """
import os
from dataclasses import dataclass, replace
from pathlib import Path

from distill_runs.methods.finetune import Finetune
from distill_runs.recipes.finetune_tiny import finetune_tiny
from store.errors import UsageError

HERE = Path(__file__).parent

@dataclass(frozen=True)
class Eventful(Finetune):
    event: str = ""

    def check(self, model):
        rank = os.environ["RANK"]
        with open(HERE / f"starts-{rank}", "a") as file:
            file.write("start\\n")
        if self.event == "mistake" and rank == "1":
            raise UsageError("this student cannot be trained: take another.")

    def losses(self, turn, nets, example, generator):
        flag = HERE / "alive"
        if self.event == "death" and example.step == 3 and os.environ["RANK"] == "1" and flag.exists():
            flag.unlink()
            os.kill(os.getpid(), 9)
        if self.event == "bug":
            raise KeyError("no such thing")
        return super().losses(turn, nets, example, generator)

def mistake():
    return replace(finetune_tiny(), method=Eventful(event="mistake"))

def death():
    return replace(finetune_tiny(), method=Eventful(event="death"))

def bug():
    return replace(finetune_tiny(), method=Eventful(event="bug"))
"""


@pytest.fixture
def on_ray(tmp_path: Path, built: Any, random_models: dict[str, Path], mashbill: Any) -> Callable[[str], Any]:
    """Trains a function of the recipe above on two ranks; what it printed, and how often each rank began."""
    shutil.copytree(built[0], tmp_path / "store")
    file = tmp_path / "eventful.py"
    file.write_text(RECIPE)
    (tmp_path / "alive").touch()
    settings = ["dataset=l-orig", "resolution=64", "steps=5", "batch_size=2", "checkpoint_every=1"]
    settings += ["samples.count=1", "inference_steps=1", f"student={random_models['unet']}"]

    def train(function: str) -> tuple[Any, list[int]]:
        line = ["distill", f"{file}:{function}", "--store", str(tmp_path / "store"), "--json"]
        line += [text for setting in settings for text in ("--set", setting)]
        done = mashbill(*line, "--ray", "local", "--ranks", "2")
        starts = [tmp_path / f"starts-{rank}" for rank in (0, 1)]
        return done, [len(file.read_text().splitlines()) if file.exists() else 0 for file in starts]

    return train


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_mistake_on_one_rank_is_said_once(on_ray: Any, tmp_path: Path) -> None:
    done, starts = on_ray("mistake")
    said = "this student cannot be trained: take another."
    assert (done.code, done.message) == (2, f"mashbill: {said}"), done.err
    assert starts == [1, 1]
    (run,) = all_runs(open_store(tmp_path / "store"))
    assert (run.state().state, run.state().error) == ("failed", said)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_dead_rank_costs_the_steps_since_the_newest_checkpoint(on_ray: Any) -> None:
    done, starts = on_ray("death")
    assert done.code == 0, done.err
    assert (done.json["steps"], done.json["samples_seen"]) == (5, 20)
    assert starts == [2, 2]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_another_error_ends_the_run_at_once(on_ray: Any) -> None:
    done, starts = on_ray("bug")
    assert done.code == 1, done.err
    assert "failed on the cluster: 'no such thing'" in done.message
    assert starts == [1, 1]


def test_ranks_without_ray_are_refused(built: Any, cli: Any) -> None:
    done = cli("distill", "finetune-tiny", "--store", built[0], "--ranks", "2")
    assert done.code == 2
    assert "torchrun --nproc-per-node 2" in done.err
