"""Source ``datasets``: local folders, streamed by the ``datasets`` package."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.source.datasets import HubDataset
from store.errors import MashbillError


@pytest.fixture
def images(make_jpeg: Any) -> list[bytes]:
    return [make_jpeg(48, 36, seed) for seed in range(5)]


@pytest.fixture
def image_folder(tmp_path: Path, images: list[bytes]) -> Path:
    folder = tmp_path / "images"
    (folder / "train").mkdir(parents=True)
    with (folder / "train" / "metadata.jsonl").open("w") as lines:
        for number, data in enumerate(images):
            (folder / "train" / f"{number}.jpg").write_bytes(data)
            row = {"file_name": f"{number}.jpg", "caption": f"caption {number}", "license": "CC0"}
            lines.write(json.dumps(row) + "\n")
    return folder


def parquet_folder(path: Path, images: list[bytes], files: int, column: str = "image") -> Path:
    path.mkdir()
    rows = [{column: {"bytes": d, "path": None}, "caption": f"caption {n}"} for n, d in enumerate(images)]
    for number in range(files):
        pq.write_table(pa.Table.from_pylist(rows[number::files]), path / f"train-{number:05d}.parquet")
    return path


def test_an_image_folder_with_captions(image_folder: Path, images: list[bytes], taken: Any) -> None:
    rows = taken(HubDataset(path=str(image_folder)))
    found = {row["caption_original"]: row["image"] for row in rows}
    assert found == {f"caption {number}": data for number, data in enumerate(images)}
    assert {row["meta"] for row in rows} == {'{"license": "CC0"}'}
    assert len({row["tar"] for row in rows}) == 1


def test_parquet_in_one_file_or_three_gives_the_same_ids(
    tmp_path: Path, images: list[bytes], image_folder: Path, taken: Any
) -> None:
    one = taken(HubDataset(path=str(parquet_folder(tmp_path / "one", images, 1))))
    three = taken(HubDataset(path=str(parquet_folder(tmp_path / "three", images, 3))))
    folder = taken(HubDataset(path=str(image_folder)))
    kinds = [{(row["sample_id"], row["caption_original"], row["image"]) for row in r} for r in (one, three)]
    assert kinds[0] == kinds[1]
    assert {row["sample_id"] for row in folder} == {row["sample_id"] for row in one}
    assert len({row["tar"] for row in three}) == 3
    assert {row["image"] for row in three} == set(images)


def test_missing_images_columns_and_splits(tmp_path: Path, images: list[bytes], taken: Any) -> None:
    folder = parquet_folder(tmp_path / "data", images, 1)
    with pytest.raises(MashbillError, match=r"no column 'img'; it has image, caption.*image_column"):
        taken(HubDataset(path=str(folder), image_column="img"))
    with pytest.raises(MashbillError, match=r"no column 'text'; it has image, caption"):
        taken(HubDataset(path=str(folder), caption_column="text"))
    with pytest.raises(MashbillError, match="cannot open split 'test'"):
        taken(HubDataset(path=str(folder), split="test"))
    rows = [{"image": {"bytes": images[0], "path": None}, "caption": "a"}, {"image": None, "caption": None}]
    pq.write_table(pa.Table.from_pylist(rows), folder / "train-00000.parquet")
    assert [row["source_error"] for row in taken(HubDataset(path=str(folder)))] == [None, "image_missing"]


def test_urls_that_are_no_text_and_a_path_below_home(
    tmp_path: Path, images: list[bytes], taken: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    row = {"image": {"bytes": images[0], "path": None}, "caption": 7, "url": 5}
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "data" / "train.parquet")
    monkeypatch.setenv("HOME", str(tmp_path))
    (found,) = taken(HubDataset(path="~/data"))
    assert (found["url"], found["caption_original"], found["image"]) == ("5", "7", images[0])
    assert HubDataset(path="~/data").identity() == HubDataset(path=str(tmp_path / "data")).identity()


def test_a_folder_without_data_is_named(tmp_path: Path, taken: Any) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(MashbillError, match=r"source\.path=.*cannot open"):
        taken(HubDataset(path=str(tmp_path / "empty")))
    with pytest.raises(MashbillError, match=r"source\.path is empty"):
        HubDataset().identity()
