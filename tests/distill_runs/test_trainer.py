from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from diffusers import DiffusionPipeline, PixArtTransformer2DModel

from distill_runs.method import Turn
from distill_runs.methods.finetune import Finetune
from distill_runs.packs import Data
from distill_runs.settings import AdamW
from store.errors import MashbillError, UsageError
from tests.distill_runs.in_ranks import in_ranks
from tests.distill_runs.small_runs import (
    Faulty,
    Plain,
    digest,
    everything,
    first_gradients,
    gradients_in_ranks,
    poisoned,
    small_run,
    staged,
    take,
    trainer_of,
)


def plain_run(student: Path, batch_size: int, accumulate: int) -> Any:
    """A run whose gradient is named by its samples alone."""
    run = small_run(student, method=Plain(), caption_dropout=0.0)
    optimizer = AdamW(learning_rate=1e-3, max_grad_norm=1e9)
    data = Data(resolution=48, batch_size=batch_size)
    return staged(run, {"data": data, "accumulate": accumulate, "optimizers": (optimizer,)})


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    scale = max(gradient.abs().max().item() for gradient in one.values())
    assert scale > 0
    for name, gradient in one.items():
        torch.testing.assert_close(other[name], gradient, rtol=1e-3, atol=1e-5 * scale, msg=name)


def test_two_batches_of_four_accumulated_are_one_of_eight(
    random_models: dict[str, Path], squares: Path, tmp_path: Path
) -> None:
    whole = first_gradients(plain_run(random_models["pixart"], 8, 1), squares, tmp_path / "whole")
    halves = first_gradients(plain_run(random_models["pixart"], 4, 2), squares, tmp_path / "halves")
    half = first_gradients(plain_run(random_models["pixart"], 4, 1), squares, tmp_path / "half")
    assert_same(whole, halves)
    with pytest.raises(AssertionError):
        assert_same(whole, half)


def test_two_ranks_of_four_are_one_of_eight(
    random_models: dict[str, Path], squares: Path, tmp_path: Path
) -> None:
    whole = first_gradients(plain_run(random_models["pixart"], 8, 1), squares, tmp_path / "whole")
    for batch_size, accumulate in ((4, 1), (2, 2)):
        run = plain_run(random_models["pixart"], batch_size, accumulate)
        folder = tmp_path / f"{accumulate}"
        folder.mkdir()
        assert in_ranks(2, gradients_in_ranks, run, squares, folder, folder) == [None, None]
        for rank in range(2):
            assert_same(whole, torch.load(folder / f"rank-{rank}.pt"))


def test_only_what_the_stage_names_is_trained(
    random_models: dict[str, Path], squares: Path, tmp_path: Path
) -> None:
    run = staged(small_run(random_models["pixart"]), {"trainable": r"transformer_blocks\.0\..*"})
    with trainer_of(run, squares, tmp_path) as trainer:
        trainer.start()
        before = digest(trainer.roles["student"].weights())
        trainer.step()
        after = digest(trainer.roles["student"].weights())
    changed = {name.strip("/") for name in before if before[name] != after[name]}
    assert changed
    assert all(name.startswith("transformer_blocks.0.") for name in changed)


def test_the_rate_rises_falls_and_is_what_the_optimizer_has(
    random_models: dict[str, Path], squares: Path, tmp_path: Path
) -> None:
    settings = AdamW(learning_rate=1e-3, warmup_steps=2, cooldown_steps=2)
    run = staged(small_run(random_models["pixart"]), {"steps": 5, "optimizers": (settings,)})
    found = []
    with trainer_of(run, squares, tmp_path) as trainer:
        trainer.start()
        for _ in range(5):
            trainer.step()
            found.append(trainer.roles["student"].optimizer.param_groups[0]["lr"])  # type: ignore[union-attr]
    assert found == pytest.approx([0.5e-3, 1e-3, 1e-3, 1e-3, 0.5e-3])


