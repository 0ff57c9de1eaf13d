"""The order of samples: every one once per epoch, the same for any ranks, windows and cuts."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill_runs.buckets import nearest_bucket, run_buckets
from distill_runs.packs import Shard
from distill_runs.visits import WINDOW_SHARDS, Order, chance, shuffled
from store.errors import UsageError

BUCKETS = ((32, 32), (48, 32), (32, 48))
counts = st.lists(st.tuples(*[st.integers(0, 9)] * 3), min_size=1, max_size=3 * WINDOW_SHARDS)


def shards(found: list[Any]) -> list[Shard]:
    return [
        Shard(
            f"train-{number:05d}.tar", sum(row), 1, "", {b: n for b, n in zip(BUCKETS, row, strict=True) if n}
        )
        for number, row in enumerate(found)
    ]


def visited(order: Order, bucket: int, start: int, count: int) -> list[tuple[int, int, int]]:
    visits = order.visits(bucket, start, count)
    assert visits.bucket == bucket
    return list(zip(*(column.tolist() for column in (visits.epoch, visits.shard, visits.row)), strict=True))


@settings(deadline=None, max_examples=60)
@given(counts, st.integers(0, 3))
def test_each_epoch_of_a_bucket_holds_each_sample_once(found: list[Any], seed: int) -> None:
    order = Order(shards(found), BUCKETS, seed)
    for bucket, samples in enumerate(order.samples_B.tolist()):
        if not samples:
            continue
        everything = {(n, r) for n, row in enumerate(found) for r in range(row[bucket])}
        for epoch in range(2):
            seen = visited(order, bucket, epoch * samples, samples)
            assert {e for e, _, _ in seen} == {epoch}
            assert len(seen) == samples
            assert {(shard, row) for _, shard, row in seen} == everything


@settings(deadline=None, max_examples=60)
@given(counts, st.integers(1, 7), st.data())
def test_a_stream_is_the_same_however_it_is_cut(found: list[Any], size: int, data: st.DataObject) -> None:
    whole = Order(shards(found), BUCKETS, 1)
    bucket = data.draw(st.integers(0, 2))
    samples = int(whole.samples_B[bucket])
    if not samples:
        return
    stream = visited(whole, bucket, 0, 3 * samples)
    start = data.draw(st.integers(0, 2 * samples))
    assert (
        visited(Order(shards(found), BUCKETS, 1), bucket, start, size)
        == ((stream + visited(whole, bucket, 3 * samples, size))[start : start + size])
    )


@settings(deadline=None, max_examples=60)
@given(counts, st.integers(1, 12))
def test_buckets_go_through_their_epochs_at_one_pace(found: list[Any], batch: int) -> None:
    order = Order(shards(found), BUCKETS, 0)
    samples = order.samples_B
    if not samples.any():
        return
    positions = np.zeros(3, np.int64)
    for _ in range(2 * int(samples.sum()) // batch + 1):
        bucket = order.next_bucket(positions.tolist(), batch)
        positions[bucket] += batch
        there = samples > 0
        pace = positions[there] / samples[there]
        slack = batch / samples[there].min()
        assert pace.max() - pace.min() <= slack + 1e-9
    assert not positions[~there].any()


def test_an_epoch_is_shuffled_and_has_an_order_of_its_own() -> None:
    order = Order(shards([(100, 0, 0)] * 20), BUCKETS, 0)
    first, second = visited(order, 0, 0, 2000), visited(order, 0, 2000, 2000)
    assert [v[1:] for v in first] != [v[1:] for v in second]
    assert visited(Order(shards([(100, 0, 0)] * 20), BUCKETS, 1), 0, 0, 2000) != first
    assert len({shard for _, shard, _ in first[:100]}) == WINDOW_SHARDS
    assert len({shard for _, shard, _ in first[: 100 * WINDOW_SHARDS]}) == WINDOW_SHARDS


def test_a_pack_of_ten_million_samples_is_planned_at_once() -> None:
    order = Order(shards([(700, 200, 100)] * 10_000), BUCKETS, 0)
    seen = Counter[int]()
    for place in (0, 6_999_990, 70_000_000):
        seen.update(e for e, _, _ in visited(order, 0, place, 64))
    assert seen == {0: 64 + 10, 1: 54, 10: 64}


def test_shuffles_never_change() -> None:
    assert shuffled(8, "a").tolist() == [0, 1, 4, 7, 3, 2, 5, 6]
    assert sorted(shuffled(1000, "b").tolist()) == list(range(1000))
    assert chance("a") == pytest.approx(0.184607, abs=1e-6)
    assert sum(chance(str(n)) < 0.25 for n in range(4000)) == pytest.approx(1000, abs=100)


def test_an_image_goes_to_the_bucket_nearest_to_its_aspect() -> None:
    sizes = [(64, 64), (90, 64), (70, 64), (64, 90), (1000, 10)]
    assert [nearest_bucket(size, BUCKETS) for size in sizes] == [0, 1, 0, 2, 1]


def test_without_buckets_a_run_reads_the_one_size_of_the_pack() -> None:
    assert run_buckets([(96, 64)], (), 32, "p") == ((48, 32),)
    with pytest.raises(UsageError, match=r"images of 2 sizes \(64x64, 96x64\)"):
        run_buckets([(64, 64), (96, 64)], (), 32, "p")
    with pytest.raises(UsageError, match=r"64x64 pixels, which the bucket 80x80 would enlarge"):
        run_buckets([(64, 64)], (), 80, "p")
