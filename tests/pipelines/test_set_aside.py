"""Shards that no try gets through: left out up to a limit, accounted for, and tried again later."""

from __future__ import annotations

import re
import shutil
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipelines.attempts import DEATHS, RAISES, Failed
from pipelines.executors import Executor, Pool, Serial
from stages.stage import Resources
from store.errors import UsageError
from store.store import open_store
from store.versions import find_version, verify

RECIPE = '''
"""l-pp with a stage that fails on one image for as long as the file {trouble} says how."""
import os
import signal
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import pyarrow as pa

from pipelines.recipes.l_pp import l_pp
from stages.stage import MapStage, View


@dataclass(frozen=True)
class Fragile(MapStage):
    """Counts bytes; ``{poison}`` bytes are too many."""
    name: ClassVar[str] = "fragile"
    version: ClassVar[int] = 1
    reads: ClassVar[tuple[str, ...]] = ()
    writes: ClassVar[pa.Schema] = pa.schema([("bytes", pa.int64())])
    view: ClassVar[View] = View.BYTES

    def open(self):
        return count


@dataclass(frozen=True)
class Late(Fragile):
    """The same, after the duplicates are known."""
    name: ClassVar[str] = "late"
    reads: ClassVar[tuple[str, ...]] = ("cluster_id",)
    writes: ClassVar[pa.Schema] = pa.schema([("late_bytes", pa.int64())])

    def open(self):
        return lambda batch: {{"late_bytes": count(batch)["bytes"]}}


def count(batch):
    trouble = Path({trouble!r})
    sizes = [len(image or b"") for image in batch.images]
    if trouble.exists() and any(size in {poison} for size in sizes):
        if trouble.read_text() == "dies":
            os.kill(os.getpid(), signal.SIGSEGV)
        raise ValueError("too many bytes")
    return {{"bytes": sizes}}


def early():
    parent = l_pp()
    return replace(parent, columns=(Fragile(), *parent.columns))


def late():
    parent = l_pp()
    return replace(parent, columns=(*parent.columns, Late()))
'''


@dataclass(frozen=True)
class World:
    """A recipe that fails on two shards of four while ``trouble`` is there."""

    folder: Path
    photos: Path
    recipe: Path

    @property
    def trouble(self) -> Path:
        return self.folder / "trouble"

    def line(self, recipe: str, store: str, folder_source: Any) -> list[Any]:
        options = ["--set", "min_side=0", "--set", "pack.resolutions=32", "--workers", "2", "--json"]
        name = f"{self.recipe}:{recipe}"
        source = folder_source(self.photos, 6)
        return ["build", name, "--store", self.folder / store, *source, *options]


@pytest.fixture
def world(tmp_path: Path, photos: Any) -> World:
    """Twenty images in shards of 6; photo-03 is in shard 1, photo-10 in shard 2."""
    poison = {(photos.path / f"photo-{n}.jpg").stat().st_size for n in ("03", "10")}
    recipe = RECIPE.format(trouble=str(tmp_path / "trouble"), poison=poison)
    file = tmp_path / f"fragile_{uuid.uuid4().hex}.py"  # a module of its own in this process
    file.write_text(recipe)
    return World(tmp_path, photos.path, file)


def half(unit: tuple[int, str]) -> int:
    """Work for executors: half of a number, or trouble."""
    number, how = unit
    if how == "raises":
        raise ValueError(f"{number} is odd")
    if how == "usage":
        raise UsageError("no numbers here")
    if how == "full":
        raise OSError(28, "No space left on device", "/there")
    if how == "dies":
        import os
        import signal

        os.kill(os.getpid(), signal.SIGKILL)
    return number // 2


def outcomes(executor: Executor, units: Sequence[tuple[int, str]]) -> tuple[list[int], list[Failed[Any]]]:
    found = list(executor.run(half, units, Resources()))
    failed = [item for item in found if isinstance(item, Failed)]
    return sorted(item for item in found if not isinstance(item, Failed)), failed


@pytest.mark.parametrize("executor", [Serial(), Pool(2)], ids=["serial", "pool"])
def test_a_unit_that_raises_is_tried_again_and_the_others_go_on(executor: Executor) -> None:
    done, failed = outcomes(executor, [(n, "raises" if n in (4, 6) else "") for n in range(0, 20, 2)])
    assert done == [0, 1, 4, 5, 6, 7, 8, 9]
    assert sorted((f.unit[0], f.tries, f.error) for f in failed) == [
        (4, RAISES, "ValueError: 4 is odd"),
        (6, RAISES, "ValueError: 6 is odd"),
    ]
    assert "raise ValueError" in failed[0].trace


@pytest.mark.parametrize("executor", [Serial(), Pool(2)], ids=["serial", "pool"])
def test_what_no_other_try_mends_ends_the_run(executor: Executor) -> None:
    with pytest.raises(UsageError, match="no numbers here"):
        outcomes(executor, [(2, "usage"), (4, "")])
    with pytest.raises(OSError, match="No space left on device: '/there'"):
        outcomes(executor, [(2, "full"), (4, "")])


def test_a_unit_that_kills_its_worker_is_found_among_its_neighbors() -> None:
    done, failed = outcomes(Pool(2), [(n, "dies" if n in (2, 8) else "") for n in range(0, 20, 2)])
    assert done == [0, 2, 3, 5, 6, 7, 8, 9]
    assert sorted((f.unit[0], f.tries) for f in failed) == [(2, DEATHS), (8, DEATHS)]
    assert "worker process died" in failed[0].error


