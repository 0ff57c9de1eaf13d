"""Clusters as stars: every copy matches its representative; copies of copies join no strangers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

_PAIRS_AT_ONCE = 8192
"""Pairs looked at together; few, so that a large cluster is settled before most of its pairs."""


def stars(
    better: np.ndarray, worse: np.ndarray, count: int, matching: Callable[[np.ndarray], np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """int64 [count] twice: the representative of each item, and the row of the pair that tied it (or -1).

    Items are numbered best first, and the pairs (integers, ``better`` less than ``worse``) come sorted by
    their better item. In this order each item joins the best one that is not itself a copy and that it
    matches. ``matching`` says of int64 [n] rows of the pairs which match, as bool [n].
    """
    star, tie = np.arange(count), np.full(count, -1)
    free = np.ones(count, bool)
    for start in range(0, len(better), _PAIRS_AT_ONCE):
        rows = np.arange(start, min(start + _PAIRS_AT_ONCE, len(better)))
        # Pairs come by their better item, best first: whoever is a copy by now stays one.
        rows = rows[free[better[rows]] & free[worse[rows]]]
        rows = rows[matching(rows)]
        for row, one, two in zip(*(part.tolist() for part in (rows, better[rows], worse[rows])), strict=True):
            if free[one] and free[two]:
                star[two], tie[two], free[two] = one, row, False
    return star, tie
