from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from distill_runs.methods.finetune import Finetune
from distill_runs.packs import Data
from distill_runs.settings import AdamW, Ema, Run, Stage
from store.errors import UsageError


def run(**fields: Any) -> Run:
    base = Run(name="a", dataset="d", student="s", method=Finetune(), stages=(Stage(), Stage(name="more")))
    return replace(base, **fields)


def with_average(**fields: Any) -> Run:
    return run(stages=(Stage(), Stage(name="more", begin_with="average")), **fields)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (
            lambda: Stage(steps=0),
            "Stage(train): steps=0 is not possible; expected a whole number of at least 1",
        ),
        (lambda: Stage(accumulate=0), "accumulate=0"),
        (lambda: Stage(trainable="(("), "trainable='((' is not possible; expected a regular expression"),
        (
            lambda: Stage(begin_with="ema"),
            "begin_with='ema' is not possible; expected 'student' or 'average'",
        ),
        (lambda: Stage().optimizer("proxy"), "stage 'train' has no optimizer for the proxy"),
        (lambda: run(stages=()), "Run(a): stages=() is not possible; expected at least one"),
        (lambda: run(stages=(Stage(), Stage())), "different names, got ['train', 'train']"),
        (
            lambda: run(stages=(Stage(begin_with="average"),)),
            "the first stage 'train' cannot begin with an av",
        ),
        (with_average, "a stage begins with the average, but ema is None"),
        (lambda: run(name="a/b"), "name='a/b' is not possible; expected a non-empty name without slashes"),
        (lambda: run(dataset="@v1"), "dataset='@v1'"),
        (lambda: run(caption_dropout=1.5), "caption_dropout=1.5 is not possible; expected a share in [0, 1]"),
        (lambda: run(encoder_dropout=float("nan")), "encoder_dropout=nan"),
        (lambda: run(precision="half"), "precision='half' is not possible; expected float32, bfloat16 or"),
        (lambda: run(checkpoint_every=0), "checkpoint_every=0"),
        (lambda: run(max_bad_steps=0), "max_bad_steps=0"),
        (lambda: AdamW(learning_rate=0), "AdamW(student): learning_rate=0 is not possible"),
        (lambda: AdamW(learning_rate=float("inf")), "learning_rate=inf"),
        (lambda: AdamW(learning_rate=float("nan")), "learning_rate=nan"),
        (lambda: AdamW(warmup_steps=-1), "warmup_steps=-1 is not possible; expected a finite number of at"),
        (lambda: AdamW(betas=(0.9, 1.0)), "betas=(0.9, 1.0) is not possible"),
        (lambda: AdamW(weight_decay=float("nan")), "weight_decay=nan"),
        (lambda: Ema(decay=1.0), "decay=1.0 is not possible; expected a number in [0, 1)"),
        (lambda: Data(batch_size=0), "data.batch_size=0"),
        (lambda: Finetune(min_snr=0.0), "min_snr=0.0: expected a number above 0"),
        (lambda: Finetune(noise_offset=-1.0), "noise_offset=-1.0"),
    ],
)
def test_what_cannot_be_is_refused_with_its_value(make: Callable[[], Any], said: str) -> None:
    with pytest.raises(UsageError, match=re.escape(said)):
        make()


def test_stages_follow_each_other() -> None:
    plan = run(stages=(Stage(steps=2), Stage(name="more", steps=3), Stage(name="last", steps=1)))
    at = [(stage.name, step) for stage, step in (plan.stage_at(step) for step in range(plan.steps))]
    assert at == [("train", 0), ("train", 1), ("more", 0), ("more", 1), ("more", 2), ("last", 0)]
    with pytest.raises(IndexError):
        plan.stage_at(6)


def test_the_rate_by_hand() -> None:
    rates = [AdamW(learning_rate=1.0, warmup_steps=2, cooldown_steps=4).rate(step, 8) for step in range(1, 9)]
    assert rates == [0.5, 1, 1, 1, 1, 0.75, 0.5, 0.25]
    assert [AdamW(learning_rate=2.0).rate(step, 3) for step in (1, 2, 3)] == [2, 2, 2]


def test_a_plan_that_begins_with_an_average_needs_one() -> None:
    assert with_average(ema=Ema()).stages[1].begin_with == "average"
