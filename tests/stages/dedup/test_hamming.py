"""The Hamming join against comparing everything with everything."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.dedup.hamming import hamming_join
from store.errors import UsageError


def brute_force(left: np.ndarray, right: np.ndarray, radius: int) -> set[tuple[int, int, int]]:
    left, right = np.unique(left), np.unique(right)
    distance = np.bitwise_count(left[:, None] ^ right[None, :])
    rows = zip(*np.nonzero(distance <= radius), strict=True)
    return {(int(left[i]), int(right[j]), int(distance[i, j])) for i, j in rows}


def found(left: np.ndarray, right: np.ndarray, radius: int, scratch: Path) -> list[tuple[int, int, int]]:
    pairs = hamming_join(left, right, radius, str(scratch))
    return list(zip(*(column.tolist() for column in pairs), strict=True))


def with_neighbors(rng: np.random.Generator, count: int) -> np.ndarray:
    """Random hashes, half of them followed by a neighbor at a distance of 0 to 10."""
    hashes = rng.integers(0, 2**64, count, dtype=np.uint64)
    near = hashes[: count // 2].copy()
    for row in range(len(near)):
        for bit in rng.choice(64, rng.integers(0, 11), replace=False):
            near[row] ^= np.uint64(1) << np.uint64(bit)
    return np.concatenate([hashes, near])


@pytest.mark.parametrize("radius", [0, 1, 4, 6, 8])
def test_finds_every_pair_within_the_radius_once(radius: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(radius)
    left, right = with_neighbors(rng, 400), with_neighbors(rng, 300)
    right = np.concatenate([right, left[:200] ^ np.uint64(0b1001)])
    pairs = found(left, right, radius, tmp_path)
    assert len(pairs) == len(set(pairs))
    assert set(pairs) == brute_force(left, right, radius)


@pytest.mark.parametrize("count", [40_000, 150_000])
def test_plans_for_larger_inputs_miss_nothing(count: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(count)
    hashes = rng.integers(0, 2**64, count, dtype=np.uint64)
    planted = hashes[:50].copy()
    for row in range(50):
        for bit in rng.choice(64, 3, replace=False):
            planted[row] ^= np.uint64(1) << np.uint64(bit)
    pairs = set(found(hashes, planted, 3, tmp_path))
    assert pairs >= {(int(a), int(b), 3) for a, b in zip(hashes[:50], planted, strict=True)}


word = st.integers(0, 2**64 - 1)
close = st.builds(
    lambda base, bits: base ^ sum({1 << b for b in bits}),
    st.sampled_from([0, 2**63, 0x5555]),
    st.lists(st.integers(0, 63), max_size=5),
)


@settings(max_examples=8, deadline=None)
@given(st.lists(word | close, max_size=30), st.lists(word | close, max_size=30), st.integers(0, 6))
def test_equals_brute_force_on_any_hashes(
    tmp_path_factory: pytest.TempPathFactory, left: list[int], right: list[int], radius: int
) -> None:
    one, two = np.array(left, np.uint64), np.array(right, np.uint64)
    pairs = found(one, two, radius, tmp_path_factory.getbasetemp())
    assert set(pairs) == brute_force(one, two, radius)
    assert len(pairs) == len(set(pairs))


def test_a_hash_that_everyone_has_is_one_pair(tmp_path: Path) -> None:
    hub = np.full(200_000, 0x8000000000000000, np.uint64)
    assert found(hub, hub, 6, tmp_path) == [(2**63, 2**63, 0)]


def test_order_of_the_input_does_not_matter(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    hashes = with_neighbors(rng, 300)
    pairs = found(hashes, hashes, 6, tmp_path)
    assert found(rng.permutation(hashes), hashes[::-1], 6, tmp_path) == pairs


@pytest.mark.parametrize("radius", [-1, 13])
def test_a_senseless_radius_is_refused(radius: int, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"radius is {radius}; expected 0 to 12"):
        hamming_join(np.zeros(1, np.uint64), np.zeros(1, np.uint64), radius, str(tmp_path))
