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
Rules = list[tuple[int, int, NDArray[np.bool_]]]
"""Numbers of two attributes, and for each value of the one and of the other whether they are forbidden."""
_PARTNERS = 256
"""Rows that are looked at, by lot, before all are."""
_ROUNDS, _FEW = 200, 100
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
    _part(codes, specification, np.random.default_rng(_seed(seed, "exchange")))
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


def _rules(specification: Specification) -> Rules:
    found: dict[tuple[int, int], NDArray[np.bool_]] = {}
    for pair in specification.forbidden:
        (left, x), (right, y) = sorted(map(specification.place, pair))
        sizes = len(specification.values(left)), len(specification.values(right))
        found.setdefault((left, right), np.zeros(sizes, bool))[x, y] = True
    return [(left, right, table) for (left, right), table in found.items()]


def _broken(codes: Codes, rules: Rules) -> NDArray[np.int64]:
    """How many forbidden pairs each row has."""
    found = np.zeros(len(codes), np.int64)
    for left, right, table in rules:
        found += table[codes[:, left], codes[:, right]]
    return found


def _first(codes: Codes, rules: Rules) -> NDArray[np.int64]:
    """The number of the first rule that each row breaks; of one that breaks none, any."""
    return np.asarray(
        np.argmax([table[codes[:, left], codes[:, right]] for left, right, table in rules], axis=0)
    )


def _part(codes: Codes, specification: Specification, rng: np.random.Generator) -> None:
    """Exchange values between rows, in place, until no row has a forbidden pair."""
    rules = _rules(specification)
    for _ in range(_ROUNDS):
        rows = np.flatnonzero(_broken(codes, rules))
        if len(rows) <= _FEW:
            break
        _part_many(codes, rules, rows, rng)
    waiting = [int(row) for row in np.flatnonzero(_broken(codes, rules))]
    patience = _PATIENCE * len(waiting)
    while waiting:
        row = waiting.pop()
        if not _broken(codes[row : row + 1], rules)[0]:
            continue
        left, right, _table = rules[_first(codes[row : row + 1], rules)[0]]
        some = rng.integers(0, len(codes), _PARTNERS)
        gain, column, other = _best(codes, rules, (left, right), row, some)
        if gain <= 0:
            gain, column, other = _best(codes, rules, (left, right), row, rng.permutation(len(codes)))
        patience -= gain <= 0
        if gain < 0 or patience < 0:
            sides = " and ".join(
                f"{specification.attributes[a].name}={specification.values(a)[codes[row, a]]}"
                for a in (left, right)
            )
            raise UsageError(
                f"the shares cannot be met without the forbidden pair {sides}; lower one of the two shares, "
                f"allow the pair, or make another number of prompts than {len(codes)}, such as a multiple of "
                "100: shares that go together must come to whole numbers that match"
            )
        codes[[row, other], column] = codes[[other, row], column]
        waiting += [row, other]


def _part_many(codes: Codes, rules: Rules, rows: NDArray[np.int64], rng: np.random.Generator) -> None:
    """Offer each of ``rows`` one exchange with another row by lot; make those that remove a pair."""
    others = rng.permutation(len(codes))[: len(rows)]
    rows = rng.permutation(rows)
    apart = ~np.isin(others, rows)
    if not apart.any():  # nearly every row breaks a rule: exchange among themselves, each row once
        half = len(rows) // 2
        rows, others = rows[:half], rows[half : 2 * half]
    else:
        rows, others = rows[apart], others[apart]
    mine, theirs = codes[rows], codes[others]
    before = _broken(mine, rules) + _broken(theirs, rules)
    sides = np.array([(left, right) for left, right, _ in rules])
    column = sides[_first(mine, rules), rng.integers(0, 2, len(rows))]
    each = np.arange(len(rows))
    mine[each, column], theirs[each, column] = theirs[each, column], mine[each, column]
    gained = before > _broken(mine, rules) + _broken(theirs, rules)
    codes[rows[gained]], codes[others[gained]] = mine[gained], theirs[gained]


def _best(
    codes: Codes, rules: Rules, columns: tuple[int, int], row: int, others: NDArray[np.int64]
) -> tuple[int, int, int]:
    """How many pairs the best exchange of one of two values of a row removes; its column and partner."""
    best = (-len(rules) - 1, 0, 0)
    for column in columns:
        mine = np.repeat(codes[row : row + 1], len(others), 0)
        theirs = codes[others]
        before = _broken(mine, rules) + _broken(theirs, rules)
        mine[:, column], theirs[:, column] = codes[others, column], codes[row, column]
        gains = before - _broken(mine, rules) - _broken(theirs, rules)
        gains[codes[others, column] == codes[row, column]] = -len(rules) - 1
        at = int(gains.argmax())
        best = max(best, (int(gains[at]), column, int(others[at])), key=lambda found: found[0])
    return best
