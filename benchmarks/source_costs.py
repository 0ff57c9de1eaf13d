"""What it costs to take in each kind of source; a part of ``benchmarks.unit_costs``."""

from __future__ import annotations

import json
import multiprocessing
import resource
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.cost_units import Cost, key_of
from pipelines.executors import Serial
from pipelines.intake import take_in
from stages.source.datasets import HubDataset
from stages.source.download import Fetch
from stages.source.folder import Folder
from stages.source.img2dataset import Img2dataset
from stages.source.metadata import Metadata
from stages.source.webdataset import WebDataset
from stages.stage import Source
from store.store import open_store
from store.tar import TarWriter
from tinyworld.server import CrawlServer

ROWS = 256
MANY = 8
"""Shards of a cut source, beside one whole."""

Make = Callable[[Path, list[bytes], int], Source]
"""A source of these images in a folder, in so many shards."""


def source_costs(looks: list[list[bytes]], scratch: Path) -> dict[str, Cost]:
    """CPU-seconds by shard, row and byte, from small images whole and cut, and from large ones.

    Args:
        looks: small images, large images.
    """
    small, large = ([images[i % len(images)] for i in range(ROWS)] for images in looks)
    costs = {}
    with _served(scratch / "served") as server:
        for name, make in _MAKERS.items():
            _taken(make, scratch / f"{name}-first", small[:8], 1, server)  # imports cost no row
            whole, cut = (_taken(make, scratch / f"{name}-{n}", small, n, server) for n in (1, MANY))
            heavy = _taken(make, scratch / f"{name}-heavy", large, 1, server)
            shard = max(cut[1] - whole[1], 0.0) / (MANY - 1)
            byte = max(heavy[1] - whole[1], 0.0) / (sum(map(len, large)) - sum(map(len, small)))
            row = max(whole[1] - shard - byte * sum(map(len, small)), 0.0) / ROWS
            costs[key_of(whole[0])] = Cost(shard=shard, row=row, byte=byte, row_bytes=whole[2] / ROWS)
    return costs


def _taken(
    make: Callable[..., Source], folder: Path, images: list[bytes], shards: int, server: str
) -> tuple[Source, float, int]:
    """The source, CPU-seconds to take it in, and the bytes of its rows."""
    (folder / "in").mkdir(parents=True)
    source = make(folder / "in", images, shards, server)
    store = open_store(folder / "store", create=True)
    before = _cpu_s()
    stored, _ = take_in(store, source, Serial(), lambda *_: None)
    seconds = _cpu_s() - before
    shards_at = stored.location / "shards"
    return source, seconds, sum((shards_at / shard.rows_file).size() for shard in stored.shards())


def _cpu_s() -> float:
    """Of this process and of those it waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def _folder(folder: Path, images: list[bytes], shards: int, server: str) -> Source:
    for number, image in enumerate(images):
        (folder / f"{number:05d}.jpg").write_bytes(image)
        (folder / f"{number:05d}.txt").write_text(f"a drawn scene, number {number}")
    return Folder(path=str(folder), shard_size=len(images) // shards)


def _write_tars(folder: Path, images: list[bytes], shards: int) -> list[list[str]]:
    """The keys of each of the tars that are written."""
    keys = []
    for shard in range(shards):
        numbers = range(shard * len(images) // shards, (shard + 1) * len(images) // shards)
        with (folder / f"{shard:05d}.tar").open("wb") as file:
            tar = TarWriter(file)
            for number in numbers:
                tar.add(f"{number:09d}.jpg", images[number])
                tar.add(f"{number:09d}.txt", b"a drawn scene, number %d" % number)
            tar.close()
        keys.append([f"{number:09d}" for number in numbers])
    return keys


def _webdataset(folder: Path, images: list[bytes], shards: int, server: str) -> Source:
    _write_tars(folder, images, shards)
    return WebDataset(path=str(folder))


def _img2dataset(folder: Path, images: list[bytes], shards: int, server: str) -> Source:
    for shard, keys in enumerate(_write_tars(folder, images, shards)):
        rows = {
            "key": keys,
            "status": ["success"] * len(keys),
            "error_message": pa.nulls(len(keys), pa.string()),
            "url": [f"https://example.org/{key}.jpg" for key in keys],
            "caption": [f"a drawn scene, number {key}" for key in keys],
        }
        pq.write_table(pa.table(rows), folder / f"{shard:05d}.parquet")
        (folder / f"{shard:05d}_stats.json").write_text(json.dumps({"count": len(keys)}))
    return Img2dataset(path=str(folder))


def _datasets(folder: Path, images: list[bytes], shards: int, server: str) -> Source:
    for shard in range(shards):
        numbers = range(shard * len(images) // shards, (shard + 1) * len(images) // shards)
        column = [{"bytes": images[number], "path": f"{number}.jpg"} for number in numbers]
        captions = [f"a drawn scene, number {number}" for number in numbers]
        pq.write_table(pa.table({"image": column, "caption": captions}), folder / f"{shard:05d}.parquet")
    return HubDataset(path=str(folder))


def _metadata(folder: Path, images: list[bytes], shards: int, server: str) -> Source:
    base, _, www = server.partition(" ")
    for number, image in enumerate(images):
        file = Path(www) / "www" / "ok" / folder.parent.name / f"{number}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(image)
    urls = [f"{base}/ok/{folder.parent.name}/{number}.jpg" for number in range(len(images))]
    captions = [f"a drawn scene, number {number}" for number in range(len(images))]
    pq.write_table(pa.table({"url": urls, "caption": captions}), folder / "crawl.parquet")
    fetch = Fetch(allow_private=(base.removeprefix("http://"),))
    size = len(images) // shards
    return Metadata(path=str(folder / "crawl.parquet"), shard_size=size, fetch=fetch)


_MAKERS: dict[str, Callable[..., Source]] = {
    "folder": _folder,
    "webdataset": _webdataset,
    "img2dataset": _img2dataset,
    "datasets": _datasets,
    "metadata": _metadata,
}


class _served:
    """A server in a process of its own, whose CPU-seconds are not the downloader's."""

    def __init__(self, folder: Path) -> None:
        (folder / "www").mkdir(parents=True)
        self.folder = folder

    def __enter__(self) -> str:
        context = multiprocessing.get_context("spawn")
        here, there = context.Pipe()
        self.process = context.Process(target=_serve, args=(str(self.folder), there), daemon=True)
        self.process.start()
        self.pipe: Connection = here
        if not here.poll(60):
            raise RuntimeError("the server of the benchmark did not start within 60 s")
        return f"{here.recv()} {self.folder}"

    def __exit__(self, *_: Any) -> None:
        """Its time is counted as a child's only now, when all is measured."""
        self.pipe.send("stop")
        self.process.join(10)


def _serve(folder: str, pipe: Connection) -> None:
    with CrawlServer(Path(folder)) as server:
        pipe.send(server.base_url)
        pipe.recv()
