"""Digests of tables: the same however they are cut, different when anything in them is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store.digest import fingerprint, table_digest
from store.digest import settings as as_settings

TYPES: dict[str, tuple[pa.DataType, st.SearchStrategy[Any]]] = {
    "text": (pa.string(), st.text(max_size=5)),
    "bytes": (pa.binary(), st.binary(max_size=5)),
    "fixed": (pa.binary(4), st.binary(min_size=4, max_size=4)),
    "whole": (pa.int32(), st.integers(-(2**31), 2**31 - 1)),
    "real": (pa.float64(), st.floats(allow_nan=False)),
    "yes": (pa.bool_(), st.booleans()),
    "list": (pa.list_(pa.string()), st.lists(st.text(max_size=3), max_size=3)),
    "vector": (
        pa.list_(pa.float16(), 2),
        st.lists(st.sampled_from([0.0, 0.5, -2.0]), min_size=2, max_size=2),
    ),
}
ROWS = st.lists(st.tuples(*(st.none() | values for _, values in TYPES.values())), max_size=12)


def table(rows: list[tuple[Any, ...]]) -> pa.Table:
    columns = list(zip(*rows, strict=True)) or [()] * len(TYPES)
    kinds = ((name, kind) for name, (kind, _) in TYPES.items())
    arrays = {n: pa.array(values, kind) for (n, kind), values in zip(kinds, columns, strict=True)}
    return pa.table(arrays)


@settings(deadline=None, max_examples=40)
@given(ROWS, st.integers(0, 12))
def test_cutting_a_table_otherwise_changes_nothing(rows: list[tuple[Any, ...]], cut: int) -> None:
    whole = table(rows)
    pieces = pa.concat_tables([whole.slice(0, cut), whole.slice(cut)])
    copied = pa.concat_tables([table(rows[:cut]), table(rows[cut:])])
    assert table_digest(pieces) == table_digest(whole) == table_digest(copied)


@settings(deadline=None, max_examples=40)
@given(ROWS, ROWS)
def test_equal_digests_mean_equal_tables(one: list[tuple[Any, ...]], other: list[tuple[Any, ...]]) -> None:
    assert (table_digest(table(one)) == table_digest(table(other))) == (repr(one) == repr(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (pa.array([""]), pa.array([None], pa.string())),
        (pa.array([0]), pa.array([None], pa.int64())),
        (pa.array([False]), pa.array([None], pa.bool_())),
        (pa.array(["ab", "c"]), pa.array(["a", "bc"])),
        (pa.array([["a"], []]), pa.array([[], ["a"]])),
        (pa.array([[]], pa.list_(pa.int8())), pa.array([None], pa.list_(pa.int8()))),
        (pa.array(["a", "b"]), pa.array(["b", "a"])),
        (pa.array([1], pa.int32()), pa.array([1], pa.int64())),
        (pa.array(["a"], pa.string()), pa.array([b"a"], pa.binary())),
        (pa.array([1.0]), pa.array([-1.0])),
        (pa.array([["", None]]), pa.array([[None, ""]])),
        (pa.array([[0, 0]], pa.list_(pa.float16(), 2)), pa.array([None], pa.list_(pa.float16(), 2))),
        (pa.array([[0, 1]], pa.list_(pa.float16(), 2)), pa.array([[1, 0]], pa.list_(pa.float16(), 2))),
        (pa.array([[0, 1]], pa.list_(pa.float16(), 2)), pa.array([[0, 1]], pa.list_(pa.float16()))),
    ],
    ids=str,
)
def test_what_differs_has_another_digest(one: pa.Array, other: pa.Array) -> None:
    assert table_digest(pa.table({"x": one})) != table_digest(pa.table({"x": other}))


def test_names_and_the_order_of_columns_count() -> None:
    a, b = pa.array([1]), pa.array([2])
    digests = {
        table_digest(pa.table(columns))
        for columns in ({"a": a, "b": b}, {"b": b, "a": a}, {"a": b, "b": a}, {"a": a})
    }
    assert len(digests) == 4


def test_a_type_without_a_digest_is_refused() -> None:
    with pytest.raises(TypeError, match="no digest"):
        table_digest(pa.table({"x": pa.array([{"a": 1}])}))


@dataclass(frozen=True)
class Place:
    """Something, and where it lies."""

    what: str = ""
    path: str = field(default="", compare=False)


def test_where_something_lies_is_no_setting() -> None:
    assert as_settings((Place("a", "/here"),)) == [{"name": "Place", "version": 1, "what": "a"}]


def test_fingerprints_do_not_depend_on_the_order_of_keys() -> None:
    assert fingerprint({"a": 1, "b": "ü"}) == fingerprint({"b": "ü", "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 1.5})
