"""Whole runs: what they leave for people, and what stops them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from PIL import Image
from pyarrow import parquet

from distill_runs.packs import Data
from distill_runs.run import train
from distill_runs.settings import Ema, Run, Samples, Validation
from store.errors import MashbillError, UsageError
from store.runs import run_in
from tests.distill_runs.in_ranks import in_ranks
from tests.distill_runs.small_runs import (
    TIMINGS,
    Faulty,
    TakenOver,
    held_run,
    small_run,
    staged,
    two_stages,
    whole_run,
)


def go(run: Run, pack: Path, folder: Path) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    return train(run, [str(pack)] * len(run.stages), run_in(folder), progress=False)


def rows(folder: Path) -> list[dict[str, float]]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [{n: v for n, v in json.loads(line).items() if n not in TIMINGS} for line in lines]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    pipeline = DiffusionPipeline.from_pretrained(folder / "model")
    return dict((getattr(pipeline, "unet", None) or pipeline.transformer).state_dict())


def with_pictures(student: Path, folder: Path) -> Run:
    """Two stages, validation, pictures, rows over three steps, checkpoints every two; a flag stops step 3."""
    flag = folder / "interrupt"
    return two_stages(
        small_run(
            student,
            method=Faulty(steps=(2,), fault="interrupt", flag=str(flag)),
            log_every=3,
            checkpoint_every=2,
            validation=Validation(every=2, samples=8),
            samples=Samples(every=3, count=3, inference_steps=2),
        )
    )


@pytest.fixture(scope="module")
def done(random_models: dict[str, Path], squares: Path, tmp_path_factory: Any) -> SimpleNamespace:
    """A run to its end."""
    folder = tmp_path_factory.mktemp("runs") / "small" / "run"
    run = with_pictures(random_models["pixart"], folder)
    return SimpleNamespace(run=run, folder=folder, summary=go(run, squares, folder))


def test_a_run_leaves_what_people_read(done: SimpleNamespace) -> None:
    files = {str(p.relative_to(done.folder)) for p in done.folder.rglob("*") if p.is_file()}
    expected = {"metrics.jsonl", "metrics.parquet", "curves.png", "samples.png", "samples_over_time.png"}
    expected |= {"summary.json", "state.json", "model/README.md", "model/model_index.json"}
    expected |= {f"samples/step-{step:08d}.png" for step in (3, 6)}
    expected |= {f"checkpoints/step-{s:08d}/{n}" for s in (4, 6) for n in CHECKPOINT}
    events = {name for name in files if name.startswith("events/")}
    inside = {name for name in files if name.startswith("model/") and name.count("/") == 2}
    assert files - events - inside == expected
    assert len(events) == 1
    for name in files:
        if name.endswith(".png"):
            with Image.open(done.folder / name) as image:
                assert np.asarray(image.convert("RGB")).std() > 1, name


CHECKPOINT = ("state.pt", "rank-00000.pt", "checkpoint.json")


def test_the_summary_adds_up(done: SimpleNamespace) -> None:
    summary = done.summary
    assert summary == json.loads((done.folder / "summary.json").read_text())
    assert (summary["steps"], summary["samples_seen"], summary["updates"]) == (6, 48, {"student": 6})
    assert (summary["bad_updates"], summary["skipped_samples"], summary["world_size"]) == (0, 0, 1)
    assert summary["packs"][0]["dataset"] == "squares"
    losses = [row["validation/loss"] for row in rows(done.folder) if "validation/loss" in row]
    best = min(range(3), key=lambda i: losses[i])
    assert summary["chosen"] == {"step": 2 * best + 2, "loss": losses[best]}
    assert summary["saved"] == f"average of step {2 * best + 2}, chosen by validation loss"


def test_rows_are_means_over_their_steps(done: SimpleNamespace) -> None:
    found = [row for row in rows(done.folder) if "loss/task" in row]
    assert [row["step"] for row in found] == [1, 3, 6]
    assert set(found[0]) == {
        "step", "loss/task", "grad_norm/student", "learning_rate/student", "bad_updates", "skipped_samples"
    }  # fmt: skip
    table = parquet.read_table(done.folder / "metrics.parquet").to_pylist()
    assert [row["step"] for row in table if row["loss/task"] is not None] == [1, 3, 6]


def test_the_card_says_what_made_the_model(done: SimpleNamespace) -> None:
    card = (done.folder / "model" / "README.md").read_text()
    assert f"started from | `{done.run.student}`" in card
    assert "squares@v1" in card
    assert "6, 48 visits of samples" in card
    assert done.summary["saved"] in card
    assert "validation/loss" in card
    code = card.partition("```python\n")[2].partition("```")[0]
    names: dict[str, Any] = {}
    exec(code.rpartition("\npicture = ")[0], names)
    assert type(names["pipeline"]).__name__ == "PixArtSigmaPipeline"


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of DPMSolver
def test_the_model_is_loaded_and_draws_in_three_lines(done: SimpleNamespace) -> None:
    pipeline = DiffusionPipeline.from_pretrained(done.folder / "model")
    pipeline.set_progress_bar_config(disable=True)
    asked = {"height": 48, "width": 48, "num_inference_steps": 2, "use_resolution_binning": False}
    picture = pipeline("a red square, top left", **asked).images[0]
    assert picture.size == (48, 48)


def test_a_run_that_was_interrupted_leaves_the_same(
    done: SimpleNamespace, squares: Path, tmp_path: Path, capfd: Any
) -> None:
    """A step after a checkpoint that lies between two rows, which stand on the steps before it too."""
    run = replace(done.run, method=replace(done.run.method, flag=str(tmp_path / "interrupt")))
    folder = tmp_path / "small" / "run"
    (tmp_path / "interrupt").touch()
    with pytest.raises(KeyboardInterrupt):
        go(run, squares, folder)
    assert capfd.readouterr().err == ""
    assert [p.name for p in sorted((folder / "checkpoints").iterdir())] == ["step-00000002"]
    (tmp_path / "interrupt").unlink()
    capfd.readouterr()
    summary = go(run, squares, folder)
    assert capfd.readouterr().err == "going on from step 2\n"
    assert rows(folder) == rows(done.folder)
    assert summary["chosen"] == done.summary["chosen"]
    ours, theirs = weights(folder), weights(done.folder)
    assert all(torch.equal(ours[name], tensor) for name, tensor in theirs.items())
    for name in ("samples.png", "samples_over_time.png", "samples/step-00000003.png"):
        assert (folder / name).read_bytes() == (done.folder / name).read_bytes(), name


def test_settings_that_change_no_result_may_change_on_the_way(
    done: SimpleNamespace, squares: Path, tmp_path: Path, capfd: Any
) -> None:
    flag, folder = tmp_path / "interrupt", tmp_path / "small" / "run"
    flag.touch()
    run = replace(done.run, method=replace(done.run.method, flag=str(flag)), log_every=1, max_bad_steps=2)
    with pytest.raises(KeyboardInterrupt):
        go(run, squares, folder)
    flag.unlink()
    run = replace(run, log_every=2, checkpoint_every=3, samples=Samples(count=1), gradient_checkpointing=True)
    stages = [replace(s, data=replace(s.data, max_skipped=3)) for s in run.stages]
    go(replace(run, stages=tuple(stages), workers=1, force=True), squares, folder)
    assert "going on from step 2" in capfd.readouterr().err
    ours, theirs = weights(folder), weights(done.folder)
    assert all(torch.equal(ours[name], tensor) for name, tensor in theirs.items())


def test_a_run_that_is_done_comes_out_the_same_again(done: SimpleNamespace, squares: Path) -> None:
    before, kept = weights(done.folder), rows(done.folder)
    summary = go(done.run, squares, done.folder)
    changing = ("seconds", "starts")
    assert {k: v for k, v in summary.items() if k not in changing} == {
        k: v for k, v in done.summary.items() if k not in changing
    }
    assert rows(done.folder) == kept
    assert all(torch.equal(tensor, before[name]) for name, tensor in weights(done.folder).items())


def test_what_is_saved_without_validation_is_the_average_or_the_last_weights(
    random_models: dict[str, Path], squares: Path, tmp_path: Path
) -> None:
    run = staged(small_run(random_models["pixart"]), {"steps": 2})
    average = go(run, squares, tmp_path / "a" / "1")
    last = go(replace(run, ema=None), squares, tmp_path / "b" / "1")
    assert (average["saved"], last["saved"]) == ("average after 2 steps", "weights after 2 steps")
    start = dict(DiffusionPipeline.from_pretrained(random_models["pixart"]).transformer.state_dict())
    name = "proj_out.weight"
    moved = [(weights(tmp_path / n / "1")[name] - start[name]).abs().max() for n in ("a", "b")]
    assert 0 < moved[0] < moved[1]


@pytest.mark.parametrize("family", ["unet", "pixart", "sd3"])
def test_a_run_in_half_precision_draws_and_validates(
    family: str, random_models: dict[str, Path], squares: Path, tmp_path: Path, capfd: Any
) -> None:
    run = small_run(random_models[family], precision="bfloat16", validation=Validation(every=2, samples=4))
    summary = go(staged(run, {"steps": 2}), squares, tmp_path / "small" / "run")
    assert 0 < summary["losses"]["validation/loss"]["last"] < 10
    assert capfd.readouterr().err == ""
    assert {tensor.dtype for tensor in weights(tmp_path / "small" / "run").values()} == {torch.float32}
    card = (tmp_path / "small" / "run" / "model" / "README.md").read_text()
    assert ("max_sequence_length=" in card) == (family == "sd3")  # the stock call would pad T5 to 256


def refused(run: Run, pack: Path, folder: Path) -> str:
    with pytest.raises(UsageError) as said:
        go(run, pack, folder)
    assert "\n" not in str(said.value)
    return str(said.value)


def test_float16_on_a_cpu(random_models: dict[str, Path], squares: Path, tmp_path: Path) -> None:
    said = refused(small_run(random_models["pixart"], precision="float16"), squares, tmp_path)
    assert said == "precision=float16 needs a GPU; on a CPU take float32 or bfloat16."


def test_a_model_of_few_steps_is_refused_unless_forced(
    random_models: dict[str, Path], squares: Path, tmp_path: Path
) -> None:
    student = tmp_path / "pixart-lightning"
    student.symlink_to(random_models["pixart"])
    run = staged(small_run(student), {"steps": 1})
    assert "is distilled to few steps (its name says so)" in refused(run, squares, tmp_path)
    assert go(replace(run, force=True), squares, tmp_path / "small" / "run")["steps"] == 1


def test_a_pack_that_does_not_fit(random_models: dict[str, Path], squares: Path, tmp_path: Path) -> None:
    run = small_run(random_models["pixart"])
    sizes = staged(run, {"data": Data(resolution=44, batch_size=4)})
    assert "images of 44x44 pixels do not divide by 8" in refused(sizes, squares, tmp_path)
    latents = staged(run, {"data": Data(resolution=48, batch_size=4, latents=True)})
    assert "has no latents, and data.latents is set" in refused(latents, squares, tmp_path)
    assert "is not a pack" in refused(run, tmp_path, tmp_path)


def test_a_pack_without_the_split_that_validates_is_refused_before_the_first_step(
    random_models: dict[str, Path], write: Any, tmp_path: Path
) -> None:
    run = small_run(random_models["pixart"], validation=Validation(every=2))
    with pytest.raises(MashbillError, match="validation"):
        go(run, write.pack(tmp_path / "pack"), tmp_path / "run")
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_a_loss_that_is_never_finite_stops_the_run(
    random_models: dict[str, Path], squares: Path, tmp_path: Path
) -> None:
    run = small_run(random_models["pixart"], method=Faulty(steps=tuple(range(6))), max_bad_steps=3)
    with pytest.raises(MashbillError, match="stopped at step 3: the last 3 updates"):
        go(run, squares, tmp_path / "run")
    assert not (tmp_path / "run" / "model").exists()


def test_a_run_with_an_update_that_was_left_out_says_so(
    random_models: dict[str, Path], squares: Path, tmp_path: Path
) -> None:
    run = staged(small_run(random_models["pixart"], method=Faulty(steps=(1,))), {"steps": 3})
    summary = go(run, squares, tmp_path / "small" / "run")
    assert (summary["bad_updates"], summary["updates"]) == (1, {"student": 2})
    found = rows(tmp_path / "small" / "run")
    assert ["loss/task" in row for row in found] == [True, False, True]
    assert [row["bad_updates"] for row in found] == [0, 1, 1]
    assert all(np.isfinite(value) for row in found for value in row.values())


@pytest.mark.parametrize("world_size", [1, 2])
def test_a_run_that_was_taken_over_stops_and_writes_no_more(
    world_size: int, random_models: dict[str, Path], squares: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "small" / "run"
    folder.mkdir(parents=True)
    method = TakenOver(lease=f"{folder}.lease")
    run = small_run(
        random_models["pixart"],
        method=method,
        checkpoint_every=1,
        samples=Samples(every=1, count=1, inference_steps=1),
    )
    said = in_ranks(world_size, held_run, run, [str(squares)], folder)
    expected = "LeaseLost: another process took over run small/run, and took this one for dead"
    for rank in said:
        assert rank.startswith(expected)
        assert "this one ends after step 3 and writes no more" in rank
    names = sorted(p.name for p in (folder / "checkpoints").iterdir())
    assert names == ["step-00000001", "step-00000002"]
    assert sorted(p.name for p in (folder / "samples").iterdir())[-1] == "step-00000002.png"
    assert [row["step"] for row in rows(folder)] == [1, 2]
    assert json.loads(Path(f"{folder}.lease").read_text())["owner"] == "theirs"


def test_a_run_under_its_lease_comes_to_its_end(
    random_models: dict[str, Path], squares: Path, tmp_path: Path
) -> None:
    run = staged(small_run(random_models["pixart"]), {"steps": 1})
    (tmp_path / "run").mkdir()
    assert held_run(run, [str(squares)], tmp_path / "run")["steps"] == 1
    assert not (tmp_path / "run.lease").exists()


@pytest.mark.slow
def test_two_ranks_make_one_run_and_go_on_with_it(
    random_models: dict[str, Path], squares: Path, tmp_path: Path
) -> None:
    folders = [tmp_path / name / "run" for name in ("straight", "stopped")]
    for folder in folders:
        folder.mkdir(parents=True)
    run = with_pictures(random_models["pixart"], tmp_path)
    run = replace(run, ema=Ema(decay=0.9, warm=True))
    packs = [str(squares)] * 2
    straight = in_ranks(2, whole_run, run, packs, folders[0])
    assert straight[0] == straight[1]
    assert (straight[0]["world_size"], straight[0]["samples_seen"]) == (2, 96)
    (tmp_path / "interrupt").touch()
    assert in_ranks(2, whole_run, run, packs, folders[1]) == ["KeyboardInterrupt: "] * 2
    (tmp_path / "interrupt").unlink()
    in_ranks(2, whole_run, run, packs, folders[1])
    assert rows(folders[0]) == rows(folders[1])
    ours, theirs = weights(folders[1]), weights(folders[0])
    assert all(torch.equal(ours[name], tensor) for name, tensor in theirs.items())