def test_a_gradient_is_clipped_and_its_own_norm_is_measured(
    random_models: dict[str, Path], squares: Path, tmp_path: Path
) -> None:
    gradients = first_gradients(plain_run(random_models["pixart"], 4, 1), squares, tmp_path / "free")
    norm = torch.stack([g.square().sum() for g in gradients.values()]).sum().sqrt().item()
    run = plain_run(random_models["pixart"], 4, 1)
    run = staged(run, {"optimizers": (AdamW(learning_rate=1e-3, max_grad_norm=norm / 2),)})
    clipped = first_gradients(run, squares, tmp_path / "clipped")
    assert_same({name: gradient / 2 for name, gradient in gradients.items()}, clipped)
    with trainer_of(run, squares, tmp_path / "again") as trainer:
        trainer.start()
        assert trainer.step()["grad_norm/student"] > norm / 2


def test_an_update_that_is_not_finite_is_left_out_and_counted(
    random_models: dict[str, Path], squares: Path, tmp_path: Path
) -> None:
    run = small_run(random_models["pixart"], method=Faulty(steps=(1, 2, 4)), max_bad_steps=3)
    found = poisoned(run, squares, tmp_path, 6)
    weights = [after[0] for after in found["after"]]
    assert weights[0] == weights[1] == weights[2] != weights[3] == weights[4] != weights[5]
    assert [after[1] for after in found["after"]][:2] == [["grad_norm/student", "loss/task"], []]
    counts = found["counts"]
    assert (counts["step"], counts["bad"], counts["bad_in_a_row"]) == (6, 3, 0)
    assert (counts["updates"], found["average"]) == ({"student": 3}, 3)


def test_the_moments_of_the_optimizer_stay_finite(
    random_models: dict[str, Path], squares: Path, tmp_path: Path
) -> None:
    run = small_run(random_models["pixart"], method=Faulty(steps=(1,)))
    with trainer_of(run, squares, tmp_path) as trainer:
        trainer.start()
        take(trainer, 2)
        optimizer = trainer.roles["student"].optimizer
        assert optimizer is not None
        assert all(t.isfinite().all() for state in optimizer.state.values() for t in state.values())


def test_a_loss_that_is_not_finite_on_one_rank_is_left_out_on_both(
    random_models: dict[str, Path], squares: Path, tmp_path: Path
) -> None:
    run = small_run(random_models["pixart"], method=Faulty(steps=(1, 3, 4), rank=1), max_bad_steps=2)
    first, second = in_ranks(2, poisoned, run, squares, tmp_path, 6)
    assert first["after"] == second["after"]
    weights = [after[0] for after in first["after"]]
    assert weights[0] == weights[1] != weights[2] == weights[3]
    assert len(weights) == 4
    for found in (first, second):
        assert (found["counts"]["step"], found["counts"]["bad"], found["counts"]["bad_in_a_row"]) == (4, 3, 2)
        assert (
            "stopped at step 5: the last 2 updates had a loss or gradient that is not finite" in found["said"]
        )


def test_too_many_in_a_row_stop_the_run_with_a_mend(
    random_models: dict[str, Path], squares: Path, tmp_path: Path
) -> None:
    run = small_run(random_models["pixart"], method=Faulty(steps=tuple(range(9))), max_bad_steps=3)
    said = poisoned(run, squares, tmp_path, 6)["said"]
    assert said.startswith("run 'small' stopped at step 3: the last 3 updates had a loss or gradient")
    assert "Lower learning_rate or raise warmup_steps" in said


@pytest.mark.parametrize("fault", ["no cuda memory", "too large"])
def test_out_of_memory_is_one_message_with_a_mend(
    fault: str, random_models: dict[str, Path], squares: Path, tmp_path: Path
) -> None:
    run = small_run(random_models["pixart"], method=Faulty(steps=(1,), fault=fault))
    with trainer_of(run, squares, tmp_path) as trainer:
        trainer.start()
        trainer.step()
        expected = (
            "run 'small' ran out of memory on cpu at step 2, with batch_size=4. Set gradient_checkpoint"
        )
        with pytest.raises(MashbillError, match=re.escape(expected)):
            trainer.step()


def test_another_error_of_a_method_is_not_said_to_be_memory(
    random_models: dict[str, Path], squares: Path, tmp_path: Path
) -> None:
    @dataclass(frozen=True)
    class Wrong(Plain):
        def losses(self, *_arguments: Any) -> Any:
            raise RuntimeError("shapes do not fit")

    with trainer_of(small_run(random_models["pixart"], method=Wrong()), squares, tmp_path) as trainer:
        trainer.start()
        with pytest.raises(RuntimeError, match="shapes do not fit"):
            trainer.step()


