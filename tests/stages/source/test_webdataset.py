"""Source ``webdataset``."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from stages.source.webdataset import WebDataset
from store.errors import MashbillError


def write_tar(path: Path, files: dict[str, bytes], kind: int = tarfile.GNU_FORMAT) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=kind) as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


@pytest.fixture
def samples(make_jpeg: Any) -> dict[str, dict[str, bytes]]:
    """Files of each of ten samples by key and extension."""
    found = {}
    for number in range(10):
        fields = {"caption": f"JSON {number}", "url": f"http://host/{number}", "n": number}
        found[f"{number:05d}"] = {"jpg": make_jpeg(40, 30, number), "json": json.dumps(fields).encode()}
        if number % 2:
            found[f"{number:05d}"]["txt"] = f"text {number}".encode()
    return found


def files(samples: dict[str, dict[str, bytes]], keys: list[str]) -> dict[str, bytes]:
    return {f"{key}.{ext}": data for key in keys for ext, data in samples[key].items()}


def test_two_ways_of_cutting_give_the_same_samples(tmp_path: Path, samples: Any, taken: Any) -> None:
    keys = list(samples)
    write_tar(tmp_path / "one" / "00000.tar", files(samples, keys))
    write_tar(tmp_path / "two" / "x" / "a.tar", files(samples, keys[7:] + keys[2:4]), tarfile.PAX_FORMAT)
    write_tar(tmp_path / "two" / "b.tar", files(samples, keys[4:7] + keys[:2]), tarfile.USTAR_FORMAT)
    one, two = (taken(WebDataset(path=str(tmp_path / name))) for name in ("one", "two"))
    columns = ("sample_id", "source_key", "url", "caption_original", "meta", "source_error", "image")
    assert sorted(tuple(row[c] for c in columns) for row in one) == sorted(
        tuple(row[c] for c in columns) for row in two
    )
    assert {row["tar"] for row in one} == {str(tmp_path / "one" / "00000.tar")}  # read where they lie
    by_key = {row["source_key"]: row for row in one}
    assert by_key["00003"]["caption_original"] == "text 3"
    assert by_key["00004"]["caption_original"] == "JSON 4"
    assert by_key["00004"]["url"] == "http://host/4"
    assert json.loads(by_key["00004"]["meta"])["n"] == 4
    assert by_key["00004"]["image"] == samples["00004"]["jpg"]


def test_the_same_sample_twice_is_a_repeated_row(tmp_path: Path, samples: Any, taken: Any) -> None:
    for name in ("a.tar", "b.tar"):
        write_tar(tmp_path / name, files(samples, ["00001", "00002"]))
    rows = taken(WebDataset(path=str(tmp_path)))
    assert [row["source_error"] for row in rows].count("repeated_row") == 2
    assert len({row["sample_id"] for row in rows}) == 4


def test_a_key_and_extension_twice_in_one_tar_are_two_rows(tmp_path: Path, samples: Any, taken: Any) -> None:
    with tarfile.open(tmp_path / "twice.tar", "w") as tar:
        for number, ending in ((1, "jpg"), (1, "txt"), (2, "JPG"), (2, "txt"), (1, "jpg"), (1, "txt")):
            data = samples["00001"]["txt"] if ending == "txt" else samples[f"{number:05d}"]["jpg"]
            info = tarfile.TarInfo(f"same.{ending}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    rows = taken(WebDataset(path=str(tmp_path)))
    assert [row["source_key"] for row in rows] == ["same"] * 3
    assert [row["image"] for row in rows] == [samples[f"0000{n}"]["jpg"] for n in (1, 2, 1)]
    assert [row["caption_original"] for row in rows] == ["text 1"] * 3
    assert sorted(row["source_error"] or "" for row in rows) == ["", "", "repeated_row"]


def test_a_url_that_is_no_text(tmp_path: Path, samples: Any, taken: Any) -> None:
    jpeg = samples["00000"]["jpg"]
    write_tar(tmp_path / "a.tar", {"a.jpg": jpeg, "a.json": b'{"url": 5}', "b.json": b'{"url": ["u"]}'})
    rows = {row["source_key"]: row for row in taken(WebDataset(path=str(tmp_path)))}
    assert (rows["a"]["url"], rows["b"]["url"]) == ("5", "['u']")
    assert json.loads(rows["a"]["meta"]) == {"url": 5}


def test_odd_members(tmp_path: Path, samples: Any, taken: Any) -> None:
    jpeg = samples["00000"]["jpg"]
    members = {
        "lonely.txt": b"no image",
        "sub.folder/key.part.jpg": jpeg,
        "key.JPG": jpeg,
        "bad.jpg": jpeg,
        "bad.json": b"{half",
        "list.jpg": jpeg,
        "list.json": b"[1]",
        "latin.jpg": jpeg,
        "latin.txt": "caf\u00e9".encode("latin-1"),
        "empty.png": b"",
    }
    write_tar(tmp_path / "odd.tar", members)
    rows = {row["source_key"]: row for row in taken(WebDataset(path=str(tmp_path / "odd.tar")))}
    assert rows["lonely"]["source_error"] == "image_missing"
    assert rows["key"]["image"] == jpeg
    assert "not valid JSON" in json.loads(rows["bad"]["meta"])["json_error"]
    assert json.loads(rows["list"]["meta"]) == {"json": [1]}
    assert rows["latin"]["caption_original"] == "caf\ufffd"
    assert (rows["empty"]["image"], rows["empty"]["source_error"]) == (b"", None)
    assert rows["sub.folder/key"]["source_error"] == "image_missing"  # "part.jpg" is no image's extension


def test_one_tar_a_folder_or_a_glob(tmp_path: Path, samples: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, name in enumerate(("a-0.tar", "a-1.tar", "b-0.tar")):
        write_tar(tmp_path / name, files(samples, [f"{number:05d}"]))
    for pattern, count in (("", 3), ("a-0.tar", 1), ("a-*.tar", 2)):
        source = WebDataset(path=str(tmp_path / pattern))
        assert len(list(source.plan())) == count
    monkeypatch.setenv("HOME", str(tmp_path))
    assert WebDataset(path="~/a-*.tar").identity() == source.identity()
    for pattern in ("c-*.tar", "nowhere"):
        with pytest.raises(MashbillError, match=r"source\.path=.*no \.tar files"):
            WebDataset(path=str(tmp_path / pattern)).identity()


def test_a_damaged_tar_is_named(tmp_path: Path, samples: Any, taken: Any) -> None:
    write_tar(tmp_path / "cut.tar", files(samples, list(samples)))
    whole = (tmp_path / "cut.tar").read_bytes()
    (tmp_path / "cut.tar").write_bytes(whole[:5000])
    with pytest.raises(MashbillError, match=r"cut\.tar ends inside a member"):
        taken(WebDataset(path=str(tmp_path)))


def test_tars_that_moved_are_taken_in_again(tmp_path: Path, samples: Any, cli: Any) -> None:
    write_tar(tmp_path / "in" / "a.tar", files(samples, list(samples)))
    store = ["--store", tmp_path / "store", "--set", "source.kind=webdataset", "--workers", "1"]
    first = ["--set", f"source.path={tmp_path / 'in'}", "--set", "pack.resolutions=16"]
    assert cli("build", "l-orig", *store, *first).code == 0
    (tmp_path / "in").rename(tmp_path / "moved")
    gone = cli("verify", "l-orig", "--store", tmp_path / "store").message
    assert f"{tmp_path / 'in' / 'a.tar'} is missing" in gone
    second = ["--set", f"source.path={tmp_path / 'moved'}", "--set", "pack.resolutions=24"]
    done = cli("build", "l-orig", *store, *second, "--json")
    assert (done.code, done.json["kept"]) == (0, 10), done.err
    again = cli("build", "l-orig", *store, *second, "--json")
    assert all(stage["reused"] for stage in again.json["stages"])


def test_a_tar_without_samples(tmp_path: Path, cli: Any) -> None:
    write_tar(tmp_path / "none.tar", {})
    line = ["build", "l-orig", "--store", tmp_path / "store", "--set", "source.kind=webdataset", "--json"]
    done = cli(*line, "--set", f"source.path={tmp_path}", "--workers", "1")
    assert (done.code, done.json["samples_in"]) == (0, 0), done.err
