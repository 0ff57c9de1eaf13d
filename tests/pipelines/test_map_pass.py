"""How many rows a pass shows its stages at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pytest
from PIL import Image

from pipelines import map_pass
from pipelines.columns import column_set
from pipelines.executors import Serial
from pipelines.intake import take_in
from pipelines.map_pass import PassUnit, run_pass
from pipelines.planner import plan
from pipelines.recipes.l_orig import l_orig
from stages.pack.pack import Pack
from stages.source.folder import Folder
from stages.stage import Batch, MapStage, View
from stages.text.chat_endpoint import Endpoint
from stages.text.chat_local import Local
from stages.text.recaption import Recaption
from store.store import open_store

SEEN: list[int] = []


@dataclass(frozen=True)
class Brightness(MapStage):
    """Notes the sizes of its batches."""

    name: ClassVar[str] = "brightness"
    version: ClassVar[int] = 1
    reads: ClassVar[tuple[str, ...]] = ("sample_id",)
    writes: ClassVar[pa.Schema] = pa.schema([("brightness", pa.float64())])
    view: ClassVar[View] = View.FULL
    batch_size: int = 1

    @property
    def rows_at_once(self) -> int:  # type: ignore[override]
        return self.batch_size

    def open(self) -> Callable[[Batch], dict[str, Sequence[Any]]]:
        def run(batch: Batch) -> dict[str, Sequence[Any]]:
            SEEN.append(batch.size)
            means = [None if i is None else float(i.resize((1, 1)).getpixel((0, 0))[0]) for i in batch.images]
            return {"brightness": means}

        return run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """100 images of one color each, one of them broken."""
    folder = tmp_path_factory.mktemp("colors")
    for number in range(100):
        Image.new("RGB", (20, 10), (2 * number, 9, 9)).save(folder / f"{number:03d}.png")
    (folder / "050.png").write_bytes(b"no image")
    return folder


def passed(folder: Path, at: Path, batch_size: int, threads: int) -> tuple[list[int], list[Any]]:
    """Sizes of the batches, and what was written."""
    store = open_store(at, create=True)
    source, _ = take_in(store, Folder(path=str(folder), shard_size=1000), Serial(), lambda *_: None)
    base = l_orig()
    columns = (*base.columns, Brightness(batch_size=batch_size))
    steps = plan(replace(base, columns=columns, pack=Pack(resolutions=())), source.fingerprint)
    (shard,) = source.shards()
    SEEN.clear()
    run_pass(PassUnit(store, source.fingerprint, shard, (steps[-1],), threads))
    return list(SEEN), column_set(store, steps[-1]).read(0, ["brightness"])["brightness"].to_pylist()


@pytest.mark.parametrize("threads", [0, 3])
def test_a_stage_has_as_many_rows_as_it_can_use(folder: Path, tmp_path: Path, threads: int) -> None:
    few, values = passed(folder, tmp_path / "a", 1, threads)
    assert few == [32, 32, 32, 4]
    assert values.count(None) == 1
    for number, (batch_size, sizes) in enumerate({48: [48, 48, 4], 64: [64, 36], 256: [100]}.items()):
        assert passed(folder, tmp_path / str(number), batch_size, threads) == (sizes, values)


def test_memory_bounds_them(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, values = passed(folder, tmp_path / "a", 1, 0)
    monkeypatch.setattr(map_pass, "PIXELS_A_ROW", 100)  # of images of 200 pixels
    for threads in (0, 3):
        few, same = passed(folder, tmp_path / f"b{threads}", 1, threads)
        assert max(few) in (16, 17)  # so many fit; the one that is broken has no pixels
        assert same == values
        many, same = passed(folder, tmp_path / f"c{threads}", 64, threads)
        assert 16 < max(many) <= 33
        assert same == values


def test_what_asks_models_wants_full_batches() -> None:
    assert Recaption(Local(batch_size=64)).rows_at_once == 64
    assert Recaption(Endpoint(concurrency=64)).rows_at_once == 128
