"""Several networks in one run: who is trained when, who stands still, and all of it resumed."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from distill_runs.method import Example, Nets, Turn
from distill_runs.objectives import denoising_loss, target_of
from distill_runs.schedule import noised
from distill_runs.settings import AdamW, Run
from store.errors import UsageError
from tests.distill_runs.small_runs import everything, small_run, staged, take, trainer_of


@dataclass(frozen=True)
class Duel:
    """A proxy learns the denoising loss; the student is pulled to the teacher, and pushed by the proxy."""

    name: ClassVar[str] = "duel"
    refuses_distilled: ClassVar[bool] = False
    turns: tuple[Turn, ...] = (Turn(("proxy",), updates=2), Turn(("student",)))

    def check(self, model: Any) -> None: ...

    def networks(self, model: Any) -> Mapping[str, nn.Module]:
        return {"proxy": copy.deepcopy(model.net), "teacher": copy.deepcopy(model.net)}

    def losses(
        self, turn: Turn, nets: Nets, example: Example, generator: torch.Generator
    ) -> Mapping[str, Tensor]:
        schedule, x0 = nets.model.schedule, example.x0_BChw
        times_B = schedule.times(torch.rand(len(x0), generator=generator))
        epsilon = torch.randn(x0.shape, generator=generator)
        x_t = noised(x0, epsilon, schedule.level(times_B))
        if turn.roles == ("proxy",):
            target = target_of(x0, epsilon, schedule.level(times_B), schedule.prediction)
            out = nets.model.predict(nets.net("proxy"), x_t, times_B, example.condition)
            return {"proxy": denoising_loss(out, target)}
        student = nets.model.predict(nets.net("student"), x_t, times_B, example.condition)
        with torch.no_grad():
            teacher = nets.model.predict(nets.bare("teacher"), x_t, times_B, example.condition)
        through = nets.model.predict(nets.bare("proxy"), student, times_B, example.condition)
        return {"teacher": denoising_loss(student, teacher), "through": 0.1 * through.square().mean()}


def duel(student: Path, **fields: Any) -> Run:
    run = small_run(student, method=Duel(**fields), caption_dropout=0.5)
    both = tuple(AdamW(name=role, learning_rate=1e-3) for role in ("student", "proxy"))
    return staged(run, {"steps": 4, "optimizers": both})


def weights(net: nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in net.parameters()]


def same(first: list[Tensor], second: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("trained", ["proxy", "student"])
def test_a_turn_moves_its_own_role_alone(
    random_models: dict[str, Path], squares: Path, tmp_path: Path, trained: str
) -> None:
    turns = (Turn((trained,)),)
    with trainer_of(duel(random_models["pixart"], turns=turns), squares, tmp_path) as trainer:
        nets = {"student": trainer.model.net, **trainer.others}
        before = {role: weights(net) for role, net in nets.items()}
        trainer.start()
        (measured,) = take(trainer, 1)
        moved = {role for role, net in nets.items() if not same(before[role], weights(net))}
        assert moved == {trained}
        for role, net in nets.items():
            got = any(parameter.grad is not None for parameter in net.parameters())
            assert got == (role == trained), role
        assert f"grad_norm/{trained}" in measured
        assert trainer.counts.updates == {trained: 1}


def test_a_round_counts_updates_by_role_and_all_of_it_resumes(
    random_models: dict[str, Path], squares: Path, tmp_path: Path
) -> None:
    run = duel(random_models["unet"])
    with trainer_of(run, squares, tmp_path / "whole") as trainer:
        trainer.start()
        losses = take(trainer, 4)
        assert trainer.counts.updates == {"proxy": 8, "student": 4}
        assert {"loss/proxy", "loss/teacher", "loss/through"} <= losses[0].keys()
        expected = everything(trainer)
    for steps in (1, 3):
        with trainer_of(run, squares, tmp_path / "parts") as trainer:
            trainer.start()
            take(trainer, steps)
            trainer.save()
            found = everything(trainer)
    assert found == expected


def test_a_trained_role_without_an_optimizer_is_refused(
    random_models: dict[str, Path], squares: Path, tmp_path: Path
) -> None:
    run = staged(replace(small_run(random_models["pixart"]), method=Duel()), {"steps": 2})
    with (
        trainer_of(run, squares, tmp_path) as trainer,
        pytest.raises(UsageError, match="no optimizer for the proxy"),
    ):
        trainer.start()
