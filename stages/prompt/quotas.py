"""Draws attributes for N prompts so that every share is met exactly and no forbidden pair occurs.

Independent draws with rejection would bend the shares: a value that is often forbidden would be drawn less.
Here each attribute's values are dealt out in whole numbers and shuffled; then rows with a forbidden pair
exchange a value with another row, which leaves all shares as they are.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from stages.prompt.specification import Attribute, Specification
from store.errors import UsageError

Codes = NDArray[np.int16]
_PARTNERS = 256
"""Rows that are looked at, by lot, before all are."""
_ROUNDS, _FEW = 60, 200
"""Rounds in which many rows exchange at once with partners by lot, unless only a few are left to."""
_PATIENCE = 50
"""Exchanges per row, at most on average, that change where a pair stands without removing one."""


def draw(specification: Specification, count: int, seed: int) -> Codes:
    """int16 [N, A]: for each prompt and attribute the number of its value, ``UNSAID`` being the last.

    Raises:
        UsageError: the forbidden pairs leave no way to meet the shares, or none was found.
    """
    columns = [_dealt(attribute, count, seed) for attribute in specification.attributes]
    codes = np.stack(columns, axis=1)
    pairs = np.array(
        [
            (*specification.place(left), *specification.place(right))
            for left, right in specification.forbidden
        ],
        np.int64,
    ).reshape(-1, 4)
    _part(codes, pairs, specification, np.random.default_rng(_seed(seed, "exchange")))
    return codes


def quotas(shares: list[float], count: int) -> NDArray[np.int64]:
    """Whole numbers that add up to ``count``, each within one of its share (largest remainders)."""
    exact = np.array(shares) * count
    whole = np.floor(exact + 1e-9).astype(np.int64)
    order = np.argsort(-(exact - whole), kind="stable")
    whole[order[: count - int(whole.sum())]] += 1
    return whole


def _dealt(attribute: Attribute, count: int, seed: int) -> Codes:
    shares = list(attribute.shares().values())
    values = np.repeat(np.arange(len(shares), dtype=np.int16), quotas(shares, count))
    return np.random.default_rng(_seed(seed, attribute.name)).permutation(values)


def _seed(seed: int, name: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:8], "big")


def _broken(codes: Codes, pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many forbidden pairs each row has."""
    found = np.zeros(len(codes), np.int64)
    for left, x, right, y in pairs:
        found += (codes[:, left] == x) & (codes[:, right] == y)
    return found


def _part(codes: Codes, pairs: NDArray[np.int64], spec: Specification, rng: np.random.Generator) -> None:
    """Exchange values between rows, in place, until no row has a forbidden pair."""
    for _ in range(_ROUNDS):
        rows = np.flatnonzero(_broken(codes, pairs))
        if len(rows) <= _FEW:
            break
        _part_many(codes, pairs, rows, rng)
    waiting = [int(row) for row in np.flatnonzero(_broken(codes, pairs))]
    patience = _PATIENCE * len(waiting)
    while waiting:
        row = waiting.pop()
        pair = next((p for p in pairs if codes[row, p[0]] == p[1] and codes[row, p[2]] == p[3]), None)
        if pair is None:
            continue
        some = rng.integers(0, len(codes), _PARTNERS)
        gain, column, other = _best(codes, pairs, pair, row, some)
        if gain <= 0:
            gain, column, other = _best(codes, pairs, pair, row, rng.permutation(len(codes)))
        patience -= gain <= 0
        if gain < 0 or patience < 0:
            sides = " and ".join(
                f"{spec.attributes[pair[i]].name}={spec.values(pair[i])[pair[i + 1]]}" for i in (0, 2)
            )
            raise UsageError(
                f"the shares cannot be met without the forbidden pair {sides}; lower one of the two shares, "
                "or allow the pair"
            )
        codes[[row, other], column] = codes[[other, row], column]
        waiting += [row, other]


def _part_many(
    codes: Codes, pairs: NDArray[np.int64], rows: NDArray[np.int64], rng: np.random.Generator
) -> None:
    """Offer each of ``rows`` one exchange with another row by lot; make those that remove a pair."""
    others = rng.permutation(len(codes))[: len(rows)]
    apart = ~np.isin(others, rows)
    rows, others = rng.permutation(rows)[apart], others[apart]
    mine, theirs = codes[rows], codes[others]
    before = _broken(mine, pairs) + _broken(theirs, pairs)
    forbidden = [(mine[:, p[0]] == p[1]) & (mine[:, p[2]] == p[3]) for p in pairs]
    column = pairs[np.argmax(forbidden, axis=0), rng.choice([0, 2], len(rows))]
    each = np.arange(len(rows))
    mine[each, column], theirs[each, column] = theirs[each, column], mine[each, column]
    gained = before > _broken(mine, pairs) + _broken(theirs, pairs)
    codes[rows[gained]], codes[others[gained]] = mine[gained], theirs[gained]


def _best(
    codes: Codes, pairs: NDArray[np.int64], pair: NDArray[np.int64], row: int, others: NDArray[np.int64]
) -> tuple[int, int, int]:
    """How many pairs the best exchange of one of the pair's two values removes; its column and partner."""
    best = (-len(pairs) - 1, 0, 0)
    for column in (int(pair[2]), int(pair[0])):
        mine = np.repeat(codes[row : row + 1], len(others), 0)
        theirs = codes[others]
        before = _broken(mine, pairs) + _broken(theirs, pairs)
        mine[:, column], theirs[:, column] = codes[others, column], codes[row, column]
        gains = before - _broken(mine, pairs) - _broken(theirs, pairs)
        gains[codes[others, column] == codes[row, column]] = -len(pairs) - 1
        at = int(gains.argmax())
        best = max(best, (int(gains[at]), column, int(others[at])), key=lambda found: found[0])
    return best