def test_a_turn_may_have_several_updates_each_on_batches_of_its_own(
    random_models: dict[str, Path], squares: Path, tmp_path: Path
) -> None:
    @dataclass(frozen=True)
    class Twice(Finetune):
        turns: ClassVar[tuple[Turn, ...]] = (Turn(updates=2),)

    run = staged(small_run(random_models["pixart"], method=Twice()), {"accumulate": 2})
    with trainer_of(run, squares, tmp_path) as trainer:
        trainer.start()
        take(trainer, 2)
        assert (trainer.counts.step, trainer.counts.updates, trainer.counts.samples) == (
            2,
            {"student": 4},
            32,
        )


@pytest.mark.parametrize("precision", ["bfloat16", "float32"])
def test_arithmetic_in_half_precision_keeps_weights_and_losses_whole(
    precision: Any, random_models: dict[str, Path], squares: Path, tmp_path: Path
) -> None:
    for family in ("unet", "pixart", "sd3"):
        run = small_run(random_models[family], precision=precision)
        with trainer_of(run, squares, tmp_path / family) as trainer:
            trainer.start()
            loss = trainer.step()["loss/task"]
            net = trainer.roles["student"].net
            assert {parameter.dtype for parameter in net.parameters()} == {torch.float32}
            assert 0 < loss < 10
            encoder = next(trainer.model.pipeline.text_encoder.parameters())
            assert encoder.dtype == getattr(torch, precision)


@pytest.mark.parametrize("family", ["unet", "pixart", "sd3"])
def test_gradient_checkpointing_changes_nothing(
    family: str, random_models: dict[str, Path], squares: Path, tmp_path: Path
) -> None:
    found = []
    for wanted in (False, True):
        run = small_run(random_models[family], gradient_checkpointing=wanted)
        with trainer_of(run, squares, tmp_path / f"{wanted}") as trainer:
            trainer.start()
            found.append(digest(take(trainer, 3)) | everything(trainer))
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"trainable": "blocks.*"}, "trainable='blocks.*' matches no parameter of the student (such as "),
        ({"optimizers": (AdamW(name="proxy"),)}, "stage 'stage 0' has no optimizer for the student"),
    ],
)
def test_a_stage_that_trains_nothing(
    changes: dict[str, Any], said: str, random_models: dict[str, Path], squares: Path, tmp_path: Path
) -> None:
    run = staged(small_run(random_models["pixart"]), changes)
    with trainer_of(run, squares, tmp_path) as trainer, pytest.raises(UsageError, match=re.escape(said)):
        trainer.start()


def test_a_later_stage_that_trains_nothing_is_refused_before_the_first_step(
    random_models: dict[str, Path], squares: Path, tmp_path: Path
) -> None:
    run = staged(small_run(random_models["pixart"]), {"steps": 1}, {"steps": 1, "trainable": "blocks.*"})
    with (
        trainer_of(run, squares, tmp_path) as trainer,
        pytest.raises(UsageError, match="matches no parameter"),
    ):
        trainer.start()


def test_a_checkpoint_of_another_network_is_one_message(
    random_models: dict[str, Path], squares: Path, tmp_path: Path
) -> None:
    run = small_run(random_models["pixart"])
    with trainer_of(run, squares, tmp_path) as trainer:
        trainer.start()
        trainer.step()
        trainer.save()
    narrow = DiffusionPipeline.from_pretrained(random_models["pixart"])
    config = dict(narrow.transformer.config) | {"caption_channels": 24}
    narrow.transformer = PixArtTransformer2DModel.from_config(config)
    narrow.save_pretrained(tmp_path / "narrow")
    for student, said in (
        (tmp_path / "narrow", r"1 tensors of the student differ: caption_projection\.linear_1\.weight is "),
        (random_models["unet"], "tensors of the student differ"),
    ):
        other = replace(run, student=str(student))
        with (
            trainer_of(other, squares, tmp_path) as trainer,
            pytest.raises(MashbillError, match=f"does not fit run 'small' .*{said}.*another student"),
        ):
            trainer.start()
