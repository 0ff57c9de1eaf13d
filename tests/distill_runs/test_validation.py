from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from distill_runs.packs import open_pack
from distill_runs.settings import Ema
from distill_runs.settings import Validation as Settings
from distill_runs.trainer import Trainer
from distill_runs.validation import Validation
from tests.distill_runs.small_runs import digest, everything, small_run, take, trainer_of


def measure(trainer: Trainer, pack: Path) -> float:
    return Validation(trainer, open_pack(pack, "validation")).loss(trainer)


def test_the_loss_is_the_same_every_time_and_moves_nothing(
    random_models: dict[str, Path], squares: Path, tmp_path: Path
) -> None:
    run = small_run(random_models["unet"], caption_dropout=1.0, validation=Settings(samples=8))
    with trainer_of(run, squares, tmp_path) as trainer:
        trainer.start()
        take(trainer, 1)
        before = everything(trainer)
        losses = {measure(trainer, squares) for _ in range(2)}
        assert everything(trainer) == before
        assert trainer.roles["student"].net.training
    assert len(losses) == 1
    assert math.isfinite(losses.pop())


def test_it_is_the_loss_of_the_average(random_models: dict[str, Path], squares: Path, tmp_path: Path) -> None:
    run = small_run(random_models["pixart"], ema=Ema(decay=0.5, warm=False), validation=Settings(samples=8))
    with trainer_of(run, squares, tmp_path) as trainer:
        trainer.start()
        take(trainer, 2)
        student = trainer.roles["student"]
        of_average = measure(trainer, squares)
        average, student.average = student.average, None
        of_weights = measure(trainer, squares)
        assert average is not None
        average.copy_to(student.net)
        assert measure(trainer, squares) == of_average != of_weights


def test_the_lowest_loss_is_chosen_and_one_that_is_no_number_never(
    random_models: dict[str, Path], squares: Path, tmp_path: Path
) -> None:
    run = small_run(random_models["pixart"], validation=Settings(samples=8))
    with trainer_of(run, squares, tmp_path) as trainer:
        trainer.start()
        validation = Validation(trainer, open_pack(squares, "validation"))
        validation.choose(trainer, math.nan)
        assert trainer.chosen is None
        for loss, chosen in ((3.0, 1), (2.0, 2), (math.nan, 2), (2.5, 2)):
            take(trainer, 1)
            validation.choose(trainer, loss)
            assert trainer.chosen is not None
            assert trainer.chosen.step == chosen
        kept = digest(trainer.chosen.weights)
        trainer.save()
    with trainer_of(run, squares, tmp_path) as trainer:
        trainer.start()
        assert trainer.chosen is not None
        assert digest(trainer.chosen.weights) == kept
        assert (trainer.chosen.step, trainer.chosen.loss) == (2, 2.0)


@pytest.mark.parametrize("samples", [1, 4, 100])
def test_samples_are_whole_batches_of_the_split(
    samples: int, random_models: dict[str, Path], squares: Path, tmp_path: Path
) -> None:
    run = small_run(random_models["pixart"], validation=Settings(samples=samples))
    with trainer_of(run, squares, tmp_path) as trainer:
        validation = Validation(trainer, open_pack(squares, "validation"))
        assert validation.batches == {1: 1, 4: 1, 100: 2}[samples]
    assert torch.get_num_threads() == 1
