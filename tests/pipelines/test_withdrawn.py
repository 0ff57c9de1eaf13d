"""A version of which files are gone, and what is made of it again from a source that lies elsewhere."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from store.errors import MashbillError
from store.store import open_store
from store.versions import find_version, verify


def write_tar(path: Path, numbers: list[int]) -> None:
    """Pictures of different sizes and colors, in this order."""
    with tarfile.open(path, "w") as tar:
        for n in numbers:
            sink = io.BytesIO()
            Image.new("RGB", (64 + n, 64), (n * 9, 255 - n * 9, 128)).save(sink, "PNG")
            for name, data in ((f"{n:03d}.png", sink.getvalue()), (f"{n:03d}.txt", b"a plain picture")):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))


@pytest.fixture
def line(tmp_path: Path) -> list[str]:
    write_tar(tmp_path / "all.tar", list(range(12)))
    options = ["source.kind=webdataset", f"source.path={tmp_path / 'all.tar'}", "pack.resolutions=32"]
    options.append("pack.samples_per_shard=5")
    store = str(tmp_path / "store")
    return ["build", "l-orig", "--store", store, *(p for o in options for p in ("--set", o)), "--json"]


def test_packs_are_made_again_from_where_the_images_lie_now(
    line: list[str], tmp_path: Path, cli: Any
) -> None:
    first = cli(*line, "--workers", "1").json
    version = find_version(open_store(tmp_path / "store"), "l-orig")
    tars = {
        n: (version.pack("32") / n).read_bytes() for n in version.pack("32").names() if n.endswith(".tar")
    }
    write_tar(tmp_path / "all.tar", list(range(12))[::-1])  # the same samples in other places
    (version.pack("32") / "train-00000.tar").remove()
    shutil.rmtree(Path(version.location.path) / "marks" / "32")  # as if it had been packing still
    again = cli(*line, "--workers", "1").json
    assert (again["version"], again["dropped"]) == (first["version"], first["dropped"])
    assert {n: (version.pack("32") / n).read_bytes() for n in tars} == tars


def test_datasets_goes_on_without_a_withdrawn_version(line: list[str], tmp_path: Path, cli: Any) -> None:
    first = cli(*line, "--workers", "1").json
    second = cli(*line, "--set", "pack.samples_per_shard=4", "--workers", "1").json
    store = open_store(tmp_path / "store")
    version = find_version(store, "l-orig")
    assert version.version == second["version"]
    (version.pack("32") / "train-00000.tar").remove()
    assert version.gone() == ["packs/32/train-00000.tar"]
    version.withdraw_if_broken()
    assert find_version(store, "l-orig").version == first["version"]
    assert cli("datasets", "--store", store.url).code == 0
    older = find_version(store, "l-orig")
    (older.location / "report" / "index.html").remove()
    older.withdraw_if_broken()
    assert cli("datasets", "--store", store.url, "--json").json == {"datasets": []}
    with pytest.raises(MashbillError, match="no dataset 'l-orig'"):
        find_version(store, "l-orig")
    assert cli(*line, "--workers", "1").json["version"] == first["version"]
    assert verify(store, find_version(store, "l-orig")) == []


def test_a_version_without_packs_cannot_be_exported_as_one(line: list[str], tmp_path: Path, cli: Any) -> None:
    assert cli(*line[:-1], "--set", "pack.resolutions=", "--workers", "1").code == 0
    store = str(tmp_path / "store")
    done = cli("export", "l-orig", tmp_path / "out", "--as", "webdataset", "--store", store)
    assert done.code == 1
    assert "has no packs" in done.message
    assert json.loads(cli("show", "l-orig", "--json", "--store", store).out)["packs"] == {}


def test_show_takes_names_only(line: list[str], tmp_path: Path, cli: Any) -> None:
    assert cli(*line, "--workers", "1").code == 0
    done = cli("show", "../store", "--store", tmp_path / "store")
    assert done.code == 1
    assert "no dataset" in done.message
