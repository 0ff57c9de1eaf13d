"""Splits that share nothing: groups stay whole, sizes are met, links go through others."""

from __future__ import annotations

import hashlib
from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.select.split_apart import SplitApart
from store.errors import UsageError


def split(stage: SplitApart, **columns: list[str | None]) -> list[str]:
    count = len(next(iter(columns.values())))
    ids = [hashlib.sha256(str(number).encode()).hexdigest()[:24] for number in range(count)]
    typed = {name: pa.array(values, pa.string()) for name, values in columns.items()}
    return list(stage.reduce(pa.table({"sample_id": ids, **typed}), "")["split"].to_pylist())


def test_numbers_are_met_where_everybody_is_alone() -> None:
    sides = split(SplitApart(validation=30, test=20, largest_share=0.5), cluster_id=[None] * 400)
    assert Counter(sides) == {"train": 350, "validation": 30, "test": 20}
    assert Counter(split(SplitApart(), cluster_id=[None] * 400)) == {
        "train": 360, "validation": 20, "test": 20,
    }  # fmt: skip


def test_a_group_that_is_too_large_stays_in_train() -> None:
    sides = split(SplitApart(validation=10, test=10, largest_share=0.5), cluster_id=["a"] * 30 + [None] * 30)
    assert set(sides[:30]) == {"train"}
    assert Counter(sides[30:]) == {"validation": 10, "test": 10, "train": 10}


def test_samples_are_linked_through_others() -> None:
    stage = SplitApart(by=("cluster_id", "prompt_id"), validation=3, test=0, largest_share=0.5)
    for seed in range(20):
        sides = split(
            SplitApart(stage.by, 3, 0, 0.5, seed),
            cluster_id=["a", "a", None, "b", None, None, None],
            prompt_id=[None, "p", "p", "q", "q", None, "r"],
        )
        assert len(set(sides[:3])) == 1
        assert sides[3] == sides[4]
        assert 1 <= sides.count("validation") <= 3


@given(st.lists(st.sampled_from([None, *"abcdefgh"]), min_size=1, max_size=80), st.integers(0, 99))
def test_no_group_is_cut(clusters: list[str | None], seed: int) -> None:
    stage = SplitApart(validation=7, test=5, largest_share=0.5, seed=seed)
    sides = split(stage, cluster_id=clusters)
    for name in set(clusters) - {None}:
        assert len({side for side, cluster in zip(sides, clusters, strict=True) if cluster == name}) == 1
    assert sides.count("validation") <= min(7, len(sides) // 2)
    assert sides == split(stage, cluster_id=clusters)


def test_another_seed_draws_other_sides() -> None:
    clusters: list[str | None] = [None] * 200
    assert split(SplitApart(seed=0), cluster_id=clusters) != split(SplitApart(seed=1), cluster_id=clusters)


@pytest.mark.parametrize("wrong", [{"by": ()}, {"validation": -1}, {"largest_share": 0.6}])
def test_impossible_settings(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="split_apart: by="):
        SplitApart(**wrong)  # type: ignore[arg-type]


def test_a_side_that_is_given_holds_for_the_group() -> None:
    stage = SplitApart(by=("prompt_id",), validation=4, test=1, largest_share=0.5, given="prompt_split")
    sides = split(
        stage,
        prompt_id=["a", "a", "b", "b", "c", "c", *[None] * 14],
        prompt_split=[
            "validation",
            None,
            "train",
            "validation",
            "train",
            "test",
            *["train"] * 4,
            *[None] * 10,
        ],
    )
    assert sides[:6] == ["validation"] * 4 + ["test"] * 2
    assert sides[6:10] == ["train"] * 4
    assert set(sides[10:]) == {"train"}  # the numbers are full already
    more = split(stage, prompt_id=[None] * 20, prompt_split=["validation", "train"] + [None] * 18)
    assert more[:2] == ["validation", "train"]
    assert Counter(more) == {"train": 15, "validation": 4, "test": 1}
    unknown = split(stage, prompt_id=[None] * 20, prompt_split=[None] * 20)
    assert unknown == split(SplitApart(stage.by, 4, 1, 0.5), prompt_id=[None] * 20)
