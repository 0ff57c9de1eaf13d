"""Source ``metadata``: tables of every kind and condition, and one real download."""

from __future__ import annotations

import datetime
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.source.download import Fetch
from stages.source.metadata import Metadata
from store.errors import MashbillError
from store.schema import sample_id
from store.store import open_store
from store.versions import find_version

ROWS = [
    {"url": "http://host/a.jpg", "caption": 'a "quoted", caption', "license": "CC0"},
    {"url": "http://host/b.jpg", "caption": "zwei\nZeilen", "license": ""},
    {"url": "http://host/c.jpg", "caption": "雪 ☃ \U0001f3bf", "license": "x"},
]


def planned(source: Metadata) -> list[dict[str, Any]]:
    """What would be downloaded, row by row."""
    return [row for portion in source.plan() for row in portion.to_pylist()]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Rows in the format that the name says."""
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    elif path.suffix == ".tsv":
        lines = ["\t".join(rows[0]), *("\t".join(map(str, row.values())) for row in rows)]
        path.write_text("\n".join(lines) + "\n", "utf-8")
    else:
        quoted = [[f'"{str(v).replace(chr(34), chr(34) * 2)}"' for v in row.values()] for row in rows]
        path.write_text("\n".join([",".join(rows[0]), *map(",".join, quoted)]) + "\n", "utf-8")
    return path


@pytest.mark.parametrize("ending", ["parquet", "csv", "tsv", "jsonl"])
def test_every_format_says_the_same(ending: str, tmp_path: Path) -> None:
    rows = [row for row in ROWS if ending != "tsv" or "\n" not in row["caption"]]
    found = planned(Metadata(path=str(write(tmp_path / f"rows.{ending}", rows))))
    assert [(row["url"], row["caption"]) for row in found] == [(r["url"], r["caption"]) for r in rows]
    assert [json.loads(row["meta"]) for row in found] == [{"license": r["license"]} for r in rows]
    assert [row["number"] for row in found] == list(range(len(rows)))


def test_a_folder_of_tables_is_read_in_order_and_cut_into_portions(tmp_path: Path) -> None:
    for name in ("b.jsonl", "a.csv", "c.parquet"):
        write(tmp_path / name, [row | {"license": name} for row in ROWS])
    (tmp_path / "readme.md").write_text("not a table")
    source = Metadata(path=str(tmp_path), shard_size=4)
    assert [portion.num_rows for portion in source.plan()] == [4, 4, 1]
    names = [json.loads(row["meta"])["license"] for row in planned(source)]
    assert names == ["a.csv"] * 3 + ["b.jsonl"] * 3 + ["c.parquet"] * 3


@pytest.mark.parametrize("ending", ["parquet", "csv", "tsv", "jsonl"])
def test_missing_columns_are_named_beside_those_there_are(ending: str, tmp_path: Path) -> None:
    rows = [{"URL": "http://host/a.jpg", "TEXT": "a", "id": "1"}]
    file = write(tmp_path / f"rows.{ending}", rows)
    with pytest.raises(MashbillError, match=r"has no column 'url'; it has URL, TEXT, id.*source\.url_column"):
        planned(Metadata(path=str(file)))
    with pytest.raises(MashbillError, match=r"no column 'caption'; it has URL, TEXT.*source\.caption_column"):
        planned(Metadata(path=str(file), url_column="URL"))
    (row,) = planned(Metadata(path=str(file), url_column="URL", caption_column="TEXT"))
    assert (row["url"], row["caption"], row["meta"]) == ("http://host/a.jpg", "a", '{"id": "1"}')


@pytest.mark.parametrize("ending", ["parquet", "csv", "tsv", "jsonl"])
def test_tables_without_rows(ending: str, tmp_path: Path) -> None:
    file = tmp_path / f"rows.{ending}"
    file.write_bytes(b"")
    with pytest.raises(MashbillError, match=r"not a Parquet|has no rows"):
        planned(Metadata(path=str(file)))
    if ending == "parquet":
        pq.write_table(
            pa.table({"url": pa.array([], pa.string()), "caption": pa.array([], pa.string())}), file
        )
    elif ending != "jsonl":
        file.write_text({"csv": "url,caption\n", "tsv": "url\tcaption\n"}[ending])
    with pytest.raises(MashbillError, match="has no rows"):
        planned(Metadata(path=str(file)))


def test_wrong_extensions(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", ROWS).rename(tmp_path / "a.csv")
    write(tmp_path / "b.csv", ROWS).rename(tmp_path / "b.parquet")
    write(tmp_path / "c.csv", ROWS).rename(tmp_path / "c.txt")
    for name, says in (
        ("a.csv", "is a Parquet file. Rename"),
        ("b.parquet", "is not a Parquet file. Rename"),
        ("c.txt", r"tables end in \.parquet"),
    ):
        with pytest.raises(MashbillError, match=says):
            planned(Metadata(path=str(tmp_path / name)))
    (tmp_path / "cut.parquet").write_bytes((tmp_path / "a.csv").read_bytes()[:-9])
    with pytest.raises(MashbillError, match=r"cut\.parquet cannot be read as Parquet"):
        planned(Metadata(path=str(tmp_path / "cut.parquet")))
    for path in ("", "nowhere.csv"):
        with pytest.raises(MashbillError, match=r"source\.path='.*': no such file"):
            Metadata(path=path).identity()


def test_a_tsv_without_header_by_column_numbers(tmp_path: Path) -> None:
    file = tmp_path / "rows.tsv"
    file.write_text('a caption with "one quote\thttp://host/a.jpg\textra\nsecond\thttp://host/b.jpg\n')
    found = planned(Metadata(path=str(file), url_column="1", caption_column="0"))
    assert [row["url"] for row in found] == ["http://host/a.jpg", "http://host/b.jpg"]
    assert found[0]["caption"] == 'a caption with "one quote'
    assert [row["meta"] for row in found] == ['{"2": "extra"}', None]


def test_captions_that_break_programs(tmp_path: Path) -> None:
    captions = ["x" * 1_000_000, "a\0b\0", "\ufeffmark", "\u202eright", "=1+1", "  ", "a\rb"]
    for ending in ("parquet", "csv", "jsonl"):
        rows = [{"url": f"http://host/{n}", "caption": text} for n, text in enumerate(captions)]
        found = planned(Metadata(path=str(write(tmp_path / f"rows.{ending}", rows))))
        assert [row["caption"] for row in found] == captions, ending
    (tmp_path / "half.jsonl").write_text(
        '{"url": "http://host/\\ud800", "caption": "\\udfff", "n": "\\ud800"}\n'
    )
    (row,) = planned(Metadata(path=str(tmp_path / "half.jsonl")))
    assert (row["url"], row["caption"], row["meta"]) == ("http://host/?", "?", '{"n": "?"}')
    (tmp_path / "latin.csv").write_bytes("url,caption\nhttp://host/a,caf\u00e9\n".encode("latin-1"))
    assert planned(Metadata(path=str(tmp_path / "latin.csv")))[0]["caption"] == "caf\ufffd"


def test_lines_that_are_no_objects_and_short_lines_are_rows(tmp_path: Path) -> None:
    lines = ['{"url": "http://host/a", "caption": "a"}', "{half", "[1]", "", '{"url": "http://host/b"}']
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    found = planned(Metadata(path=str(tmp_path / "rows.jsonl")))
    assert [row["error"] for row in found] == [None, "unreadable_row", "unreadable_row", None]
    assert json.loads(found[1]["meta"])["line"] == "{half\n"
    assert found[3]["caption"] is None
    (tmp_path / "rows.csv").write_text("caption,url\nlonely\n\na,http://host/a\n")
    found = planned(Metadata(path=str(tmp_path / "rows.csv")))
    assert [row["url"] for row in found] == [None, "http://host/a"]
    assert [row["error"] for row in found] == [None, None]
    (tmp_path / "deep.jsonl").write_text("[" * 200_000 + "\n")
    assert [row["error"] for row in planned(Metadata(path=str(tmp_path / "deep.jsonl")))] == [
        "unreadable_row"
    ]


@pytest.mark.parametrize("ending", ["csv", "tsv"])
def test_rows_with_more_cells_than_the_header(ending: str, tmp_path: Path) -> None:
    lines = [
        "url,caption,license",
        "http://host/a,hello, world,CC0",
        "http://host/b,fine,CC0",
        "not a URL,x,y,z,",
    ]
    file = tmp_path / f"rows.{ending}"
    file.write_text("\n".join(lines).replace(",", "\t" if ending == "tsv" else ","))
    found = planned(Metadata(path=str(file)))
    assert [row["error"] for row in found] == ["unreadable_row", None, "unreadable_row"]
    assert [row["url"] for row in found] == ["http://host/a", "http://host/b", None]
    assert [row["caption"] for row in found] == [None, "fine", None]
    assert [row["detail"] for row in found] == [
        "3 cells expected, as in the header, and 4 found",
        None,
        "3 cells expected, as in the header, and 5 found",
    ]
    assert json.loads(found[0]["meta"]) == {"cells": ["http://host/a", "hello", " world", "CC0"]}


def test_rows_that_cannot_be_read_are_not_downloaded(tmp_path: Path, taken: Any) -> None:
    (tmp_path / "rows.csv").write_text("url,caption\nhttp://127.0.0.1:9/a.jpg,hello, world\n")
    (tmp_path / "rows.jsonl").write_text('{half\n{"url": null, "caption": "a"}\n')
    rows = taken(Metadata(path=str(tmp_path)))
    assert [(row["url"], row["source_error"], row["source_detail"]) for row in rows[:2]] == [
        ("http://127.0.0.1:9/a.jpg", "unreadable_row", "2 cells expected, as in the header, and 3 found"),
        (None, "unreadable_row", "not a JSON object"),
    ]
    assert rows[2]["source_error"] == "url_missing"


def test_a_field_that_the_first_rows_of_a_jsonl_lack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "rows.jsonl"
    lines = [*['{"url": "http://host/a"}'] * 98, "{half", '{"url": "http://host/b", "caption": "b"}']
    file.write_text("\n".join(lines))
    monkeypatch.setenv("HOME", str(tmp_path))
    found = planned(Metadata(path="~/rows.jsonl"))
    assert [row["caption"] for row in found] == [None] * 99 + ["b"]
    file.write_text("\n".join([lines[0], *lines]))
    with pytest.raises(MashbillError, match="no column 'caption'; it has url"):
        planned(Metadata(path=str(file)))
    file.write_text("\n".join(["{half"] * 150 + ['{"url": "http://host/a"}']))
    with pytest.raises(MashbillError, match="no column 'caption'; it has url"):
        planned(Metadata(path=str(file)))


def test_limits_of_the_download_belong_to_the_identity(tmp_path: Path) -> None:
    """Else a build that was refused a private address would be taken for the one that may go there."""
    file = str(write(tmp_path / "rows.csv", ROWS))
    plain = Metadata(path=file).identity()
    assert Metadata(path=file, fetch=Fetch(threads=3)).identity() == plain
    assert Metadata(path=file, fetch=Fetch(allow_private=("127.0.0.1:80",))).identity() != plain


@pytest.fixture
def server(make_jpeg: Any) -> Iterator[str]:
    """``host:port`` of a server of ``/0.jpg`` to ``/9.jpg``; anything else is not there."""
    images = {f"/{number}.jpg": make_jpeg(48, 36, number) for number in range(10)}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            data = images.get(self.path)
            self.send_response(200 if data else 404)
            self.send_header("Content-Length", str(len(data or b"")))
            self.end_headers()
            self.wfile.write(data or b"")

        def log_message(self, *words: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield f"127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join(30)


def crawl(server: str) -> list[dict[str, Any]]:
    when = datetime.datetime(2024, 2, 29, 12, 30, tzinfo=datetime.UTC)
    extra = {"when": when, "score": float("nan"), "raw": b"\x00\xff", "nested": {"tags": ["a", None]}}
    rows = [{"url": f"http://{server}/{n}.jpg", "caption": f"caption {n}"} | extra for n in range(6)]
    rows.append(rows[2])  # once more
    rows.append(rows[3] | {"caption": "another caption"})  # the same image, another sample
    rows.append(rows[0] | {"url": f"http://{server}/gone.jpg"})
    rows.append(rows[0] | {"url": None})
    rows.append(rows[0] | {"url": "ftp://host/file"})
    rows.append(rows[1] | {"caption": None})
    rows.append(rows[1] | {"url": f"http://{server}/8.jpg", "caption": "n\0u\0l" + "x" * 1_000_000})
    return rows


@pytest.mark.timeout(280)
def test_a_download_through_build(tmp_path: Path, server: str, cli: Any) -> None:
    pq.write_table(pa.Table.from_pylist(crawl(server)), tmp_path / "crawl.parquet")
    line = ["build", "l-orig", "--store", tmp_path / "store", "--workers", "1", "--json"]
    line += ["--set", f"source.path={tmp_path / 'crawl.parquet'}", "--set", "pack.resolutions=16"]
    line += ["--set", f"source.fetch.allow_private={server}", "--set", "source.shard_size=100"]
    done = cli(*line)
    assert done.code == 0, done.err
    assert (done.json["samples_in"], done.json["kept"]) == (13, 7)
    assert done.json["dropped"] == {
        "caption_missing": 1,
        "caption_too_long": 1,
        "http_404": 1,
        "repeated_row": 1,
        "url_invalid": 1,
        "url_missing": 1,
    }
    assert all(stage["reused"] for stage in cli(*line).json["stages"])
    samples = find_version(open_store(tmp_path / "store"), "l-orig").samples().to_pylist()
    by_id = {row["sample_id"]: row for row in samples}
    second = by_id[sample_id(f"http://{server}/2.jpg", "caption 2")]
    assert (second["kept"], second["source_key"]) == (True, "2")
    assert json.loads(second["meta"]) == {
        "when": "2024-02-29T12:30:00+00:00",
        "score": None,
        "raw": "00ff",
        "nested": {"tags": ["a", None]},
    }
