"""Spherical k-means (Dhillon and Modha, Machine Learning 42, 2001) on exact vectors, without chance."""

from __future__ import annotations

import numpy as np

from stages.dedup.unit_vectors import UnitVectors, rounded

ROUNDS = 10
_PER_CENTER = 256
"""Vectors a center is learned from; more moved no center by much."""
_PRODUCTS_AT_ONCE = 1 << 23


def centers(vectors: UnitVectors, count: int, order: np.ndarray) -> np.ndarray:
    """float32 [k, d], whole numbers: at most ``count`` centers, fewer where few vectors are distinct.

    ``order``: the rows in an order that has nothing to do with what they show. The first distinct ones
    are the first centers, and ``ROUNDS`` rounds over the first 256 for each center improve them.
    """
    learned = order[: count * _PER_CENTER]
    early = vectors.numbers[learned[: 4 * count]]
    first = np.sort(np.unique(early, axis=0, return_index=True)[1])[:count]
    found = np.asarray(early[first], np.float32)
    nearest_before = np.empty(0, np.int64)
    for _ in range(ROUNDS):
        nearest = nearest_centers(vectors, learned, found, 1)[:, 0]
        if np.array_equal(nearest, nearest_before):
            break
        sums = _sums(vectors, learned, nearest, len(found))
        filled = sums.any(axis=1)
        found[filled] = rounded(sums[filled])
        nearest_before = nearest
    return found


def nearest_centers(vectors: UnitVectors, rows: np.ndarray, found: np.ndarray, how_many: int) -> np.ndarray:
    """int64 [rows, how_many]: the centers with the largest products, largest first; the first of equals."""
    nearest = np.empty((len(rows), how_many), np.int64)
    step = max(64, _PRODUCTS_AT_ONCE // len(found))
    for start in range(0, len(rows), step):
        products = vectors.at(rows[start : start + step]) @ found.T
        for place in range(how_many):
            best = products.argmax(axis=1)
            nearest[start : start + step, place] = best
            products[np.arange(len(products)), best] = -np.inf
    return nearest


def _sums(vectors: UnitVectors, rows: np.ndarray, nearest: np.ndarray, count: int) -> np.ndarray:
    """float64 [count, d]: sums of the vectors of each center, exact."""
    sums = np.zeros((count, vectors.numbers.shape[1]))
    step = max(64, _PRODUCTS_AT_ONCE // vectors.numbers.shape[1])
    for start in range(0, len(rows), step):
        order = np.argsort(nearest[start : start + step], kind="stable")
        groups, begin = np.unique(nearest[start : start + step][order], return_index=True)
        some = vectors.numbers[rows[start : start + step][order]]
        sums[groups] += np.add.reduceat(some.astype(np.float64), begin, axis=0)
    return sums