def test_by_default_the_first_failed_shard_ends_the_build(
    world: World, cli: Callable[..., Any], folder_source: Any, tree: Any
) -> None:
    world.trouble.write_text("raises")
    line = world.line("early", "store", folder_source)
    done = cli(*line)
    assert done.code == 1
    assert re.search(r"stage fragile failed in shard \d", done.message)  # whichever worker comes first
    assert "ValueError: too many bytes" in done.message
    assert "--max-failed-shards 1" in done.message
    assert len(done.message.splitlines()) == 1
    done = cli(*line, "--max-failed-shards", "1")
    assert done.code == 1
    assert "It is number 2, after " in done.message
    assert "--max-failed-shards 2" in done.message
    world.trouble.unlink()
    assert cli(*line).code == 0
    assert cli(*world.line("early", "whole", folder_source)).code == 0
    assert tree(world.folder / "store") == tree(world.folder / "whole")


@pytest.mark.parametrize(
    ("recipe", "stage", "how"), [("early", "fragile", "dies"), ("late", "late", "raises")]
)
def test_the_build_goes_on_without_failed_shards_and_mends_itself_later(
    recipe: str, stage: str, how: str, world: World, cli: Any, folder_source: Any, tree: Any
) -> None:
    line = world.line(recipe, "store", folder_source)
    world.trouble.write_text(how)
    done = cli(*line, "--max-failed-shards", "2")
    assert done.code == 0, done.err
    assert [f["shard"] for f in done.json["set_aside"]] == [1, 2]
    assert all(stage in f["stages"] for f in done.json["set_aside"])
    assert done.json["dropped"]["shard_failed"] == 12
    assert done.json["samples_in"] == done.json["kept"] + sum(done.json["dropped"].values())
    again = cli(*line, "--max-failed-shards", "2")
    assert (again.code, again.json["version"]) == (0, done.json["version"])
    store = open_store(world.folder / "store")
    check_version(store, done.json)
    shown = cli("show", done.json["dataset"], "--store", store.url)
    assert "shard 1 was set aside" in shown.out

    world.trouble.unlink()
    mended = cli(*line)
    assert mended.code == 0, mended.err
    assert "set_aside" not in mended.json
    assert cli(*world.line(recipe, "whole", folder_source)).json["version"] == mended.json["version"]
    whole, found = tree(world.folder / "whole"), tree(world.folder / "store")
    assert {name: found.get(name) for name in whole} == whole


def check_version(store: Any, result: dict[str, Any]) -> None:
    version = find_version(store, result["dataset"])
    manifest = version.manifest()
    assert manifest["set_aside"] == result["set_aside"]
    source = store.source(manifest["source"]["fingerprint"])
    failed = {row for s in source.shards() if s.index in (1, 2) for row in ids(source, s)}
    samples = version.samples().to_pylist()
    assert {row["sample_id"] for row in samples if row["reason"] == "shard_failed"} == failed
    assert all(row["width"] is None for row in samples if row["sample_id"] in failed)
    for entry in manifest["stages"]:
        columns = store.column_set(entry["name"], entry["fingerprint"])
        files = entry["files"] if "files" in entry else columns.manifest()["files"]
        whole = {f"{shard.index:05d}.parquet" for shard in source.shards()}
        left = {"00000.parquet", "00003.parquet"}
        assert set(files) in (whole, left)
        assert columns.complete == ("files" not in entry)
    assert verify(store, version) == []


def ids(source: Any, shard: Any) -> list[str]:
    return source.rows(shard, ["sample_id"])["sample_id"].to_pylist()


def test_when_every_shard_fails_there_is_nothing_to_build(world: World, cli: Any, folder_source: Any) -> None:
    world.recipe.write_text(world.recipe.read_text().replace("any(size in", "any(0 * size == 0 or size in"))
    world.trouble.write_text("raises")
    done = cli(*world.line("early", "store", folder_source), "--max-failed-shards", "9")
    assert done.code == 1
    assert "every image shard of the source failed" in done.message


def test_a_portion_that_cannot_be_read_ends_the_build_after_the_others(
    tmp_path: Path, photos: Any, cli: Any, folder_source: Any
) -> None:
    """A tar that goes between planning and reading: its rows are not known, so none may be left out."""
    images = tmp_path / "images"
    shutil.copytree(photos.path, images)
    store = tmp_path / "store"
    options = ["--set", "pack.resolutions=32", "--max-failed-shards", "5", "--workers", "2"]
    line = ["build", "l-orig", "--store", store, *folder_source(images, 6), *options]
    assert cli(*line, "--dry-run").code == 0
    assert cli(*line).code == 0
    source = next((store / "sources").iterdir())
    (source / "source.json").unlink()
    (source / "shards" / "00001.json").unlink()
    (source / "shards" / "00002.json").unlink()
    portion = source / "plan" / "00001.parquet"
    kept = portion.read_bytes()
    portion.write_bytes(b"PAR1 is not enough")
    done = cli(*line)
    assert done.code == 1
    assert "portion 1 of the source could not be read" in done.message
    assert (source / "shards" / "00002.json").exists()
    portion.write_bytes(kept)
    assert cli(*line).code == 0
