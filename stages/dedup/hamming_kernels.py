"""Compiled loops of the Hamming join: sort hashes into buckets, compare buckets.

They hold no lock of Python's, so threads run them side by side; each is compiled once for a processor
and kept beside this file. Importing this costs half a second, so only large joins do.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

LANES = 8
"""Hashes compared by one step; arrays that are compared are padded by as many."""

_ROOM = 4096
"""Pairs a range of tiles is first given room for."""


class Key(NamedTuple):
    """One to three (``parts``) blocks of a hash, each ``width`` bits, ``block`` as a mask, put in a row.

    ``first`` to ``third``: where they begin in the hash, the highest in the key first. The lowest
    ``low_bits`` of the key are its low part; keys with one high part are neighbors in memory, a tile.
    """

    parts: int
    width: int
    block: int
    first: int
    second: int
    third: int
    low_bits: int


class Buckets(NamedTuple):
    """Hashes sorted by key (uint64, padded by LANES) and where each bucket starts (int32 [keys + 1])."""

    values: np.ndarray
    starts: np.ndarray


class Masks(NamedTuple):
    """XOR masks of keys, grouped by their high part: group ``i`` is ``low[start[i] : start[i + 1]]``.

    int64 arrays; ``low_bits``: of the low part.
    """

    high: np.ndarray
    start: np.ndarray
    low: np.ndarray
    low_bits: int


class Rule(NamedTuple):
    """What to look for: pairs at most ``radius`` bits apart. Buckets with more than ``most`` pairs are
    handed back instead. ``one_set``: left and right are the same, and each pair is met once."""

    radius: int
    most: int
    one_set: bool


class Near(NamedTuple):
    """uint64 [n, 2] pairs; int64 [c, 2] left and right keys of crowded buckets; number of comparisons."""

    pairs: np.ndarray
    crowded: np.ndarray
    comparisons: int


def _typed_near_lanes(typing: Any, values: Any, start: Any, value: Any, radius: Any) -> Any:
    """Bit ``i`` is set where ``values[start + i]`` is at most ``radius`` bits from ``value``.

    Written out because the compiler finds no vector form of the loop that does without gathers:
    11.6e9 comparisons a second on one core against 2e9.
    """
    signature = types.uint64(values, types.intp, types.uint64, types.uint64)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        lanes = ir.VectorType(ir.IntType(64), LANES)
        place = builder.gep(array.data, [arguments[1]])
        loaded = builder.load(builder.bitcast(place, lanes.as_pointer()))
        loaded.align = 8
        first = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)

        def in_all(number: Any) -> Any:
            empty = ir.Constant(lanes, ir.Undefined)
            one = builder.insert_element(empty, number, ir.Constant(ir.IntType(32), 0))
            return builder.shuffle_vector(one, empty, first)

        count_bits = builder.module.declare_intrinsic(
            f"llvm.ctpop.v{LANES}i64", (), ir.FunctionType(lanes, [lanes])
        )
        bits = builder.call(count_bits, [builder.xor(loaded, in_all(arguments[2]))])
        near = builder.icmp_unsigned("<=", bits, in_all(arguments[3]))
        return builder.zext(builder.bitcast(near, ir.IntType(LANES)), ir.IntType(64))

    return signature, generate


_near_lanes: Any = intrinsic(_typed_near_lanes)


@njit(nogil=True, cache=True)
def move_bits(values: np.ndarray, lookup: np.ndarray) -> None:
    """Rearranges the bits of each hash in place; ``lookup[i]``: where byte ``i`` goes (uint64 [8, 256])."""
    low_byte = np.uint64(255)
    for i in range(len(values)):
        value, moved = values[i], np.uint64(0)
        for byte in range(8):
            moved |= lookup[byte, (value >> np.uint64(8 * byte)) & low_byte]
        values[i] = moved


@njit(inline="always")
def _key_of(value: np.uint64, key: Key) -> np.uint64:
    block = np.uint64(key.block)
    found = (value >> np.uint64(key.first)) & block
    if key.parts > 1:
        found = (found << np.uint64(key.width)) | ((value >> np.uint64(key.second)) & block)
    if key.parts > 2:
        found = (found << np.uint64(key.width)) | ((value >> np.uint64(key.third)) & block)
    return found


@njit(nogil=True, cache=True)
def count_tiles(values: np.ndarray, key: Key, counts: np.ndarray) -> None:
    """Adds to int64 [tiles] how many hashes have each high part of the key."""
    low = np.uint64(key.low_bits)
    for value in values:
        counts[_key_of(value, key) >> low] += 1


@njit(nogil=True, cache=True)
def scatter(values: np.ndarray, key: Key, place: np.ndarray, out: np.ndarray) -> None:
    """Writes each hash to the next place of its tile (int64 [tiles])."""
    low = np.uint64(key.low_bits)
    for value in values:
        tile = _key_of(value, key) >> low
        out[place[tile]] = value
        place[tile] += 1


@njit(nogil=True, cache=True)
def sort_tiles(buckets: Buckets, key: Key, tiles: tuple[int, int], edges: np.ndarray) -> None:
    """Sorts each of a range of tiles by the low part of the key and writes where its buckets start.

    ``edges``: where each tile starts (int64 [tiles + 1]).
    """
    size = 1 << key.low_bits
    low_part = np.uint64(size - 1)
    sorted_values, starts = buckets.values, buckets.starts
    place = np.empty(size, np.int64)
    for tile in range(tiles[0], tiles[1]):
        begin, end = edges[tile], edges[tile + 1]
        hashes = sorted_values[begin:end].copy()
        place[:] = 0
        for value in hashes:
            place[_key_of(value, key) & low_part] += 1
        for low in range(size):
            count, place[low] = place[low], begin
            starts[tile * size + low] = begin
            begin += count
        for value in hashes:
            low_key = _key_of(value, key) & low_part
            sorted_values[place[low_key]] = value
            place[low_key] += 1


@njit(inline="always")
def _lowest(bits: np.uint64) -> int:
    place = 0
    while not (bits >> np.uint64(place)) & np.uint64(1):
        place += 1
    return place


@njit(nogil=True)
def _compare(
    values: tuple[np.ndarray, np.ndarray],
    span: tuple[int, int, int, int],
    radius: np.uint64,
    triangle: bool,
    pairs: np.ndarray,
    found: int,
) -> int:
    """Compares ``left[begin:end]`` with ``right[start:stop]``; the number of pairs found so far.

    ``triangle``: both are the same bucket, and each of its pairs is met once.
    """
    left, right = values
    begin, end, start, stop = span
    for i in range(begin, end):
        value = left[i]
        j = i + 1 if triangle else start
        while j < stop:
            near = _near_lanes(right, j, value, radius)
            while near:
                lane = _lowest(near)
                near &= near - np.uint64(1)
                if j + lane < stop:
                    if found < len(pairs):
                        pairs[found, 0], pairs[found, 1] = value, right[j + lane]
                    found += 1
            j += LANES
    return found


@njit(nogil=True, cache=True)
def _near_in_buckets(
    left: Buckets,
    right: Buckets,
    masks: Masks,
    tiles: tuple[int, int],
    rule: Rule,
    room: tuple[np.ndarray, np.ndarray],
) -> tuple[int, int, int]:
    """Numbers of pairs, crowded buckets and comparisons; what fits is written into ``room``.

    Arrays that grow inside these loops would make every row four times as slow, because numba
    counts their users there.
    """
    values, starts, other_starts = (left.values, right.values), left.starts, right.starts
    high, group_start, flips, size = masks.high, masks.start, masks.low, 1 << masks.low_bits
    (pairs, crowded), radius, most, one_set = room, np.uint64(rule.radius), rule.most, rule.one_set
    found, skipped, comparisons = 0, 0, 0
    for tile in range(tiles[0], tiles[1]):
        for group in range(len(high)):
            other = tile ^ high[group]
            if one_set and other < tile:
                continue
            for number in range(group_start[group], group_start[group + 1]):
                flip = flips[number]
                for low in range(size):
                    if one_set and other == tile and low ^ flip < low:
                        continue
                    key, near_key = tile * size + low, other * size + (low ^ flip)
                    begin, end = int(starts[key]), int(starts[key + 1])
                    start, stop = int(other_starts[near_key]), int(other_starts[near_key + 1])
                    work = (end - begin) * (stop - start)
                    if work > most:
                        if skipped < len(crowded):
                            crowded[skipped, 0], crowded[skipped, 1] = key, near_key
                        skipped += 1
                        continue
                    comparisons += work
                    triangle = one_set and key == near_key
                    found = _compare(values, (begin, end, start, stop), radius, triangle, pairs, found)
    return found, skipped, comparisons


def near_in_buckets(left: Buckets, right: Buckets, masks: Masks, tiles: tuple[int, int], rule: Rule) -> Near:
    """Compares the buckets of a range of left tiles with the right ones that the masks lead to.

    Where more is found than there is room for, the range is compared again with enough.
    """
    num_pairs, num_crowded = _ROOM, _ROOM
    while True:
        room = np.empty((num_pairs, 2), np.uint64), np.empty((num_crowded, 2), np.int64)
        found, skipped, comparisons = _near_in_buckets(left, right, masks, tiles, rule, room)
        if found <= num_pairs and skipped <= num_crowded:
            return Near(room[0][:found].copy(), room[1][:skipped], comparisons)
        num_pairs, num_crowded = max(num_pairs, found), max(num_crowded, skipped)
