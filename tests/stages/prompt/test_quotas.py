"""Attributes drawn to a specification: exact shares, no forbidden pair, and what is impossible refused."""

from __future__ import annotations

from collections import Counter
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.prompt.quotas import draw, quotas
from stages.prompt.specification import UNSAID, Attribute, Specification, Value
from store.errors import UsageError


def attribute(name: str, **shares: float) -> Attribute:
    return Attribute(name, tuple(Value(value, share) for value, share in shares.items()))


def drawn(specification: Specification, count: int, seed: int = 0) -> list[tuple[str, ...]]:
    codes = draw(specification, count, seed)
    values = [specification.values(a) for a in range(len(specification.attributes))]
    return [tuple(values[a][code] for a, code in enumerate(row)) for row in codes.tolist()]


def test_largest_remainders() -> None:
    assert quotas([0.5, 0.3, 0.2], 10).tolist() == [5, 3, 2]
    assert quotas([1 / 3, 1 / 3, 1 / 3], 10).tolist() == [4, 3, 3]
    assert quotas([0.04, 0.96], 10).tolist() == [0, 10]


@given(st.lists(st.integers(0, 50), min_size=1, max_size=8).filter(any), st.integers(1, 1000))
def test_quotas_add_up_and_are_within_one(weights: list[int], count: int) -> None:
    shares = [weight / sum(weights) for weight in weights]
    whole = quotas(shares, count)
    assert whole.sum() == count
    assert all(abs(n - share * count) < 1 for n, share in zip(whole, shares, strict=True))


def test_shares_are_met_and_the_rest_is_unsaid() -> None:
    spec = Specification((attribute("color", red=0.25, blue=0.5), attribute("light", dim=0.1)), ("x",))
    rows = drawn(spec, 200)
    assert Counter(row[0] for row in rows) == {"red": 50, "blue": 100, UNSAID: 50}
    assert Counter(row[1] for row in rows) == {"dim": 20, UNSAID: 180}
    assert drawn(spec, 200) == rows
    assert drawn(spec, 200, seed=1) != rows


RELATIONS = Specification(
    (
        attribute("count", one=0.4, two=0.3, three=0.2, four=0.1),
        attribute("relation", beside=0.15, above=0.15, row=0.1, column=0.1, square=0.1),
    ),
    ("x",),
    tuple(
        (f"count={count}", f"relation={relation}")
        for count, relation in product(
            ("one", "two", "three", "four"), ("beside", "above", "row", "column", "square", UNSAID)
        )
        if relation
        not in {
            "one": (UNSAID,),
            "two": ("beside", "above"),
            "three": ("row", "column"),
            "four": ("square",),
        }[count]
    ),
)
"""As many relations as there are things for them: only one way to match the two attributes."""


def test_forbidden_pairs_that_leave_one_way_only() -> None:
    rows = Counter(drawn(RELATIONS, 1000))
    assert rows == {
        ("one", UNSAID): 400,
        ("two", "beside"): 150,
        ("two", "above"): 150,
        ("three", "row"): 100,
        ("three", "column"): 100,
        ("four", "square"): 100,
    }


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(20, 300))
def test_no_forbidden_pair_and_every_share(seed: int, count: int) -> None:
    spec = Specification(
        (
            attribute("a", x=0.4, y=0.3),
            attribute("b", x=0.3, y=0.3),
            attribute("c", x=0.2, y=0.2, z=0.2),
        ),
        ("t",),
        (("a=x", "b=x"), ("b=y", "c=z"), ("a=y", "c=x")),
    )
    codes = draw(spec, count, seed)
    for left, right in spec.forbidden:
        (a, x), (b, y) = spec.place(left), spec.place(right)
        assert not ((codes[:, a] == x) & (codes[:, b] == y)).any()
    for number, one in enumerate(spec.attributes):
        found = np.bincount(codes[:, number], minlength=len(one.shares()))
        assert found.tolist() == quotas(list(one.shares().values()), count).tolist()


def test_what_cannot_be_met_is_refused() -> None:
    spec = Specification(
        (attribute("a", x=0.7, y=0.3), attribute("b", x=0.6, y=0.4)), ("t",), (("a=x", "b=x"),)
    )
    with pytest.raises(UsageError, match="forbidden pair a=x and b=x; lower one"):
        draw(spec, 100, 0)


@pytest.mark.parametrize(
    ("attributes", "forbidden", "said"),
    [
        ((attribute("a", x=0.7, y=0.4),), (), "a: x 0.7, y 0.4; expected shares"),
        ((attribute("a", x=-0.1),), (), "expected shares of 0 to 1"),
        ((attribute("a"),), (), "a: no values"),
        ((attribute("a", x=1), attribute("a", x=1)), (), "'a' comes twice"),
        ((Attribute("a", (Value("x", 0.1), Value("x", 0.1))),), (), "'x' comes twice"),
        ((Attribute("a", (Value("", 0.1),)),), (), "a value without a name"),
        ((attribute("a", x=1),), (("a=x", "b=x"),), "expected attribute=value with one of a"),
        ((attribute("a", x=1),), (("a=x", "a=y"),), "a has the values x"),
        ((), (), "needs attributes and templates"),
    ],
)
def test_impossible_specifications(
    attributes: tuple[Attribute, ...], forbidden: tuple[tuple[str, str], ...], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        Specification(attributes, ("t",), forbidden)
