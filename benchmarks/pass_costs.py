"""What a pass over an image shard costs beside its views and stages; a part of ``benchmarks.unit_costs``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from benchmarks.timing import Group, cpu_s
from pipelines.build import build
from pipelines.columns import column_set, make_columns
from pipelines.cost_units import VIEWS, Cost, key_of
from pipelines.executors import Serial
from pipelines.intake import take_in
from pipelines.planner import Step, plan
from pipelines.recipes.l_pp import l_pp
from stages.pack.pack import Pack
from stages.source.folder import Folder
from stages.stage import MapStage, View
from store.digest import fingerprint
from store.store import Store, open_store
from tinyworld.caption import caption
from tinyworld.draw import draw
from tinyworld.scene import random_scene

DIFFERENT, FEW = 512, 48
"""Images of which no two are alike, for what a row writes; and some of them, for what a shard costs."""


def pass_costs(known: dict[str, Cost], scratch: Path) -> dict[str, Cost]:
    """What a pass costs around its views and stages, and the bytes of every column in it."""
    images = []
    for seed in range(DIFFERENT):
        draw(random_scene(9000 + seed), 320, 240).save(scratch / "drawn.jpg", quality=90)
        images.append((scratch / "drawn.jpg").read_bytes())
    group, few = Group(images, 320), Group(images[:FEW], 320)
    shard = (_pass_s(few, 1, True, scratch) - _pass_s(few, FEW, True, scratch)) / (FEW - 1)
    alone = (_pass_s(few, 1, False, scratch) - _pass_s(few, FEW, False, scratch)) / (FEW - 1)
    commit = max(shard - alone, 0.0) / (len(_map_steps("")) - 1)
    around = _pass_s(group, DIFFERENT, True, scratch) - shard
    row = max(around / DIFFERENT - _predicted(known, _map_steps(""), group), 0.0)
    costs = {"pass": Cost(shard=max(alone - commit, 0.0), row=row), "commit": Cost(shard=commit)}
    return costs | _written(images, known, scratch)


def _map_steps(source: str) -> list[Step]:
    return [step for step in plan(l_pp(), source) if isinstance(step.stage, MapStage)]


def _pass_s(group: Group, shard_size: int, every: bool, scratch: Path) -> float:
    """CPU-seconds of one pass with every map stage of l-pp, or only the first."""
    store, source = _photos(group.images, shard_size, scratch)
    taken, _ = take_in(store, source, Serial(), lambda *_: None)
    steps = _map_steps(taken.fingerprint)[: None if every else 1]

    def run() -> None:
        for step in steps:
            column_set(store, step).location.remove()
        make_columns(store, taken, steps, Serial(), lambda *_: None)

    return cpu_s(run, 2)


def _photos(images: list[bytes], shard_size: int, scratch: Path) -> tuple[Store, Folder]:
    """A store for these images in a folder with captions, both made when they are not there."""
    folder = scratch / f"photos-{len(images)}"
    if not folder.exists():
        folder.mkdir()
        for number, image in enumerate(images):
            (folder / f"{number:05d}.jpg").write_bytes(image)
            (folder / f"{number:05d}.txt").write_text(caption(random_scene(9000 + number)))
    # the size of shards does not name a source, so that each needs a store of its own
    store = open_store(scratch / f"photos-store-{len(images)}-{shard_size}", create=True)
    return store, Folder(path=str(folder), shard_size=shard_size)


def _written(images: list[bytes], known: dict[str, Cost], scratch: Path) -> dict[str, Cost]:
    """Bytes a row: of each stage's columns, and of the table of all samples."""
    store, source = _photos(images, len(images), scratch)
    dataset = replace(l_pp(), source=source, pack=Pack(resolutions=()))
    build(store, dataset, Serial(), lambda *_: None)
    steps = plan(dataset, fingerprint(source.identity()))
    costs = {}
    for step in steps:
        size = _bytes(Path(column_set(store, step).location.path))
        key = key_of(step.stage)
        costs[key] = replace(known.get(key, Cost()), row_bytes=size / len(images))
    joined = sum(_bytes(Path(store.root.path) / name) for name in ("datasets", "tables"))
    return costs | {"select": Cost(row_bytes=joined / len(images))}


def _predicted(known: dict[str, Cost], steps: list[Step], group: Group) -> float:
    """Seconds of one image in the views and stages of a pass."""
    views = {step.stage.view for step in steps if isinstance(step.stage, MapStage)} - {View.NONE}
    costs = [known[VIEWS[view]] for view in views] + [known[key_of(step.stage)] for step in steps]
    return sum(c.row + c.image + c.byte * group.bytes + c.pixel * group.pixels for c in costs)


def _bytes(folder: Path) -> int:
    """Of the Parquet files there and below."""
    return sum(file.stat().st_size for file in folder.rglob("*.parquet"))
