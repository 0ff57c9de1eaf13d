"""Arrays beside an image in a source's tar."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from store.errors import MashbillError
from store.extras import captured, extra_places
from store.sources import RawSample, StoredSource
from store.store import open_store
from store.tar import walk


def npy(array: Any) -> bytes:
    sink = io.BytesIO()
    np.save(sink, array)
    return sink.getvalue()


ARRAYS = {"noise": np.arange(600, dtype=np.float32).reshape(4, 10, 15), "latents": np.ones((2, 3), "f2")}
EXTRA = tuple((name, npy(array)) for name, array in ARRAYS.items())


@pytest.fixture
def source(tmp_path: Path) -> StoredSource:
    """Samples with arrays and without, with captions and without, one without an image."""
    stored = open_store(tmp_path / "store", create=True).source("0" * 12)
    samples = [
        RawSample("a", "a", "caf\u00e9 " * 200, b"x" * 512, meta='{"b": 1}', extra=EXTRA),
        RawSample("b", "b", None, b"y" * 700, extra=EXTRA[:1]),
        RawSample("c", "c", "plain", b"z", meta='{"extras": ["of a crawl"]}'),
        RawSample("d", "d", "", b"z", extra=EXTRA),
        RawSample("e", "e", "gone", None, error="black_image"),
    ]
    stored.write_plan([pa.table({"x": [0]})])
    stored.write_shard(0, samples, None)
    stored.complete_with({})
    return stored


def test_arrays_come_back(source: StoredSource) -> None:
    (shard,) = source.shards()
    found = [captured(source.tar(shard), row) for row in source.rows(shard).to_pylist()]
    assert [list(arrays) for arrays in found] == [
        ["noise", "latents"],
        ["noise"],
        [],
        ["noise", "latents"],
        [],
    ]
    for arrays in found:
        for name, array in arrays.items():
            assert array.dtype == ARRAYS[name].dtype
            assert np.array_equal(array, ARRAYS[name])


def test_places_are_those_of_the_tars_members(source: StoredSource) -> None:
    (shard,) = source.shards()
    with source.tar(shard).open() as file:
        members = {m.name: (m.offset, m.size) for m in walk(file, "tar", shard.tar_bytes)}
    count = 0
    for row in source.rows(shard).to_pylist():
        for name, place in extra_places(row).items():
            assert members[f"{row['sample_id']}.{name}.npy"] == place
            count += 1
    assert count == 5
    assert len(members) == 4 + 2 + 5  # images, captions, arrays


def test_a_sample_without_arrays_is_written_as_before(tmp_path: Path) -> None:
    stored = open_store(tmp_path / "store", create=True).source("1" * 12)
    shard = stored.write_shard(0, [RawSample("c", "c", "plain", b"z", meta='{"a":1}')], None)
    assert shard.tar == "00000-096f12cf396d.tar"
    assert stored.rows(shard)["meta"].to_pylist() == ['{"a":1}']


def test_a_changed_tar_is_named(source: StoredSource) -> None:
    (shard,) = source.shards()
    row = source.rows(shard).to_pylist()[0]
    tar = source.tar(shard)
    offset, _ = extra_places(row)["noise"]
    with open(tar.path, "r+b") as file:
        file.seek(offset)
        file.write(b"no array")
    with pytest.raises(MashbillError, match=r"holds no array 'noise' at byte"):
        captured(tar, row)
