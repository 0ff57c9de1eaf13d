"""Which buckets to compare so that no pair of hashes within a radius is missed.

``m`` disjoint blocks of ``w`` bits are cut out of the 64. A table sorts the hashes by the bits of ``k``
blocks, its key; a step of a table is a pattern, how many bits differ in each of these blocks, and it
compares every bucket with the buckets whose keys differ by that pattern.

Proof that none is missed: two hashes at most ``radius`` bits apart have some number of different bits in
each block, a vector of ``m`` numbers with a sum of at most ``radius``, and the steps are chosen from all
such vectors until each agrees with the pattern of at least one step on the blocks of its table. In that
step the two keys differ exactly by one of the compared masks, so the pair is met there, once.

Which patterns to open is a weighted set cover, solved greedily; the shape is the one whose cover
costs least. Costs are CPU nanoseconds as measured on one core with AVX-512.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations, product
from math import comb, inf, log2

import numpy as np

_SORT_NS = 12.0
_VISIT_NS = 15.0
_COMPARE_NS = 0.18
_STRAIGHT_COMPARE_NS = 0.1
_TABLE_NS = 2e5
_MOST_VECTORS = 1_500_000
"""Vectors times tables a cover is looked for in: some 30 ms."""
_MOST_KEY_BITS = 28


@dataclass(frozen=True)
class Table:
    """Blocks of the key, highest first, and for each step how many bits differ in each of them."""

    blocks: tuple[int, ...]
    patterns: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Plan:
    """``tables`` over ``blocks`` blocks; block ``i`` is the bits ``i * width`` to ``(i + 1) * width``."""

    blocks: int
    width: int
    tables: tuple[Table, ...]

    @property
    def key_bits(self) -> int:
        """Of every table."""
        return len(self.tables[0].blocks) * self.width

    def masks(self, table: Table) -> np.ndarray:
        """int64 [masks]: what the keys of compared buckets differ by, sorted."""
        words = [
            [sum(1 << bit for bit in chosen) for chosen in combinations(range(self.width), count)]
            for count in range(max(max(pattern) for pattern in table.patterns) + 1)
        ]
        found = []
        for pattern in table.patterns:
            for parts in product(*(words[count] for count in pattern)):
                mask = 0
                for part in parts:
                    mask = mask << self.width | part
                found.append(mask)
        return np.array(sorted(found), np.int64)

    def hash_bits(self, table: Table, mask: int) -> int:
        """The bits of a hash that a mask of the table's key stands for."""
        bits, block_mask = 0, (1 << self.width) - 1
        for block in reversed(table.blocks):
            bits |= (mask & block_mask) << (block * self.width)
            mask >>= self.width
        return bits

    def met_before(self, number: int, difference: np.ndarray) -> np.ndarray:
        """bool [n]: whether a table before ``tables[number]`` meets hashes with this XOR (uint64 [n])."""
        met = np.zeros(len(difference), bool)
        block_mask = np.uint64((1 << self.width) - 1)
        count = [
            np.bitwise_count((difference >> np.uint64(block * self.width)) & block_mask).astype(np.int64)
            for block in range(self.blocks)
        ]
        for table in self.tables[:number]:
            side = self.width + 1
            steps = np.zeros((side,) * len(table.blocks), bool)
            steps[tuple(np.array(table.patterns).T)] = True
            met |= steps[tuple(count[block] for block in table.blocks)]
        return met


def plan(left: int, right: int | None, radius: int, bits: int) -> Plan | None:
    """The cheapest plan for two sets of so many hashes, None where comparing all with all is cheaper.

    ``right`` is None when one set is joined with itself. ``bits``: how many of the 64 bits tell
    hashes apart; the key uses no others.
    """
    if not left or right == 0:
        return None
    return _plan(_rounded(left), None if right is None else _rounded(right), radius, bits)


def _rounded(count: int) -> int:
    """To a power of the square root of 2, so that sets of about one size share a plan."""
    return round(2 ** (round(2 * log2(count)) / 2))


