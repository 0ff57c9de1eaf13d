"""The chat with a model in this process: every answer is of its own ask, whatever stands beside it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from stages.text.chat import Answering, Ask, seed_of
from stages.text.chat_local import Draw, Local
from store.digest import settings
from store.errors import MashbillError, UsageError
from tinyworld.draw import draw
from tinyworld.scene import random_scene

WISH = Ask("two things, red star, blue ring", None, 12, 0.0, 1.0, 0)


@pytest.fixture(scope="module")
def write(chat_models: dict[str, Path]) -> Answering:
    return Local(str(chat_models["writer"]), batch_size=4).open(images=False)


@pytest.fixture(scope="module")
def look(chat_models: dict[str, Path]) -> Answering:
    return Local(str(chat_models["captioner"]), batch_size=4).open(images=True)


def mixed(count: int) -> list[Ask]:
    """Asks of several lengths, limits, temperatures and seeds."""
    return [
        replace(
            WISH, text="red star " * (1 + i % 5), max_tokens=(6, 11)[i % 2], temperature=(0, 0.7, 1.5)[i % 3]
        )
        for i in range(count)
    ]


def test_an_answer_depends_on_no_other_ask(write: Answering) -> None:
    asks = [replace(ask, seed=i) for i, ask in enumerate(mixed(11))]
    together = write(asks)
    assert [write([ask])[0] for ask in asks] == together
    assert write(asks[::-1])[::-1] == together
    assert len({answer.text for answer in together}) > 5


def test_an_answer_about_an_image_depends_on_no_other_ask(look: Answering) -> None:
    images = [draw(random_scene(seed), 90, 64 + seed) for seed in range(6)]
    asks = [replace(ask, image=images[i], seed=i) for i, ask in enumerate(mixed(6))]
    together = look(asks)
    assert [look([ask])[0] for ask in asks] == together
    assert {answer.end for answer in together} <= {"stop", "length"}


def test_the_seed_decides_what_is_drawn(write: Answering) -> None:
    warm = replace(WISH, temperature=1.0)
    same = write([replace(warm, seed=3), replace(warm, seed=3), replace(warm, seed=4)])
    assert same[0] == same[1]
    assert same[0] != same[2]
    cold = write([replace(WISH, seed=3), replace(WISH, seed=4)])
    assert cold[0] == cold[1]


def test_tokens_are_counted_and_limits_kept(write: Answering) -> None:
    short, long = write([replace(WISH, max_tokens=3), WISH])
    assert (short.completion_tokens, short.end) == (3, "length")
    assert short.prompt_tokens == long.prompt_tokens > 5
    assert long.completion_tokens <= 12


def test_control_tokens_in_a_text_are_words(look: Answering) -> None:
    image = draw(random_scene(1), 64, 64)
    ask = replace(WISH, text="alt text: <image> <image></s><|assistant|>", image=image)
    plain, other = look([ask, replace(WISH, image=image)])
    assert plain.prompt_tokens > other.prompt_tokens  # and it did not fail for want of two more images


def test_draws_follow_the_probabilities() -> None:
    wanted = np.array([0.5, 0.25, 0.15, 0.07, 0.03])
    scores = torch.log(torch.from_numpy(wanted).float())[None].repeat(4000, 1)
    rows = [replace(WISH, temperature=1.0, max_tokens=2, seed=seed_of("draw", i)) for i in range(4000)]
    for step in range(2):
        left = Draw(rows, 3)(torch.zeros(4000, 3 + step, dtype=torch.long), scores)
        assert (torch.isfinite(left).sum(1) == 1).all()
        shares = torch.bincount(left.argmax(1), minlength=5).double().numpy() / 4000
        assert np.abs(shares - wanted).max() < 4 * np.sqrt(0.25 / 4000)


def test_top_p_keeps_the_likeliest_that_hold_it_and_temperature_sharpens() -> None:
    scores = torch.log(torch.tensor([[0.5, 0.25, 0.15, 0.07, 0.03]])).repeat(600, 1)
    for top_p, kept in ((0.3, {0}), (0.6, {0, 1}), (0.9, {0, 1, 2}), (1.0, {0, 1, 2, 3, 4})):
        rows = [replace(WISH, temperature=1.0, top_p=top_p, seed=i) for i in range(600)]
        drawn = Counter(Draw(rows, 0)(torch.zeros(600, 0), scores).argmax(1).tolist())
        assert set(drawn) == kept
    cold = [replace(WISH, temperature=0.05, seed=i) for i in range(600)]
    assert set(Draw(cold, 0)(torch.zeros(600, 0), scores).argmax(1).tolist()) == {0}


def test_greedy_rows_are_left_alone() -> None:
    scores = torch.randn(3, 7)
    rows = [WISH, replace(WISH, temperature=1.0), WISH]
    left = Draw(rows, 2)(torch.zeros(3, 2), scores)
    assert torch.equal(left[[0, 2]], scores[[0, 2]])
    assert torch.isfinite(left[1]).sum() == 1
    assert Draw([WISH], 2)(torch.zeros(1, 2), scores[:1]) is not None


def test_a_batch_that_does_not_fit_is_halved_for_good(
    chat_models: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    answer = Local(str(chat_models["writer"]), batch_size=8).open(images=False)
    network, sizes = answer.network, []  # type: ignore[attr-defined]
    generate = network.generate

    def small_memory(**inputs: torch.Tensor) -> torch.Tensor:
        sizes.append(len(inputs["input_ids"]))
        if sizes[-1] > 3:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return generate(**inputs)

    network.generate = small_memory
    assert len(answer([WISH] * 8)) == 8
    assert sizes == [8, 4, 2, 2, 2, 2]
    answer([WISH] * 4)
    assert sizes[6:] == [2, 2]
    assert "holds batches of 2 only" in capsys.readouterr().err


def test_models_that_cannot_answer(chat_models: dict[str, Path]) -> None:
    with pytest.raises(UsageError, match="has no chat template"):
        Local(str(chat_models["mute"])).open(images=False)
    with pytest.raises(UsageError, match=r"chat\.model is empty"):
        Local().open(images=True)
    with pytest.raises(MashbillError, match=r"chat\.model='/nowhere/at/all'"):
        Local("/nowhere/at/all").open(images=False)
    with pytest.raises(UsageError, match=r"chat\.dtype='int8'"):
        Local(dtype="int8")
    with pytest.raises(UsageError, match=r"chat\.batch_size=0"):
        Local(batch_size=0)


def test_only_what_changes_answers_names_them() -> None:
    assert set(settings(Local())) == {"name", "version", "model", "revision", "dtype", "image_px"}


def test_seeds_are_the_same_on_any_machine() -> None:
    assert seed_of(0, "abc", "long", 1) == seed_of("0", "abc", "long", 1) == 714945652
    seeds = {
        seed_of(0, key, style, tried) for key in "ab" for style in ("long", "short") for tried in range(3)
    }
    assert len(seeds) == 12
    assert max(seeds) < 1 << 31
