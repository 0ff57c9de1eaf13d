"""Sample tables: sorted whatever the order, the cuts and the memory; read in part."""

from __future__ import annotations

import hashlib
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store import tables
from store.errors import MashbillError
from store.location import Location
from store.tables import PLACES, SampleTable


def rows(count: int, seed: int = 0) -> pa.Table:
    """Samples in no order, each with columns and places that can be told from its id."""
    ids = [hashlib.sha256(f"{seed} {i}".encode()).hexdigest()[:24] for i in range(count)]
    numbers = [int(key[:6], 16) for key in ids]
    columns = {
        "sample_id": pa.array(ids, pa.string()),
        "caption": pa.array([None if n % 7 == 0 else f"caption {n}" for n in numbers], pa.string()),
        "boxes": pa.array([[n, n + 1][: n % 3] for n in numbers], pa.list_(pa.int64())),
        "width": pa.array(numbers, pa.int32()),
    }
    places = {
        "shard": pa.array([n % 5 for n in numbers], pa.int32()),
        "image_offset": pa.array(numbers, pa.int64()),
        "image_size": pa.array([n + 1 for n in numbers], pa.int64()),
        "source_error": pa.array(["dns" if n % 2 else None for n in numbers], pa.string()),
        "source_detail": pa.array([None] * count, pa.string()),
    }
    return pa.table(columns | places)


def cut(table: pa.Table, cuts: list[int]) -> list[pa.Table]:
    edges = [0, *sorted(min(c, len(table)) for c in cuts), len(table)]
    return [table.slice(a, b - a) for a, b in pairwise(edges)]


def written(folder: Path, parts: list[pa.Table], count: int) -> SampleTable:
    scratch = folder / "scratch"
    scratch.mkdir(parents=True)
    table = SampleTable(Location.of(folder / "table"))
    table.write(parts, count, {"source": "x"}, str(scratch))
    assert list(scratch.iterdir()) == []
    return table


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups of 16 rows, sorted 64 at a time."""
    monkeypatch.setattr(tables, "GROUP_ROWS", 16)
    monkeypatch.setattr(tables, "PART_ROWS", 64)


def test_it_holds_every_row_once_in_order_however_it_was_cut(
    small: None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    @settings(max_examples=20, deadline=None)
    @given(st.integers(0, 400), st.lists(st.integers(0, 400), max_size=4), st.randoms())
    def check(count: int, cuts: list[int], random: Any) -> None:
        everything = rows(count)
        order = list(range(count))
        random.shuffle(order)
        folder = tmp_path_factory.mktemp("table")
        table = written(folder, cut(everything.take(pa.array(order, pa.int64())), cuts), count)
        expected = everything.sort_by("sample_id")
        assert table.read().equals(expected.drop_columns(list(PLACES)))
        assert table.places().equals(expected.select(PLACES))
        whole = written(folder / "whole", [everything], count)
        for name in ("samples.parquet", "places.parquet", "table.json"):
            assert (table.location / name).read_bytes() == (whole.location / name).read_bytes()

    check()


def test_rows_are_found_by_the_beginning_of_their_id(small: None, tmp_path: Path) -> None:
    everything = rows(300)
    table = written(tmp_path, [everything], 300)
    expected = everything.sort_by("sample_id").to_pylist()
    for number, row in enumerate(expected):
        assert table.find(row["sample_id"]) == [number]
    for prefix in ("", "0", "f", "3a", "ffffff", "z"):
        mine = [n for n, row in enumerate(expected) if row["sample_id"].startswith(prefix)]
        assert table.find(prefix) == mine
        got = zip(table.rows(mine), table.rows_of_places(mine), strict=True)
        assert [row | place for row, place in got] == [expected[n] for n in mine]
    assert table.rows([299, 0, 17], ["width"]) == [{"width": expected[n]["width"]} for n in (0, 17, 299)]


def test_a_look_at_one_sample_reads_one_group(small: None, tmp_path: Path) -> None:
    table = written(tmp_path, [rows(300)], 300)
    keys = table.read(["sample_id"])["sample_id"].to_pylist()
    path = Path(table.location.path) / "samples.parquet"
    data = bytearray(path.read_bytes())
    data[4:200] = np.random.default_rng(0).bytes(196)  # the first group is spoiled
    path.write_bytes(data)
    assert table.find(keys[250]) == [250]
    assert table.rows([250], ["sample_id"]) == [{"sample_id": keys[250]}]
    with pytest.raises(MashbillError, match=r"samples\.parquet cannot be read"):
        table.find(keys[0])


def test_it_is_there_when_all_of_it_is(tmp_path: Path) -> None:
    table = written(tmp_path, [rows(5)], 5)
    assert table.complete
    assert table.manifest()["rows"] == 5
    for name in ("samples.parquet", "places.parquet", "table.json"):
        data = (table.location / name).read_bytes()
        (table.location / name).remove()
        assert not table.complete
        (table.location / name).write_bytes(data)