@lru_cache(maxsize=512)
def _plan(left: int, right: int | None, radius: int, bits: int) -> Plan | None:
    other, half = (left, 0.5) if right is None else (right, 1.0)
    least, best = half * left * other * _STRAIGHT_COMPARE_NS, None
    rows = left if right is None else left + right
    for blocks, key, width in _shapes(log2(left * other) / 2, radius, bits):
        buckets = 2.0 ** (key * width)
        mask_ns = half * (buckets * _VISIT_NS + left * other / buckets * _COMPARE_NS)
        table_ns = rows * _SORT_NS + buckets + _TABLE_NS
        cost, tables = _cover((blocks, key, width), radius, (table_ns, mask_ns), least)
        if cost < least:
            least, best = cost, Plan(blocks, width, tables)
    return best


def _shapes(log_rows: float, radius: int, bits: int) -> list[tuple[int, int, int]]:
    """Numbers of blocks, blocks in a key and bits in a block that are worth a look."""
    shapes = []
    for key in (1, 2, 3):
        ideal = (log_rows - 3) / key
        for blocks in range(key + 1, 12):
            widths = {min(bits // blocks, round(ideal + more)) for more in (-0.5, 0.5)}
            for width in sorted(widths):
                size = comb(radius + blocks, blocks) * comb(blocks, key)
                near = abs(key * width - key * ideal) < 6 and key * width <= _MOST_KEY_BITS
                if width > 0 and near and size <= _MOST_VECTORS:
                    shapes.append((blocks, key, width))
    return shapes


def _vectors(blocks: int, radius: int, width: int) -> np.ndarray:
    """int64 [n, blocks]: every way in which at most ``radius`` different bits lie in the blocks."""
    found = np.zeros((1, 0), np.int64)
    for _ in range(blocks):
        used = found.sum(axis=1)
        parts = []
        for count in range(min(radius, width) + 1):
            some = found[used <= radius - count]
            parts.append(np.concatenate([some, np.full((len(some), 1), count)], axis=1))
        found = np.concatenate(parts)
    return found


def _cover(
    shape: tuple[int, int, int], radius: int, cost_ns: tuple[float, float], limit: float
) -> tuple[float, tuple[Table, ...]]:
    """Steps that meet every vector, chosen greedily by vectors per nanosecond, and what they cost.

    ``cost_ns``: of opening a table, and of one mask. Gives up with an infinite cost above ``limit``.
    """
    blocks, key, width = shape
    vectors = _vectors(blocks, radius, width)
    keys = list(combinations(range(blocks), key))
    side = min(radius, width) + 1
    weights = side ** np.arange(key)
    step = np.stack([vectors[:, list(chosen)] @ weights for chosen in keys])
    step += side**key * np.arange(len(keys))[:, None]
    masks = np.array([1.0])
    for _ in range(key):
        masks = np.multiply.outer([float(comb(width, count)) for count in range(side)], masks).ravel()
    count = np.bincount(step.ravel(), minlength=len(keys) * side**key)
    unmet, opened = np.arange(len(vectors)), np.zeros(len(keys), bool)
    chosen_steps, cost = [], 0.0
    while len(unmet):
        price = masks[None, :] * cost_ns[1] + np.where(opened, 0.0, cost_ns[0])[:, None]
        best = int((count.reshape(len(keys), -1) / price).argmax())
        table = best // side**key
        cost += float(price.ravel()[best])
        if cost >= limit:
            return inf, ()
        opened[table] = True
        chosen_steps.append(best)
        hit = step[table, unmet] == best
        count -= np.bincount(step[:, unmet[hit]].ravel(), minlength=len(count))
        unmet = unmet[~hit]
    return cost, _tables(chosen_steps, keys, side)


def _tables(steps: list[int], keys: list[tuple[int, ...]], side: int) -> tuple[Table, ...]:
    patterns: dict[int, list[tuple[int, ...]]] = {}
    for step in steps:
        table, pattern = divmod(step, side ** len(keys[0]))
        digits = tuple(pattern // side**place % side for place in range(len(keys[0])))
        patterns.setdefault(table, []).append(digits)
    return tuple(Table(keys[table], tuple(sorted(found))) for table, found in patterns.items())
