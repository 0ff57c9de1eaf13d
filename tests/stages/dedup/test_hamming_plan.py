"""Plans of the Hamming join: every difference within the radius is met by a mask of some table."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.dedup.hamming import MAX_RADIUS
from stages.dedup.hamming_plan import Plan, plan


def keys(chosen: Plan, number: int, differences: np.ndarray) -> np.ndarray:
    """int64 [n]: what the keys of table ``number`` differ by."""
    found = np.zeros(len(differences), np.int64)
    block_mask = (1 << chosen.width) - 1
    for block in chosen.tables[number].blocks:
        part = (differences >> np.uint64(block * chosen.width)).astype(np.int64) & block_mask
        found = found << chosen.width | part
    return found


def differences(radius: int, bits: int, rng: np.random.Generator) -> np.ndarray:
    """uint64 [n]: XORs of two hashes, 0 to ``radius`` of the lowest ``bits`` set, also bits side by side."""
    counts = rng.integers(0, min(radius, bits) + 1, 4000)
    order = np.argsort(rng.random((len(counts), bits)), axis=1).astype(np.uint64)
    order[::2] = (rng.integers(0, bits, len(order[::2]))[:, None] + np.arange(bits)) % bits
    flips = (np.uint64(1) << order) * (np.arange(bits) < counts[:, None])
    return np.asarray(np.bitwise_or.reduce(flips, axis=1))


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([10**4, 10**5, 10**6, 10**7, 10**8]),
    st.booleans(),
    st.integers(0, MAX_RADIUS),
    st.integers(8, 64),
    st.integers(0, 2**32),
)
def test_every_difference_is_met_first_by_one_table(
    count: int, one_set: bool, radius: int, bits: int, seed: int
) -> None:
    chosen = plan(count, None if one_set else count // 3, radius, bits)
    if chosen is None:
        return
    assert chosen.blocks * chosen.width <= bits
    xor = differences(radius, 64, np.random.default_rng(seed))
    first = np.full(len(xor), len(chosen.tables))
    for number, table in enumerate(chosen.tables):
        if not (first == len(chosen.tables)).any():
            break
        assert (chosen.met_before(number, xor) == (first < number)).all()
        if sum(1 for _ in table.patterns) and len(table.blocks) * chosen.width <= 24:
            masks = chosen.masks(table)
            assert len(masks) == len(set(masks.tolist()))
            first[np.isin(keys(chosen, number, xor), masks) & (first == len(chosen.tables))] = number
    assert (first < len(chosen.tables)).all()


@pytest.mark.parametrize(("radius", "most_masks"), [(4, 80), (6, 300), (8, 800)])
def test_plans_stay_small(radius: int, most_masks: int) -> None:
    for count in (10**6, 10**7):
        chosen = plan(count, None, radius, 64)
        assert chosen is not None
        assert sum(len(chosen.masks(table)) for table in chosen.tables) <= most_masks


def test_few_hashes_and_few_bits_are_compared_straight() -> None:
    assert plan(1000, None, 6, 64) is None
    assert plan(0, 10**6, 6, 64) is None
    assert plan(10**6, 0, 6, 64) is None
    assert plan(10**6, None, 12, 14) is None


def test_masks_stand_for_bits_of_the_hash() -> None:
    chosen = plan(10**6, None, 6, 64)
    assert chosen is not None
    for number, table in enumerate(chosen.tables):
        for mask in chosen.masks(table)[::7].tolist():
            bits = np.array([chosen.hash_bits(table, mask)], np.uint64)
            assert keys(chosen, number, bits).tolist() == [mask]
