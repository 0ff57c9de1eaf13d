"""Broken, odd and hostile images through ``build``: a row with a reason each, and no harm to others."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from store.store import open_store
from store.versions import find_version

IMAGE_REASONS = frozenset(
    (
        "not_an_image",
        "unsupported_format",
        "too_many_pixels",
        "truncated",
        "corrupt",
        "zero_size",
        "empty",
    )
)
PEAK_BYTES_MAX = 1_500_000_000
SECONDS_MAX = 200
GOOD_COLUMNS = ("sha256", "width", "height", "format", "decode_error", "crop_left", "crop_right")


def peak_bytes_of_children() -> int:
    import resource

    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * scale


def rows_of(store: Path) -> dict[str, dict[str, Any]]:
    """What the build says of each file, by its name in the folder."""
    samples = find_version(open_store(store), "l-orig").samples()
    return {row["source_key"]: row for row in samples.to_pylist()}


def test_broken_files_spoil_no_neighbor(
    tmp_path: Path, photos: Any, built: Any, broken_files: Any, cli: Any, folder_source: Any
) -> None:
    """The same good files with and without broken ones beside them have the same values."""
    found = rows_of(built[0])
    for name, (_, reason) in broken_files.items():
        assert found[name]["reason"] == reason, name
        assert not found[name]["kept"]
    for file in photos.path.iterdir():
        if not file.name.startswith("bad-"):
            shutil.copy(file, tmp_path)
    store = tmp_path.parent / f"{tmp_path.name}-store"
    options = ["--set", "pack.resolutions=64,0", "--workers", "1", "--json"]
    done = cli("build", "l-orig", "--store", store, *folder_source(tmp_path, 100), *options)
    assert done.code == 0, done.err
    alone = rows_of(store)
    assert {name: found[name] for name in alone} == alone
    assert len(alone) == len(found) - len(broken_files)


def expected_outcomes(folder: Path) -> dict[str, tuple[Path, bool]]:
    """A short unique name for every odd file: its path, and whether Pillow reads it."""
    lines = (folder / "MANIFEST.jsonl").read_text("utf-8").splitlines()
    rows = [row for row in map(json.loads, lines) if row["file"].startswith(("nasty/", "exif/"))]
    return {
        f"{number:03d}-{Path(row['file']).name}": (folder / row["file"], row["check"]["pil"] == "ok")
        for number, row in enumerate(rows)
    }


# Read by Pillow, refused here: more pixels than are allowed.
REFUSED_THOUGH_READ = {"l2rgb_read.bmp"}


@pytest.mark.timeout(500)
def test_every_odd_file_through_build(
    tmp_path: Path, shared_data: Path | None, photos: Any, built: Any, mashbill: Any, folder_source: Any
) -> None:
    """Each public odd file has the outcome its manifest states; good files among them keep their values."""
    if shared_data is None:
        return  # the test above has every kind of damage by hand
    files, crawl = expected_outcomes(shared_data), tmp_path / "crawl"
    crawl.mkdir()
    for name, (path, _) in files.items():
        os.link(path, crawl / name) if _same_disk(path, crawl) else shutil.copy(path, crawl / name)
        (crawl / name).with_suffix(".txt").write_text(f"the picture {name}")
    for file in photos.path.glob("photo-*"):
        shutil.copy(file, crawl)
    started = time.monotonic()
    options = ["--set", "pack.resolutions=64", "--workers", "2", "--json"]
    done = mashbill("build", "l-orig", "--store", tmp_path / "store", *folder_source(crawl, 100), *options)
    assert done.code == 0, done.err
    assert time.monotonic() - started < SECONDS_MAX
    assert peak_bytes_of_children() < PEAK_BYTES_MAX
    assert done.json["samples_in"] == len(files) + 14
    assert done.json["samples_in"] == done.json["kept"] + sum(done.json["dropped"].values())
    assert set(done.json["dropped"]) <= IMAGE_REASONS

    found, wrong = rows_of(tmp_path / "store"), {}
    for name, (path, readable) in files.items():
        if found[name]["kept"] != (readable and path.name not in REFUSED_THOUGH_READ):
            wrong[name] = found[name]["reason"]
    assert wrong == {}
    good = rows_of(built[0])
    for name in (file.name for file in photos.path.glob("photo-*.jpg")):
        assert {c: found[name][c] for c in GOOD_COLUMNS} == {c: good[name][c] for c in GOOD_COLUMNS}
    packed = find_version(open_store(tmp_path / "store"), "l-orig").manifest()["packs"]["64"]
    assert packed["dropped"] == {}


def _same_disk(one: Path, other: Path) -> bool:
    return False if one.is_symlink() else one.stat().st_dev == other.stat().st_dev


NASTY_CAPTIONS = {
    "nul": "a\0b\0c",
    "controls": "\x01bell\x07 and \x1b[31mred",
    "million": "x" * 1_000_000,
    "right-to-left": "\u202egnirts\u202c \u0634\u062c\u0631\u0629",
    "emoji": "family \U0001f468\u200d\U0001f469\u200d\U0001f467 and \U0001f1eb\U0001f1f7",
    "astral-noncharacter": "\U0001ffff\ufffe\ufdd0",
    "combining": "e" + "\u0301" * 500,
    "only-spaces": " \t\r\n\u3000\u00a0",
    "html": "&lt;script&gt;alert(1)&lt;/script&gt; &amp;amp; &#0; &#xD800;",
    "formula": "=HYPERLINK(1)",
}


def test_captions_that_break_programs(
    tmp_path: Path, make_jpeg: Callable[[int, int, int], bytes], cli: Any, folder_source: Any
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for number, (name, caption) in enumerate(NASTY_CAPTIONS.items()):
        (folder / f"{name}.jpg").write_bytes(make_jpeg(64, 48, number))
        (folder / f"{name}.txt").write_bytes(caption.encode())
    (folder / "latin-1.jpg").write_bytes(make_jpeg(64, 48, 60))
    (folder / "latin-1.txt").write_bytes("caf\u00e9".encode("latin-1"))
    (folder / "half-pair.jpg").write_bytes(make_jpeg(64, 48, 61))
    (folder / "half-pair.json").write_text('{"caption": "half \\ud800 pair", "note": "\\udfff", "n": NaN}')
    store = tmp_path / "store"
    options = ["--set", "pack.resolutions=32", "--json"]
    done = cli("build", "l-orig", "--store", store, *folder_source(folder), *options)
    assert done.code == 0, done.err
    found = {Path(name).stem: row for name, row in rows_of(store).items()}
    for name, caption in NASTY_CAPTIONS.items():
        assert found[name]["caption_original"] == caption.strip("\r\n"), name
    assert {n: r["reason"] for n, r in found.items() if not r["kept"]} == {
        "million": "caption_too_long",
        "only-spaces": "caption_missing",
    }
    assert found["nul"]["caption"] == "abc"
    assert found["controls"]["caption"] == "bell and [31mred"
    assert found["latin-1"]["caption"] == "caf\ufffd"
    assert found["half-pair"]["caption"] == "half ? pair"
    assert json.loads(found["half-pair"]["meta"]) == {"note": "?", "n": None}
    assert cli("export", "l-orig", tmp_path / "out", "--as", "parquet", "--store", store).code == 0
    assert pq.read_table(tmp_path / "out" / "samples.parquet").num_rows == len(found)
