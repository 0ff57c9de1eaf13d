"""Source ``folder``."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from stages.source.folder import Folder
from store.errors import MashbillError, UsageError


@pytest.fixture
def folder(tmp_path: Path, make_jpeg: Any) -> Path:
    """``b/two.jpg`` with a text, ``one.PNG.jpg`` with JSON, ``none.jpg``, hidden files and a folder."""
    root = tmp_path / "in"
    (root / "b" / ".cache").mkdir(parents=True)
    (root / "b" / "two.jpg").write_bytes(make_jpeg(40, 30, 2))
    (root / "b" / "two.txt").write_text("the text\n")
    (root / "b" / "two.json").write_text('{"caption": "not this", "license": "CC0", "tags": ["a", null]}')
    (root / "one.PNG.jpg").write_bytes(make_jpeg(40, 30, 1))
    (root / "one.PNG.json").write_text('{"caption": "from JSON", "title": "also"}')
    (root / "none.jpg").write_bytes(make_jpeg(40, 30, 3))
    (root / ".hidden.jpg").write_bytes(b"x")
    (root / "b" / ".cache" / "x.jpg").write_bytes(b"x")
    return root


def test_images_captions_and_fields(folder: Path, taken: Any) -> None:
    rows = taken(Folder(path=str(folder)))
    found = {row["source_key"]: (row["caption_original"], row["meta"]) for row in rows}
    assert found == {
        "b/two.jpg": ("the text", json.dumps({"license": "CC0", "tags": ["a", None]})),
        "none.jpg": (None, None),
        "one.PNG.jpg": ("from JSON", '{"title": "also"}'),
    }
    assert [row["source_key"] for row in rows] == sorted(found)
    for row in rows:
        assert row["image"] == (folder / row["source_key"]).read_bytes()
    titles = taken(Folder(path=str(folder), caption_column="title"))
    assert titles[2]["caption_original"] == "also"


def test_ids_do_not_depend_on_place_or_shard_size(folder: Path, taken: Any) -> None:
    ids = [row["sample_id"] for row in taken(Folder(path=str(folder), shard_size=1))]
    moved = folder.rename(folder.parent / "elsewhere")
    assert [row["sample_id"] for row in taken(Folder(path=str(moved)))] == ids


def test_a_changed_file_is_another_source(folder: Path) -> None:
    source = Folder(path=str(folder))
    before = source.identity()
    assert source.identity() == before
    (folder / "b" / "two.txt").write_text("another text")
    assert source.identity() != before


def test_wrong_folders(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "empty").mkdir()
    for path, says in (("nowhere", "no such folder"), ("empty", "no files"), ("in/none.jpg", "no such")):
        with pytest.raises(MashbillError, match=says):
            Folder(path=str(tmp_path / path)).identity()
    with pytest.raises(UsageError, match="shard_size=0"):
        Folder(path=str(folder), shard_size=0)
    if os.name == "posix":
        (folder / os.fsdecode(b"caf\xe9.jpg")).write_bytes(b"x")
        with pytest.raises(MashbillError, match="1 file names are not UTF-8"):
            Folder(path=str(folder)).identity()


@pytest.mark.parametrize(
    ("data", "field", "says"),
    [
        (b"{half", "json_error", "b/none.json is not valid JSON: Expecting property name"),
        (b'{"caption": "caf\xe9"}', "json_error", "b/none.json is not valid JSON: 'utf-8' codec"),
        (b"[" * 200_000, "json_error", "b/none.json is not valid JSON: maximum recursion depth"),
        (b'["list"]', "json", "['list']"),
    ],
)
def test_a_sidecar_that_is_no_json_object_is_noted(
    data: bytes, field: str, says: str, folder: Path, taken: Any
) -> None:
    (folder / "none.jpg").rename(folder / "b" / "none.jpg")
    (folder / "b" / "none.json").write_bytes(data)
    rows = {row["source_key"]: row for row in taken(Folder(path=str(folder)))}
    assert len(rows) == 3
    assert (rows["b/none.jpg"]["caption_original"], rows["b/none.jpg"]["source_error"]) == (None, None)
    (meta,) = json.loads(rows["b/none.jpg"]["meta"]).items()
    assert meta[0] == field
    assert says in str(meta[1])
    assert json.loads(rows["b/two.jpg"]["meta"])["license"] == "CC0"


def test_a_path_below_home(folder: Path, taken: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder.parent))
    rows = taken(Folder(path="~/in"))
    assert [row["sample_id"] for row in rows] == [row["sample_id"] for row in taken(Folder(path=str(folder)))]
    assert rows[0]["image"] == (folder / "b" / "two.jpg").read_bytes()


def test_an_image_that_is_gone_when_read_is_a_row_with_a_reason(folder: Path, tmp_path: Path) -> None:
    source = Folder(path=str(folder))
    (portion,) = source.plan()
    (folder / "none.jpg").unlink()
    found = {sample.source_key: sample.error for sample in source.read(portion, str(tmp_path))}
    assert found == {"b/two.jpg": None, "none.jpg": "unreadable_file", "one.PNG.jpg": None}


def test_wrong_extensions_do_not_matter(tmp_path: Path, make_jpeg: Any, cli: Any) -> None:
    root = tmp_path / "in"
    root.mkdir()
    for name in ("a.png", "b.exe", "c", "d.jpeg"):
        (root / name).write_bytes(make_jpeg(40, 30, ord(name[0])))
        (root / name).with_suffix(".txt").write_text(f"caption {name}")
    line = ["build", "l-orig", "--store", tmp_path / "s", "--set", "source.kind=folder", "--json"]
    done = cli(*line, "--set", f"source.path={root}", "--set", "pack.resolutions=16")
    assert (done.code, done.json["kept"], done.json["dropped"]) == (0, 4, {}), done.err
