"""All pairs of 64-bit hashes within a Hamming radius, found exactly and in near-linear time.

Cut the 64 bits into ``radius + k`` blocks: two hashes that differ in at most ``radius`` bits agree in at
least ``k`` whole blocks. So each choice of ``k`` blocks is an equality join, and together they
miss nothing. Joins run in DuckDB one after the other, which keeps the memory flat and spills to disk.
"""

from __future__ import annotations

from itertools import combinations, pairwise
from math import comb
from typing import NamedTuple

import duckdb
import numpy as np
import pyarrow as pa

from store.errors import UsageError

MAX_RADIUS = 12
_MAX_SHARED_BLOCKS = 4
_SKEW = 2
"""How much fuller than by chance the buckets of real hashes are taken to be when planning."""


class HashPairs(NamedTuple):
    """Pairs of distinct hash values: uint64, uint64 and int32 arrays of one length, sorted."""

    left: np.ndarray
    right: np.ndarray
    distance: np.ndarray


def hamming_join(
    left: np.ndarray, right: np.ndarray, radius: int, scratch: str, memory: str = "4GB"
) -> HashPairs:
    """Every pair of a value of ``left`` and a value of ``right`` (uint64) at most ``radius`` bits apart.

    Equal values count once, so the answer does not grow with the square of how often a hash occurs.
    Equal values of the two sides are a pair at distance 0; joined with itself, an array gives each
    pair in both directions. ``scratch``: folder for what exceeds ``memory``.
    Raises UsageError for a radius outside 0 to 12.
    """
    if not 0 <= radius <= MAX_RADIUS:
        raise UsageError(f"radius is {radius}; expected 0 to {MAX_RADIUS} bits of 64")
    left, right = np.unique(left), np.unique(right)
    shared = _shared_blocks(len(left), len(right), radius)
    masks = _blocks(radius + shared)
    with duckdb.connect() as connection:
        connection.execute("SET temp_directory = ?", [scratch])
        connection.execute("SET memory_limit = ?", [memory])
        connection.execute("SET preserve_insertion_order = false")
        for name, values in (("l", left), ("r", right)):
            connection.register("values_" + name, pa.table({"h": values}))
            connection.execute(f"CREATE TABLE {name} AS SELECT h FROM values_{name}")
        connection.execute("CREATE TABLE pairs (a UBIGINT, b UBIGINT, d INTEGER)")
        for chosen in combinations(range(len(masks)), shared):
            connection.execute(_join_on(chosen, masks, radius))
        found = connection.execute("SELECT a, b, d FROM pairs").fetchnumpy()
    order = np.lexsort((found["b"], found["a"]))
    return HashPairs(*(np.asarray(found[name])[order] for name in "abd"))


def _join_on(chosen: tuple[int, ...], masks: list[int], radius: int) -> str:
    """SQL that adds the pairs agreeing in the chosen blocks and in no earlier choice of blocks.

    A pair belongs to the first blocks it agrees in: every unchosen block before the last chosen one
    must differ. So no pair is written twice.
    """
    key = sum(masks[block] for block in chosen)
    earlier = [masks[block] for block in range(chosen[-1]) if block not in chosen]
    first = "".join(f" AND (xor(l.h, r.h) & {mask}::UBIGINT) <> 0" for mask in earlier)
    return (
        "INSERT INTO pairs SELECT l.h, r.h, bit_count(xor(l.h, r.h)) FROM l JOIN r"
        f" ON (l.h & {key}::UBIGINT) = (r.h & {key}::UBIGINT)"
        f" WHERE bit_count(xor(l.h, r.h)) <= {radius}{first}"
    )


def _blocks(count: int) -> list[int]:
    """Masks of ``count`` runs of bits, as equal as possible, that together are all 64."""
    edges = [round(64 * block / count) for block in range(count + 1)]
    return [(1 << high) - (1 << low) for low, high in pairwise(edges)]


def _shared_blocks(left: int, right: int, radius: int) -> int:
    """How many agreeing blocks to join on: more means more joins, each with fewer false candidates."""

    def cost(shared: int) -> float:
        joins = comb(radius + shared, shared)
        bits = 64 * shared // (radius + shared)
        return joins * (20_000 + left + right + _SKEW * left * right / float(2**bits))

    return min(range(1, _MAX_SHARED_BLOCKS + 1), key=cost)
