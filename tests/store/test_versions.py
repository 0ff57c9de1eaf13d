"""Finding versions, and finding out when a file is no longer what was committed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from store.errors import MashbillError
from store.store import open_store
from store.versions import find_version, list_datasets, verify


def test_a_version_is_found_by_name_prefix_or_as_the_newest(built: Any) -> None:
    store, version = open_store(built[0]), built[1]["version"]
    assert list_datasets(store) == ["l-orig"]
    for name in ("l-orig", "l_orig", f"l-orig@{version}", f"l-orig@{version[:4]}"):
        assert find_version(store, name).version == version
    for name in (f"l-orig@{version[:3]}", "l-orig@ffff", f"l-orig@{version}0"):
        with pytest.raises(MashbillError, match=f"not one of the versions: {version}"):
            find_version(store, name)
    for name in ("l-pp", "", "@1234", "../sources", "L-ORIG"):
        with pytest.raises(MashbillError, match="no dataset"):
            find_version(store, name)


KINDS = {
    "tar": "sources/*/shards/*.tar",
    "rows": "sources/*/shards/*.parquet",
    "columns": "columns/size-*/00000.parquet",
    "samples": "tables/*/samples.parquet",
    "places": "tables/*/places.parquet",
    "selection": "datasets/*/*/selection.parquet",
    "packed tar": "datasets/*/*/packs/64/*.tar",
    "pack.json": "datasets/*/*/packs/64/pack.json",
}


@pytest.fixture
def copied(built: Any, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built[0], tmp_path / "store"))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("harm", ["flipped byte", "removed"])
def test_a_changed_file_of_every_kind_is_found(kind: str, harm: str, copied: Path, cli: Any) -> None:
    file = sorted(copied.glob(KINDS[kind]))[0]
    if harm == "removed":
        file.unlink()
    else:
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
    store = open_store(copied)
    (problem,) = verify(store, find_version(store, "l-orig"))
    assert problem.startswith(str(file))
    done = cli("verify", "l-orig", "--store", copied, "--json")
    assert (done.code, done.json["problems"]) == (1, [problem])
    assert str(file) in done.message


@pytest.mark.parametrize("mark", ["sources/*/source.json", "columns/size-*/column_set.json"])
def test_a_removed_mark_is_found(mark: str, copied: Path) -> None:
    (file,) = copied.glob(mark)
    file.unlink()
    store = open_store(copied)
    (problem,) = verify(store, find_version(store, "l-orig"))
    assert problem == f"{file} is missing"


@pytest.mark.parametrize(
    "name", ["columns/size-*/00000.parquet", "columns/crop-*/00001.parquet", "tables/*/samples.parquet"]
)
def test_a_damaged_file_ends_a_build_with_one_line(
    name: str, copied: Path, photos: Any, cli: Any, folder_source: Any
) -> None:
    (file,) = copied.glob(name)
    file.write_bytes(file.read_bytes()[:-40])
    if name.startswith("columns"):
        shutil.rmtree(copied / "tables")  # or nothing would read it
    line = ["build", "l-orig", "--store", copied, *folder_source(photos.path), "--workers", "1"]
    done = cli(*line, "--set", "pack.resolutions=16")
    assert done.code == 1, done.err
    assert str(file) in done.message
    assert len(done.message.splitlines()) == 1
