"""``build``: what it promises about counting, reusing, naming and going on."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from store.errors import MashbillError
from store.lease import Owner
from store.location import this_host
from store.store import open_store
from store.versions import check_accounts, find_version, verify

SMALL = ["--set", "pack.resolutions=32", "--json"]
MIN_SIDE = """
from dataclasses import replace
from pipelines.recipes.l_orig import l_orig
from stages.select.min_side import MinSide

def larger():
    parent = l_orig()
    return replace(parent, name="larger", select=(*parent.select, MinSide(min_px=100)))
"""


@pytest.fixture(scope="module")
def two_limits(
    tmp_path_factory: pytest.TempPathFactory, photos: Any, cli: Any, folder_source: Any, tree: Any
) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """Builds with one smallest side and then another; their answers, and the store after each."""
    folder = tmp_path_factory.mktemp("limits")
    (folder / "larger.py").write_text(MIN_SIDE)
    fixed = ["build", f"{folder / 'larger.py'}:larger", "--store", folder / "store", "--workers", "1"]
    answers, states = [], []
    for limit in (100, 250):
        change = ["--set", f"min_side={limit}"]
        done = cli(*fixed, *folder_source(photos.path), *SMALL, *change)
        assert done.code == 0, done.err
        answers.append(done.json)
        states.append(tree(folder / "store", times=True))
    return answers, states


def test_everything_that_entered_is_kept_or_dropped(built: Any, photos: Any) -> None:
    store, answer = built
    assert (answer["samples_in"], answer["kept"]) == (photos.count, photos.kept)
    assert answer["dropped"] == photos.dropped
    manifest = find_version(open_store(store), "l-orig").manifest()
    kept = manifest["samples_in"]
    for step in manifest["selection"]:
        assert step["samples_in"] == kept
        assert step["samples_in"] == step["kept"] + sum(step["dropped"].values())
        kept = step["kept"]
    assert kept == answer["kept"]
    for pack in manifest["packs"].values():
        assert sum(pack["splits"].values()) + sum(pack["dropped"].values()) == kept


def test_the_rows_say_the_same_as_the_counts(built: Any, photos: Any) -> None:
    store, _ = built
    samples = find_version(open_store(store), "l-orig").samples().to_pylist()
    assert len({row["sample_id"] for row in samples}) == photos.count
    assert [row["sample_id"] for row in samples] == sorted(row["sample_id"] for row in samples)
    assert all(row["kept"] == (row["reason"] is None) for row in samples)
    by_key = {row["source_key"]: row["reason"] for row in samples}
    assert by_key["bad-cut.jpg"] == "truncated"
    assert by_key["photo-03.jpg"] is None


@pytest.mark.parametrize("where", ["the whole", "a rule"])
def test_a_version_that_does_not_add_up_is_refused(built: Any, where: str) -> None:
    store, _ = built
    version = find_version(open_store(store), "l-orig")
    manifest = version.manifest()
    (manifest if where == "the whole" else manifest["selection"][1])["kept"] -= 1
    with pytest.raises(MashbillError, match="does not add up"):
        check_accounts(manifest)
    with pytest.raises(MashbillError, match="not committed"):
        version.commit(manifest)


def test_a_second_build_changes_no_file(
    tmp_path: Path, built: Any, photos: Any, cli: Any, folder_source: Any, tree: Any
) -> None:
    store, first = built
    before = tree(store, times=True)
    options = ["--set", "pack.resolutions=64,0", "--workers", "1", "--json"]
    done = cli("build", "l_orig", "--store", store, *folder_source(photos.path), *options)
    assert done.code == 0, done.err
    assert done.json["version"] == first["version"]
    assert not any(stage["reused"] for stage in first["stages"])
    assert all(stage["reused"] for stage in done.json["stages"])
    assert tree(store, times=True) == before


def test_another_smallest_side_only_selects_and_packs_again(two_limits: Any) -> None:
    (first, second), (before, after) = two_limits
    reused = {stage["name"]: stage["reused"] for stage in second["stages"]}
    assert {name for name, value in reused.items() if not value} == {"select", "pack"}
    assert second["version"] != first["version"]
    assert second["dropped"]["too_small"] > first["dropped"]["too_small"] > 0
    columns = [name for name in before if name.startswith(("columns/", "sources/"))]
    assert columns
    assert {name: after[name] for name in columns} == {name: before[name] for name in columns}
    assert {n for n in after if n.startswith(("columns/", "sources/"))} == set(columns)


def test_the_same_version_and_packs_elsewhere_and_cut_otherwise(
    tmp_path: Path, built: Any, photos: Any, mashbill: Any, folder_source: Any, tree: Any
) -> None:
    store, first = built
    shutil.copytree(photos.path, tmp_path / "moved")
    options = ["--set", "pack.resolutions=64,0", "--workers", "2", "--json"]
    source = folder_source(tmp_path / "moved", shard_size=5)
    done = mashbill("build", "l-orig", "--store", tmp_path / "other", *source, *options)
    assert done.code == 0, done.err
    assert done.json["version"] == first["version"]
    place = f"datasets/l-orig/{first['version']}"
    ours, theirs = tree(store / place), tree(tmp_path / "other" / place)
    del ours["manifest.json"], theirs["manifest.json"]  # they name the source that each was made of
    ours, theirs = ({k: v for k, v in t.items() if "/order-" not in k} for t in (ours, theirs))
    assert theirs == ours
    assert sum(name.endswith(".tar") for name in ours) == 2
    assert "selection.parquet" in ours
    tables = [next((root / "tables").glob("*/samples.parquet")) for root in (store, tmp_path / "other")]
    assert tables[0].read_bytes() == tables[1].read_bytes()


def test_three_builds_of_one_recipe_at_once(
    tmp_path: Path, photos: Any, command: Any, folder_source: Any
) -> None:
    start, environment = command
    many = ["--set", "pack.samples_per_shard=1"]  # so that one packs still when another is done
    line = [*start, "build", "l-orig", "--store", str(tmp_path / "store"), *SMALL, *many, "--workers"]
    source, pipe = folder_source(photos.path, shard_size=4), subprocess.PIPE
    builds = [
        subprocess.Popen([*line, n, *source], env=environment, stdout=pipe, stderr=pipe, text=True)
        for n in ("1", "2", "1")
    ]
    ends = [process.communicate(timeout=240) for process in builds]
    assert [process.returncode for process in builds] == [0, 0, 0], ends
    versions = {out.split('"version": "')[1][:12] for out, _ in ends}
    assert len(versions) == 1
    store = open_store(tmp_path / "store")
    assert verify(store, find_version(store, "l-orig")) == []
    assert list((tmp_path / "store" / "tmp").iterdir()) == []


def test_a_store_in_memory(photos: Any, cli: Any, folder_source: Any, built: Any) -> None:
    """Any fsspec location does; the answer is that of a local store."""
    _, first = built
    url = "memory://test-build/store"
    options = ["--set", "pack.resolutions=64,0", "--workers", "1", "--json"]
    line = ["build", "l-orig", "--store", url, *folder_source(photos.path), *options]
    done = cli(*line)
    assert done.code == 0, done.err
    assert done.json["version"] == first["version"]
    assert all(stage["reused"] for stage in cli(*line).json["stages"])
    assert cli("verify", "l-orig", "--store", url).code == 0


def test_zero_samples_kept_is_a_version_too(
    tmp_path: Path, photos: Any, cli: Any, folder_source: Any
) -> None:
    (tmp_path / "in").mkdir()
    shutil.copy(photos.path / "silent.jpg", tmp_path / "in")
    line = ["build", "l-orig", "--store", tmp_path / "store", *SMALL, *folder_source(tmp_path / "in")]
    done = cli(*line)
    assert (done.code, done.json["kept"], done.json["dropped"]) == (0, 0, {"caption_missing": 1}), done.err
    version = find_version(open_store(tmp_path / "store"), "l-orig")
    pack = version.pack("32") / "pack.json"
    assert (pack.read_json()["version"], pack.read_json()["shards"]) == (version.version, [])


def test_a_dry_run_makes_nothing(tmp_path: Path, photos: Any, cli: Any, folder_source: Any) -> None:
    line = ["build", "l-orig", "--store", tmp_path / "new", *folder_source(photos.path), "--dry-run"]
    done = cli(*line, "--json")
    assert done.code == 0, done.err
    assert done.json["dry_run"] is True
    assert not any(stage["reused"] for stage in done.json["stages"])
    assert not (tmp_path / "new").exists()
    assert "to make" in cli(*line).out


def test_column_files_hold_exactly_the_rows_of_their_shard(built: Any) -> None:
    store = open_store(built[0])
    manifest = find_version(store, "l-orig").manifest()
    source = store.source(manifest["source"]["fingerprint"])
    for entry in manifest["stages"]:
        columns = store.column_set(entry["name"], entry["fingerprint"])
        for shard in source.shards():
            ids = source.rows(shard, ["sample_id"])["sample_id"]
            assert columns.read(shard.index, ["sample_id"])["sample_id"].equals(ids)
    assert find_version(store, "l-orig").samples().num_rows == manifest["samples_in"]


def test_the_lease_of_who_was_killed_after_the_last_word_is_cleared(
    tmp_path: Path, built: Any, photos: Any, cli: Any, folder_source: Any, tree: Any
) -> None:
    shutil.copytree(built[0], tmp_path / "store")
    before = tree(tmp_path / "store")
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    version = next(path for path in (tmp_path / "store/datasets/l-orig").iterdir() if path.is_dir())
    source = next((tmp_path / "store/sources").iterdir())
    for thing in (version, source):
        owner = Owner(this_host(), ended.pid, "killed", 0.0)
        thing.with_name(f"{thing.name}.lease").write_text(json.dumps(asdict(owner)))
    line = ["build", "l-orig", "--store", tmp_path / "store", *folder_source(photos.path), "--workers", "1"]
    assert cli(*line, "--set", "pack.resolutions=64,0").code == 0
    assert tree(tmp_path / "store") == before
