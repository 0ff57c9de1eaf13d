from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from distill_runs.ema import MovingAverage
from distill_runs.settings import Ema
from tests.distill_runs.small_runs import digest, small_run, take, trainer_of


def numbered(value: float, dtype: torch.dtype = torch.float32) -> nn.Module:
    net = nn.Linear(2, 1, bias=False, dtype=dtype)
    set_to(net, value)
    return net


def set_to(net: nn.Module, value: float) -> None:
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.fill_(value)


def averaged(average: MovingAverage) -> float:
    return float(average.shadow["weight"][0, 0])


def test_a_constant_decay_holds_from_the_first_update_on() -> None:
    net = numbered(1.0)
    average = MovingAverage(net, 0.99, warm=False)
    expected = 1.0
    for value in (3.0, -2.0, 5.0):
        set_to(net, value)
        average.update(net)
        expected = 0.99 * expected + 0.01 * value
        assert averaged(average) == pytest.approx(expected, rel=1e-6)
    assert average.updates == 3


def test_a_warm_one_forgets_the_first_weights_soon() -> None:
    """Decays 0.1, 2/11, 3/12, ... up to the limit, here of 0.2."""
    net = numbered(1.0)
    average = MovingAverage(net, 0.2, warm=True)
    expected = 1.0
    for decay, value in ((0.1, 3.0), (2 / 11, -2.0), (0.2, 5.0), (0.2, 7.0)):
        set_to(net, value)
        average.update(net)
        expected = decay * expected + (1 - decay) * value
        assert averaged(average) == pytest.approx(expected, rel=1e-6)


def test_it_is_kept_in_single_precision_and_frozen_weights_as_they_are() -> None:
    net = numbered(1.0, torch.bfloat16)
    average = MovingAverage(net, 0.999, warm=False)
    set_to(net, 2.0)
    average.update(net)
    assert averaged(average) == pytest.approx(1.001, rel=1e-5)  # bfloat16 would have stayed at 1
    net.requires_grad_(False)
    average.update(net)
    assert averaged(average) == 2.0


def test_it_stands_in_for_the_weights_and_gives_them_back() -> None:
    net = numbered(1.0)
    average = MovingAverage(net, 0.5, warm=False)
    set_to(net, 3.0)
    average.update(net)
    with pytest.raises(ZeroDivisionError), average.in_place_of(net):
        net.weight.fill_(1 / (net.weight.sum().item() - 4))
    assert net.weight.flatten().tolist() == [3.0, 3.0]
    average.copy_to(net)
    assert net.weight.flatten().tolist() == [2.0, 2.0]


def test_it_is_saved_and_restored_and_of_other_parameters_refused() -> None:
    net = numbered(1.0)
    average, other = MovingAverage(net, 0.5, warm=True), MovingAverage(numbered(9.0), 0.5, warm=True)
    average.update(net)
    other.load_state_dict(average.state_dict())
    assert (averaged(other), other.updates) == (1.0, 1)
    with pytest.raises(KeyError):
        MovingAverage(nn.Linear(2, 1), 0.5, warm=True).load_state_dict(average.state_dict())


def test_a_run_that_goes_on_has_its_average_again(
    random_models: dict[str, Path], squares: Path, tmp_path: Path
) -> None:
    """It is there before the checkpoint is read: a later one would begin from the restored weights."""
    run = small_run(random_models["pixart"], ema=Ema(decay=0.9, warm=False))
    with trainer_of(run, squares, tmp_path) as trainer:
        trainer.start()
        take(trainer, 2)
        trainer.save()
        assert trainer.average is not None
        kept = digest(trainer.average.shadow)
        assert kept != digest(trainer.roles["student"].weights())
    with trainer_of(run, squares, tmp_path) as trainer:
        trainer.start()
        assert trainer.average is trainer.roles["student"].average
        assert trainer.average is not None
        assert digest(trainer.average.shadow) == kept
        assert trainer.average.updates == 2
