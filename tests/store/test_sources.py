"""Sources in the store: ids, repeats, plans that go on, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest

from store.errors import MashbillError
from store.schema import sample_id
from store.sources import RawSample, StoredSource
from store.store import Store, open_store

NAMES = ["a", "b", "a", "c", "b", "a", "d", "a"]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path / "store", create=True)


def take(store: Store, name: str, samples: list[RawSample], size: int) -> StoredSource:
    source = store.source(name)
    starts = range(0, len(samples), size)
    source.write_plan(pa.table({"start": [start]}) for start in starts)
    for index, start in enumerate(starts):
        source.write_shard(index, iter(samples[start : start + size]), None)
    source.complete_with({"kind": "test"})
    return source


def rows(source: StoredSource) -> list[dict[str, object]]:
    return [row for shard in source.shards() for row in source.rows(shard).to_pylist()]


def repeating() -> list[RawSample]:
    """``source_key`` tells the rows apart; the fourth ``a`` has no image."""
    found = []
    for number, name in enumerate(NAMES):
        error = "http_404" if number == 7 else None
        image = None if error else name.encode()
        found.append(RawSample(name, str(number), f"caption {name}", image, error=error, extension="jpg"))
    return found


def test_repeated_rows_are_numbered_the_same_at_any_shard_size(store: Store) -> None:
    seen = []
    for size in (1, 3, 8):
        found = rows(take(store, f"size-{size}", repeating(), size))
        assert len({row["sample_id"] for row in found}) == len(NAMES)
        columns = ("sample_id", "source_key", "source_error", "caption_original")
        seen.append([{name: row[name] for name in columns} for row in found])
    assert seen[0] == seen[1] == seen[2]
    errors = {row["source_key"]: row["source_error"] for row in seen[0]}
    again = {key for key, error in errors.items() if error == "repeated_row"}
    assert again == {"2", "4", "5"}
    assert errors["7"] == "http_404"  # its own reason stands
    first = next(row for row in seen[0] if row["source_key"] == "0")
    assert first["sample_id"] == sample_id("a", "caption a")


def test_of_repeated_rows_one_with_an_image_stays(store: Store) -> None:
    same = [RawSample("u", "0", "c", None, error="http_500"), RawSample("u", "1", "c", b"pixels")]
    found = rows(take(store, "mixed", same, 1))
    assert [row["source_error"] for row in found] == ["http_500", None]
    assert found[1]["sample_id"] == sample_id("u", "c")


def test_images_and_captions_lie_where_the_rows_say(store: Store) -> None:
    source = take(store, "bytes", repeating(), 3)
    for shard in source.shards():
        table = source.rows(shard).to_pylist()
        assert shard.rows == len(table)
        for row in table:
            if row["image_size"] is not None:
                (data,) = source.tar(shard).read_ranges([(row["image_offset"], row["image_size"])])
                assert data.decode() == row["caption_original"][-1]


def test_a_committed_shard_is_never_written_again(store: Store) -> None:
    source = store.source("twice")
    source.write_plan([pa.table({"x": [1]})])
    first = source.write_shard(0, [RawSample("a", "0", None, b"1")], None)
    second = source.write_shard(0, [RawSample("b", "0", None, b"2")], None)
    assert second == first
    source.complete_with({})
    assert rows(source)[0]["sample_id"] == sample_id("a", None)


def test_a_plan_is_kept_for_the_next_process(store: Store) -> None:
    source = store.source("plan")
    assert source.planned() is None
    assert source.write_plan(pa.table({"x": [i]}) for i in range(3)) == 3
    again = open_store(store.url).source("plan")
    assert again.planned() == 3
    assert again.portion(2)["x"].to_pylist() == [2]
    assert again.present() == set()
    again.write_shard(1, [], None)
    assert source.present() == {1}
    assert not source.complete


def test_an_empty_source_is_complete(store: Store) -> None:
    source = take(store, "empty", [], 1)
    assert source.complete
    assert (source.manifest()["rows"], source.shards()) == (0, [])


def test_text_that_utf_8_cannot_hold_is_mended(store: Store) -> None:
    sample = RawSample(
        "a", "k\ud800", "half \udc00 pair", b"1", meta=json.dumps({"a": "\ud800"}), detail="\udfff"
    )
    (row,) = rows(take(store, "half", [sample], 1))
    assert (row["source_key"], row["caption_original"], row["source_detail"]) == ("k?", "half ? pair", "?")


def test_ids_do_not_run_into_each_other() -> None:
    ids = {sample_id("ab", "c"), sample_id("a", "bc"), sample_id("ab", None), sample_id("ab", "c", 1)}
    assert len(ids) == 4
    assert sample_id("x", None) == sample_id("x", "")
    assert all(len(key) == 24 for key in ids)


def test_a_column_set_refuses_another_number_of_rows(store: Store) -> None:
    columns = store.column_set("size", "0123456789ab")
    table = pa.table({"sample_id": ["a", "b"], "width": [1, 2]})
    for rows_there in (1, 3):
        with pytest.raises(MashbillError, match=f"2 rows of {rows_there} in shard 0"):
            columns.write(0, table, rows_there)
    assert columns.present() == set()
    columns.write(7, table, 2)
    assert (columns.present(), columns.complete) == ({7}, False)
    columns.commit({"stage": "size"}, [7])
    assert columns.complete
    assert columns.present() == {7}
    assert columns.read(7, ["width"])["width"].to_pylist() == [1, 2]
    with pytest.raises(MashbillError, match=r"00000\.parquet is missing"):
        columns.read(0)
