"""The join of many hashes: tables of buckets, one after the other, each by several threads.

Two buckets with too many hashes, as skewed data has them, are joined again by bits that tell
those apart, so the work does not grow with the square of a bucket.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise
from typing import TypeVar

import numpy as np

from stages.dedup.hamming_kernels import (
    LANES,
    Buckets,
    Key,
    Masks,
    Near,
    Rule,
    count_tiles,
    move_bits,
    near_in_buckets,
    scatter,
    sort_tiles,
)
from stages.dedup.hamming_plan import Plan, Table, plan
from store.errors import MashbillError

MOST_HASHES = (1 << 31) - 1
"""Where buckets start is kept in 32 bits."""

CROWDED = 1 << 24
"""Two buckets with more pairs than this are joined by other bits."""

_SAMPLE = 1 << 16
_TELLING = 1 / 16
"""A bit tells hashes apart when its rarer value has this share."""
_FEWEST_BITS = 24
_RANGES_PER_THREAD = 32

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class BucketJoin:
    """Joins with so many threads. ``comparisons`` counts what was compared, to see that it stays small."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self.comparisons = 0

    def pairs(self, left: np.ndarray, right: np.ndarray | None, radius: int) -> Iterator[np.ndarray]:
        """uint64 [n, 2] pairs of distinct hashes, each once; without ``right`` in no order.

        Rearranges ``left`` and ``right`` in place. Raises MashbillError for more than ``MOST_HASHES``.
        """
        count = max(len(left), 0 if right is None else len(right))
        if count > MOST_HASHES:
            raise MashbillError(
                f"the Hamming join got {count} different hashes; it takes {MOST_HASHES} at once:"
                " join parts of them with each other"
            )
        with ThreadPoolExecutor(self._threads) as self._pool:
            yield from self._near(left, right, radius)

    def _near(self, left: np.ndarray, right: np.ndarray | None, radius: int) -> Iterator[np.ndarray]:
        order, telling = _bits_by_worth(left, right)
        chosen = plan(len(left), None if right is None else len(right), radius, telling)
        if chosen is None:
            yield from self._all_with_all(left, right, radius)
            return
        places = _places(order, chosen)
        for values in (left,) if right is None else (left, right):
            self._move(values, places)
        back = _lookup(np.argsort(places))
        one = _room(len(left), chosen)
        two = one if right is None else _room(len(right), chosen)
        for number, table in enumerate(chosen.tables):
            self._sort(left, chosen, table, one)
            if right is not None:
                self._sort(right, chosen, table, two)
            for pairs in self._joined(one, two, (chosen, table, radius)):
                new = pairs[~chosen.met_before(number, pairs[:, 0] ^ pairs[:, 1])]
                move_bits(new.ravel(), back)
                yield new

    def _joined(self, left: Buckets, right: Buckets, how: tuple[Plan, Table, int]) -> Iterator[np.ndarray]:
        """Pairs within the radius whose keys differ by one of the table's masks."""
        chosen, table, radius = how
        key_bits = chosen.key_bits
        masks = _grouped(chosen.masks(table), key_bits)
        ranges = _ranges((1 << key_bits) >> masks.low_bits, self._threads * _RANGES_PER_THREAD)

        def work(tiles: tuple[int, int]) -> Near:
            return near_in_buckets(left, right, masks, tiles, Rule(radius, CROWDED, left is right))

        for near in self._side_by_side(work, ranges):
            self.comparisons += near.comparisons
            yield near.pairs
            for key, near_key in near.crowded.tolist():
                one = left.values[left.starts[key] : left.starts[key + 1]].copy()
                if left is right and key == near_key:
                    yield from self._near(one, None, radius)
                    continue
                two = right.values[right.starts[near_key] : right.starts[near_key + 1]]
                yield from self._crowded(one, two, radius, chosen.hash_bits(table, key ^ near_key))

    def _crowded(self, left: np.ndarray, right: np.ndarray, radius: int, apart: int) -> Iterator[np.ndarray]:
        """Pairs of two buckets whose keys differ in the bits ``apart``: joined as if those were equal."""
        bits = np.uint64(apart)
        for pairs in self._near(left, right ^ bits, radius - apart.bit_count()):
            pairs[:, 1] ^= bits
            yield pairs

    def _all_with_all(self, left: np.ndarray, right: np.ndarray | None, radius: int) -> Iterator[np.ndarray]:
        one = _padded(left)
        two = one if right is None else _padded(right)
        blocks = [
            (rows, columns)
            for rows in _steps(len(left))
            for columns in _steps(len(left if right is None else right))
            if right is not None or rows <= columns
        ]

        def work(block: tuple[tuple[int, int], tuple[int, int]]) -> Near:
            rows, columns = (np.array(span, np.int32) for span in block)
            rule = Rule(radius, _BLOCK * _BLOCK, right is None and block[0] == block[1])
            return near_in_buckets(Buckets(one, rows), Buckets(two, columns), _ONE_MASK, (0, 1), rule)

        for near in self._side_by_side(work, blocks):
            self.comparisons += near.comparisons
            yield near.pairs

    def _move(self, values: np.ndarray, places: np.ndarray) -> None:
        lookup = _lookup(places)
        spans = _ranges(len(values), self._threads)
        self._run(lambda span: move_bits(values[slice(*span)], lookup), spans)

    def _sort(self, values: np.ndarray, chosen: Plan, table: Table, out: Buckets) -> None:
        """Sorts the hashes by the key: first into tiles by its high bits, then each tile by the low."""
        key, tiles = _key(chosen, table), 1 << (chosen.key_bits - _low_bits(chosen.key_bits))
        spans = _ranges(len(values), self._threads)
        counts = np.zeros((len(spans), tiles), np.int64)
        self._run(lambda part: count_tiles(values[slice(*spans[part])], key, counts[part]), range(len(spans)))
        edges = np.concatenate([[0], np.cumsum(counts.sum(axis=0))])
        places = edges[:-1] + np.cumsum(counts, axis=0) - counts
        self._run(
            lambda part: scatter(values[slice(*spans[part])], key, places[part], out.values),
            range(len(spans)),
        )
        ranges = _ranges(tiles, self._threads * _RANGES_PER_THREAD)
        self._run(lambda some: sort_tiles(out, key, some, edges), ranges)

    def _run(self, work: Callable[[_Item], None], items: Iterable[_Item]) -> None:
        deque(self._side_by_side(work, items), maxlen=0)

    def _side_by_side(self, work: Callable[[_Item], _Result], items: Iterable[_Item]) -> Iterator[_Result]:
        """The results in order; few are waited for at once, so that they do not pile up."""
        waiting: deque[Future[_Result]] = deque()
        for item in items:
            waiting.append(self._pool.submit(work, item))
            if len(waiting) > 2 * self._threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


