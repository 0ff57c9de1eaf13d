"""How much the join of many hashes compares: near-linear, also where the hashes are skewed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from stages.dedup import hamming_buckets, hamming_plan
from stages.dedup.hamming_buckets import BucketJoin
from store.errors import MashbillError


@pytest.fixture(autouse=True)
def fresh_plans() -> Iterator[None]:
    hamming_plan._plan.cache_clear()
    yield
    hamming_plan._plan.cache_clear()


def joined(values: np.ndarray, radius: int) -> tuple[np.ndarray, int]:
    """The pairs, uint64 [n, 2], smaller first and sorted, and how many comparisons they took."""
    join = BucketJoin(threads=2)
    pairs = np.concatenate([np.empty((0, 2), np.uint64), *join.pairs(values.copy(), None, radius)])
    pairs = np.sort(pairs, axis=1)
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))], join.comparisons


def on_bits(values: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Moves the lowest bits of each value to these places."""
    moved = np.zeros(len(values), np.uint64)
    for bit, place in enumerate(places.tolist()):
        moved |= ((values >> np.uint64(bit)) & np.uint64(1)) << np.uint64(place)
    return moved


def neighbors(values: np.ndarray, radius: int, some: np.ndarray) -> int:
    """Pairs of ``values[some]`` with all others, by comparing all."""
    return sum(int((np.bitwise_count(values ^ value) <= radius).sum()) - 1 for value in values[some])


def shared(count: int, rng: np.random.Generator) -> np.ndarray:
    """Hashes that agree in 40 of their bits."""
    free = rng.choice(2**24, count, replace=False).astype(np.uint64)
    return on_bits(free, rng.permutation(64)[:24]) ^ rng.integers(0, 2**64, dtype=np.uint64)


def rare(count: int, rng: np.random.Generator) -> np.ndarray:
    """Distinct hashes in which each bit is set in one of eight: many share every key."""
    bits = rng.random((count + count // 8, 64)) < 0.125
    values = np.array(sorted(set(np.packbits(bits, axis=1).view(">u8").ravel().tolist())), np.uint64)
    return rng.permutation(values)[:count]


@pytest.mark.parametrize(("draw", "most_share"), [(shared, 0.005), (rare, 0.12)])
def test_skewed_hashes_are_not_compared_all_with_all(
    draw: Callable[[int, np.random.Generator], np.ndarray], most_share: float
) -> None:
    rng = np.random.default_rng(4)
    values = draw(200_000, rng)
    pairs, comparisons = joined(values, 2)
    assert comparisons < most_share * len(values) * (len(values) - 1) / 2
    some = rng.choice(len(values), 300, replace=False)
    met = np.isin(pairs, values[some]).sum()
    assert int(met) == neighbors(values, 2, some)


def test_comparisons_grow_with_the_number_of_hashes() -> None:
    rng = np.random.default_rng(5)
    few, many = (joined(rng.integers(0, 2**64, n, dtype=np.uint64), 6)[1] for n in (100_000, 800_000))
    assert many < 12 * few


@pytest.mark.parametrize("radius", [2, 4])
def test_crowded_buckets_are_joined_by_other_bits(radius: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hamming_buckets, "CROWDED", 400)
    monkeypatch.setattr(hamming_plan, "_STRAIGHT_COMPARE_NS", 10.0)
    rng = np.random.default_rng(6)
    values = np.concatenate([rare(1500, rng), rng.integers(0, 2**64, 500, dtype=np.uint64)])
    distance = np.bitwise_count(values[:, None] ^ values)
    apart: list[int] = []
    crowded = BucketJoin._crowded

    def counting(self: BucketJoin, *given: Any) -> Iterator[np.ndarray]:
        apart.append(given[3])
        return crowded(self, *given)

    monkeypatch.setattr(BucketJoin, "_crowded", counting)
    pairs, _ = joined(values, radius)
    assert len(set(apart)) > 10
    assert len(pairs) == len(set(map(tuple, pairs.tolist())))
    assert len(pairs) == (int((distance <= radius).sum()) - len(values)) // 2


def test_more_pairs_than_there_was_room_for() -> None:
    values = np.arange(512, dtype=np.uint64)
    pairs, _ = joined(values, 12)
    assert len(pairs) == 512 * 511 // 2


def test_more_hashes_than_fit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hamming_buckets, "MOST_HASHES", 10)
    with pytest.raises(MashbillError, match="11 different hashes"):
        list(BucketJoin(1).pairs(np.arange(11, dtype=np.uint64), None, 1))
