"""Training on Ray: Ray Train starts the ranks, which are those of any other start."""

from __future__ import annotations

import shutil
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


def test_ranks_without_ray_are_refused(built: Any, cli: Any) -> None:
    done = cli("distill", "finetune-tiny", "--store", built[0], "--ranks", "2")
    assert done.code == 2
    assert "torchrun --nproc-per-node 2" in done.err