_BLOCK = 4096
"""Rows and columns of a block, where all are compared with all."""

_ONE_MASK = Masks(np.zeros(1, np.int64), np.arange(2), np.zeros(1, np.int64), 0)


def _low_bits(key_bits: int) -> int:
    return (key_bits + 1) // 2


def _room(count: int, chosen: Plan) -> Buckets:
    """Buckets to sort into, table after table: new memory would cost more than sorting does."""
    keys = 1 << chosen.key_bits
    return Buckets(np.zeros(count + LANES, np.uint64), np.full(keys + 1, count, np.int32))


def _key(chosen: Plan, table: Table) -> Key:
    first, second, third = (*(block * chosen.width for block in table.blocks), 0, 0)[:3]
    parts, key_bits = len(table.blocks), chosen.key_bits
    return Key(parts, chosen.width, (1 << chosen.width) - 1, first, second, third, _low_bits(key_bits))


def _grouped(masks: np.ndarray, key_bits: int) -> Masks:
    low_bits = _low_bits(key_bits)
    high, start = np.unique(masks >> low_bits, return_index=True)
    return Masks(high, np.append(start, len(masks)), masks & ((1 << low_bits) - 1), low_bits)


def _ranges(count: int, parts: int) -> list[tuple[int, int]]:
    edges = sorted({count * part // parts for part in range(parts + 1)})
    return list(pairwise(edges))


def _steps(count: int) -> list[tuple[int, int]]:
    return [(start, min(start + _BLOCK, count)) for start in range(0, count, _BLOCK)]


def _padded(values: np.ndarray) -> np.ndarray:
    return np.concatenate([values, np.zeros(LANES, np.uint64)])


def _bits_by_worth(left: np.ndarray, right: np.ndarray | None) -> tuple[np.ndarray, int]:
    """int64 [64]: numbers of the bits, the ones that tell most hashes apart first; how many of them do."""
    uneven = np.zeros(64)
    varies = np.zeros(64, bool)
    for values in (left,) if right is None else (left, right):
        sample = values[:: max(1, len(values) // _SAMPLE)]
        bits = np.unpackbits(sample.astype("<u8").view(np.uint8).reshape(-1, 8), axis=1, bitorder="little")
        share = bits.mean(axis=0)
        uneven += np.abs(share - 0.5)
        varies |= (share > 0) & (share < 1)
    uneven[~varies] = np.inf
    sides = 1 if right is None else 2
    telling = int((uneven < sides * (0.5 - _TELLING)).sum())
    return np.argsort(uneven, kind="stable"), max(telling, min(int(varies.sum()), _FEWEST_BITS))


def _places(order: np.ndarray, chosen: Plan) -> np.ndarray:
    """int64 [64]: where each bit goes. The worthiest are dealt out to the blocks in turn."""
    used = chosen.blocks * chosen.width
    rank = np.arange(used)
    target = np.concatenate(
        [rank % chosen.blocks * chosen.width + rank // chosen.blocks, np.arange(used, 64)]
    )
    places = np.empty(64, np.int64)
    places[order] = target
    return places


def _lookup(places: np.ndarray) -> np.ndarray:
    """uint64 [8, 256]: for each byte of a hash and each of its values, the bits it sets."""
    values = np.arange(256, dtype=np.uint64)
    table = np.zeros((8, 256), np.uint64)
    for bit, place in enumerate(places.tolist()):
        table[bit // 8] |= ((values >> np.uint64(bit % 8)) & np.uint64(1)) << np.uint64(place)
    return table
