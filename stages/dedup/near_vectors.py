"""Pairs of embeddings with a large cosine, found without comparing all with all."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from stages.dedup.kmeans import centers, nearest_centers
from stages.dedup.unit_vectors import UnitVectors

MOST_PER_SAMPLE = 32
"""Better samples that each one is tied to in a cell. It bounds the pairs, and the work too, where one
picture is there 10^5 times: such rows are full after the first few."""
_BLOCK = 1024
_FIRST_BLOCK = 2 * MOST_PER_SAMPLE
"""A crowd is full after it."""
_FEWEST_IN_CELL = 500


class VectorPairs(NamedTuple):
    """Row numbers (better less than worse) and cosine of each pair, sorted by better and worse."""

    better: np.ndarray
    worse: np.ndarray
    cosine: np.ndarray


def cells_for(count: int) -> int:
    """About the square root, so that finding cells and comparing in them cost alike; one for a few."""
    return int(max(1, min(np.sqrt(count), count // _FEWEST_IN_CELL, 16384)))


def near_vectors(
    vectors: UnitVectors, threshold: float, cells: int, order: np.ndarray, nearest: int = 2
) -> VectorPairs:
    """Pairs with a cosine of ``threshold`` or more, of rows that share a cell.

    K-means makes the cells (SemDeDup: Abbas et al. 2023, section 3), and every row is in the ``nearest``
    ones of them: in two, so that pairs across the border of two cells meet. ``order`` as for ``centers``.
    Rows are numbered best first; a row's pairs with the best ones come before the others.
    """
    rows = np.arange(len(vectors.numbers))
    if not rows.size:
        return VectorPairs(rows, rows, np.empty(0, np.float32))
    found = centers(vectors, cells, order)
    held = nearest_centers(vectors, rows, found, min(nearest, len(found)))
    by_cell = np.argsort(held, axis=None, kind="stable")
    members = np.split(by_cell // held.shape[1], np.cumsum(np.bincount(held.ravel()))[:-1])
    squares = _squares(vectors)
    parts = [pairs for cell in members for pairs in _in_cell(vectors, squares, cell, threshold)]
    better, worse = (np.concatenate([np.empty(0, np.int64), *(part[i] for part in parts)]) for i in (0, 1))
    cosine = np.concatenate([np.empty(0, np.float32), *(part[2] for part in parts)])
    key = better * len(rows) + worse
    once = np.unique(key, return_index=True)[1]
    return VectorPairs(better[once], worse[once], cosine[once])


def _squares(vectors: UnitVectors) -> np.ndarray:
    """float64 [n]: squared lengths, whole numbers."""
    step = range(0, len(vectors.numbers), _BLOCK)
    parts = [np.square(vectors.at(slice(at, at + _BLOCK))).sum(axis=1, dtype=np.float64) for at in step]
    return np.concatenate([np.empty(0), *parts])


def _in_cell(
    vectors: UnitVectors, squares: np.ndarray, members: np.ndarray, threshold: float
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Better and worse row and cosine of pairs in one cell; ``members`` are its rows, best first."""
    least = vectors.least_product(threshold)
    for start in range(0, len(members), _BLOCK):
        worse = members[start : start + _BLOCK]
        one, room = vectors.at(worse), np.full(len(worse), MOST_PER_SAMPLE)
        edges = [0, *range(_FIRST_BLOCK, start + len(worse), _BLOCK), start + len(worse)]
        for begin, end in pairwise(edges):
            rows = np.flatnonzero(room)  # those with room for more pairs
            products = one[rows] @ vectors.at(members[begin:end]).T
            near = products >= least
            if end > start:
                near &= np.arange(begin, end) < (start + rows)[:, None]
            i, j = np.nonzero(near)
            cosine = products[i, j] / np.sqrt(squares[worse[rows[i]]] * squares[members[begin + j]])
            i, j, cosine = (part[cosine >= threshold] for part in (i, j, cosine))
            count = np.bincount(i, minlength=len(rows))
            nth = np.arange(len(i)) - np.repeat(np.cumsum(count) - count, count)
            i, j, cosine = (part[nth < room[rows[i]]] for part in (i, j, cosine))
            room[rows] -= np.bincount(i, minlength=len(rows))
            yield members[begin + j], worse[rows[i]], cosine.astype(np.float32)
            if not room.any():
                break
