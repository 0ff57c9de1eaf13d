"""Source ``img2dataset``: the files that img2dataset 1.47 writes, made here byte for byte alike.

``test_metadata.py`` runs the real program and reads its answer through the same reason codes.
"""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.source.img2dataset import Img2dataset
from store.errors import MashbillError
from store.schema import sample_id

SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("url", "caption", "key", "status", "error_message")),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("exif", pa.string()),
        ("sha256", pa.string()),
    ]
)
FAILURES = {"00001": "HTTP Error 404: Not Found", "00003": "<urlopen error timed out>"}


def write_shard(folder: Path, make_jpeg: Any, rows: int = 6, counted: int = 6) -> dict[str, bytes]:
    """One shard as img2dataset lays it out; the images by key."""
    folder.mkdir(parents=True, exist_ok=True)
    records, images = [], {}
    with tarfile.open(folder / "00000.tar", "w", format=tarfile.GNU_FORMAT) as tar:
        for number in range(rows):
            key = f"{number:05d}"
            record = dict.fromkeys(SCHEMA.names) | {"url": f"http://host/{number}.jpg", "key": key}
            failure = FAILURES.get(key)
            record |= {"caption": f"caption {number}", "error_message": failure}
            record["status"] = "failed_to_download" if failure else "success"
            records.append(record)
            if failure:
                continue
            images[key] = make_jpeg(48, 36, number)
            record |= {"width": 48, "height": 36, "exif": "{}"}
            parts = {"jpg": images[key], "json": json.dumps(record).encode()}
            parts["txt"] = f"caption {number}".encode()
            for ext, data in parts.items():
                info = tarfile.TarInfo(f"{key}.{ext}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    pq.write_table(pa.Table.from_pylist(records, SCHEMA), folder / "00000.parquet")
    stats = {"count": counted, "successes": len(images), "failed_to_download": rows - len(images)}
    (folder / "00000_stats.json").write_text(json.dumps(stats))
    return images


def test_every_row_enters_failed_ones_with_their_reason(tmp_path: Path, make_jpeg: Any, taken: Any) -> None:
    images = write_shard(tmp_path, make_jpeg)
    rows = {row["source_key"]: row for row in taken(Img2dataset(path=str(tmp_path)))}
    assert len(rows) == 6
    assert {key: row["source_error"] for key, row in rows.items() if row["source_error"]} == {
        "00001": "http_404",
        "00003": "timeout",
    }
    for key, row in rows.items():
        assert row["image"] == images.get(key)
        number = int(key)
        assert row["url"] == f"http://host/{number}.jpg"
        assert row["sample_id"] == sample_id(row["url"], f"caption {number}")  # as `metadata` names it
        assert row["source_detail"] == FAILURES.get(key)
    assert json.loads(rows["00000"]["meta"])["width"] == 48


def test_rows_that_were_counted_and_not_written_are_lost(tmp_path: Path, make_jpeg: Any, taken: Any) -> None:
    write_shard(tmp_path, make_jpeg, rows=4, counted=7)
    rows = taken(Img2dataset(path=str(tmp_path)))
    lost = [row for row in rows if row["source_error"] == "lost_by_downloader"]
    assert (len(rows), len(lost)) == (7, 3)
    assert "counted 7 rows and wrote 4" in lost[0]["source_detail"]
    assert len({row["sample_id"] for row in rows}) == 7


def test_a_success_without_its_image_is_lost(tmp_path: Path, make_jpeg: Any, taken: Any) -> None:
    write_shard(tmp_path, make_jpeg)
    with tarfile.open(tmp_path / "00000.tar", "w"):
        pass
    errors = [row["source_error"] for row in taken(Img2dataset(path=str(tmp_path)))]
    assert errors.count("lost_by_downloader") == 4


@pytest.mark.parametrize("ending", ["_stats.json", ".parquet"])
def test_an_unfinished_shard_is_named(ending: str, tmp_path: Path, make_jpeg: Any, taken: Any) -> None:
    write_shard(tmp_path, make_jpeg)
    (tmp_path / f"00000{ending}").unlink()
    with pytest.raises(MashbillError, match=f"00000{ending} is missing.*was stopped"):
        taken(Img2dataset(path=str(tmp_path)))


def test_other_column_names(tmp_path: Path, make_jpeg: Any, taken: Any) -> None:
    write_shard(tmp_path, make_jpeg)
    file = tmp_path / "00000.parquet"
    renamed = ["URL" if n == "url" else "TEXT" if n == "caption" else n for n in SCHEMA.names]
    pq.write_table(pq.read_table(file).rename_columns(renamed), file)
    with pytest.raises(MashbillError, match=r"has no column url.*URL, TEXT, key"):
        taken(Img2dataset(path=str(tmp_path)))
    rows = taken(Img2dataset(path=str(tmp_path), url_column="URL", caption_column="TEXT"))
    assert rows[0]["sample_id"] == sample_id("http://host/0.jpg", "caption 0")


def test_urls_and_captions_that_are_no_text(tmp_path: Path, make_jpeg: Any, taken: Any) -> None:
    write_shard(tmp_path, make_jpeg)
    table = pq.read_table(tmp_path / "00000.parquet")
    for name in ("url", "caption"):
        table = table.set_column(table.column_names.index(name), name, pa.array(range(6)))
    pq.write_table(table, tmp_path / "00000.parquet")
    rows = taken(Img2dataset(path=str(tmp_path)))
    assert [(row["url"], row["caption_original"]) for row in rows] == [(str(n), str(n)) for n in range(6)]


def test_shards_that_moved_are_another_source(
    tmp_path: Path, make_jpeg: Any, taken: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_shard(tmp_path / "in", make_jpeg)
    before = Img2dataset(path=str(tmp_path / "in"))
    identity, rows = before.identity(), taken(before)
    (tmp_path / "in").rename(tmp_path / "moved")
    monkeypatch.setenv("HOME", str(tmp_path))
    after = Img2dataset(path="~/moved")
    assert after.identity() != identity
    assert [row["sample_id"] for row in taken(after)] == [row["sample_id"] for row in rows]


def test_through_build(tmp_path: Path, make_jpeg: Any, cli: Any) -> None:
    write_shard(tmp_path / "crawl", make_jpeg, counted=8)
    line = ["build", "l-orig", "--store", tmp_path / "store", "--set", "source.kind=img2dataset", "--json"]
    more = ["--set", f"source.path={tmp_path / 'crawl'}", "--set", "pack.resolutions=16", "--workers", "1"]
    done = cli(*line, *more)
    assert done.code == 0, done.err
    assert (done.json["samples_in"], done.json["kept"]) == (8, 4)
    assert done.json["dropped"] == {"http_404": 1, "lost_by_downloader": 2, "timeout": 1}
