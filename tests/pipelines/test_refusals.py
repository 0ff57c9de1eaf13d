"""What a build refuses of a recipe and its stages, and what it mends by itself."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pytest

from pipelines.build import build
from pipelines.dataset import Dataset
from pipelines.executors import Serial
from pipelines.export import export
from pipelines.packing import PackOrder, ShardUnit, write_shard
from pipelines.recipes.l_orig import l_orig
from stages.image.content_hash import ContentHash
from stages.pack.pack import Pack
from stages.select.readable import Readable
from stages.select.split import Split
from stages.source.folder import Folder
from stages.stage import Reduction, SelectStage
from store.errors import MashbillError, UsageError
from store.location import Location
from store.store import Store, open_store
from store.versions import find_version, verify


@dataclass(frozen=True)
class Answers(SelectStage):
    """Answers what it was told to, whatever that is."""

    name: ClassVar[str] = "answers"
    version: ClassVar[int] = 1
    reads: ClassVar[tuple[str, ...]] = ("width",)
    answer: str = ""

    def decide(self, rows: pa.Table) -> Any:
        if self.answer == "list":
            return [None] * rows.num_rows
        if self.answer == "numbers":
            return pa.array([1] * rows.num_rows)
        if self.answer == "short":
            return pa.nulls(rows.num_rows - 1, pa.string())
        return pa.array([self.answer] * rows.num_rows)


@dataclass(frozen=True)
class Rank(Reduction):
    """Numbers the rows; ``extra`` rows too many."""

    name: ClassVar[str] = "rank"
    version: ClassVar[int] = 1
    reads: ClassVar[tuple[str, ...]] = ("width",)
    writes: ClassVar[pa.Schema] = pa.schema([("rank", pa.int32())])
    extra: int = 0
    wrong: bool = False

    def reduce(self, rows: pa.Table, scratch: str) -> pa.Table:
        count = rows.num_rows + self.extra
        return pa.table({"rank": ["x"] * count if self.wrong else [float(i) for i in range(count)]})


@pytest.fixture(scope="module")
def base(photos: Any) -> Dataset:
    return replace(l_orig(), source=Folder(path=str(photos.path)), pack=Pack(resolutions=(32,)))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path / "store", create=True)


def run(store: Store, dataset: Dataset) -> dict[str, Any]:
    return build(store, dataset, Serial(), lambda *_: None)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("", "gave an empty reason"),
        ("list", "answered list, expected an Arrow array of strings"),
        ("numbers", "answered int64, expected an Arrow array of strings"),
        ("short", r"decided \d+ of \d+ rows"),
    ],
)
def test_a_rule_answers_a_reason_or_null_for_each_row(
    store: Store, base: Dataset, answer: str, message: str
) -> None:
    with pytest.raises(MashbillError, match=message):
        run(store, replace(base, select=(*base.select, Answers(answer))))
    assert not store.datasets.names()


def test_a_reduction_answers_every_row_in_the_declared_type(store: Store, base: Dataset) -> None:
    with pytest.raises(MashbillError, match=r"rank answered \d+ rows for \d+"):
        run(store, replace(base, columns=(*base.columns, Rank(extra=3))))
    with pytest.raises(MashbillError, match="rank wrote other types than declared"):
        run(store, replace(base, columns=(*base.columns, Rank(wrong=True))))
    run(store, replace(base, columns=(*base.columns, Rank())))
    assert find_version(store, "l-orig").samples().schema.field("rank").type == pa.int32()


def test_recipes_that_cannot_be_right(store: Store, base: Dataset) -> None:
    bare = tuple(stage for stage in base.columns if not isinstance(stage, ContentHash | Split))
    with pytest.raises(UsageError, match="no stage writes sha256"):
        run(store, replace(base, columns=bare))
    with pytest.raises(UsageError, match="two rules are named readable"):
        run(store, replace(base, select=(*base.select, Readable())))
    for name in ("my_set", "../escaped", "", "A", "x" * 81):
        with pytest.raises(UsageError, match="dataset name"):
            replace(base, name=name)


def test_an_export_does_not_mix_with_what_is_there(store: Store, base: Dataset, tmp_path: Path) -> None:
    run(store, base)
    version = find_version(store, "l-orig")
    files = list(export(version, str(tmp_path / "out"), "webdataset"))
    assert len(files) == len(version.pack("32").names())
    with pytest.raises(MashbillError, match="is not empty"):
        list(export(version, str(tmp_path / "out"), "webdataset"))


def test_a_build_makes_again_what_was_removed_of_a_version(store: Store, base: Dataset) -> None:
    run(store, base)
    version = find_version(store, "l-orig")
    for name in ("report/index.html", "packs/32/train-00000.tar", "selection.parquet"):
        (version.location / name).remove()
        assert verify(store, version) == [f"{(version.location / name).url} is missing"]
        run(store, base)
        assert verify(store, version) == []


def test_a_finished_pack_shard_is_not_written_again(store: Store, base: Dataset, tmp_path: Path) -> None:
    run(store, base)
    version = find_version(store, "l-orig")
    # Another build of the version may be packing still: a finished one takes nothing away from it.
    shards = [name for name in version.pack("32").names() if name.endswith(".tar")]
    assert (version.location / "marks" / "32").names() == [f"{name}.json" for name in shards]
    source = store.source(version.manifest()["source"]["fingerprint"])
    order = PackOrder(version.location / "marks" / f"order-{source.fingerprint}")
    place = Location.of(tmp_path / "pack")
    unit = ShardUnit(place / "train-00000.tar", place / "mark.json", source, order, Pack(), 32)
    first = write_shard(unit)
    before = (tmp_path / "pack" / "train-00000.tar").stat()
    assert write_shard(unit) == {**first, "sizes": [list(size) for size in first["sizes"]]}
    assert (tmp_path / "pack" / "train-00000.tar").stat().st_mtime_ns == before.st_mtime_ns


def test_what_no_message_was_made_for_is_one_line_and_a_file(cli: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    done = cli("export", "l-orig", tmp_path / "file" / "x", "--as", "parquet", "--store", tmp_path)
    assert done.code == 1
    assert "Traceback" not in done.err
