"""A crawl as bad as the web: files to be served, and the table of URLs and captions for them.

Beside every row stands the truth, so that whatever reads the crawl can be measured.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.parquet as pq

from store.errors import MashbillError, UsageError
from tinyworld.caption import caption
from tinyworld.kinds import MIN_SAMPLES
from tinyworld.picture import Shown, end_with_parent, write_file
from tinyworld.plan import CLOSED_PORT, Row, plan
from tinyworld.scene import attributes

DEFAULT_PORT = 8417
DEFAULT_BASE_URL = f"http://127.0.0.1:{DEFAULT_PORT}"
MIN_SIDE = 300
"""Pixels; a file with a shorter side below this is true to be ``too_small``."""

SCHEMA = pa.schema(
    [
        ("url", pa.string()),
        ("caption", pa.string()),
        ("similarity", pa.float32()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("crawled_at", pa.timestamp("us")),
        ("truth_group", pa.string()),
        ("truth_kind", pa.string()),
        ("truth_reason", pa.string()),
        ("truth_boxes", pa.string()),
        ("truth_caption", pa.string()),
        ("truth_attributes", pa.string()),
    ]
)


@dataclass(frozen=True)
class Crawl:
    """A crawl on disk: ``folder/www``, to be served at ``base_url``, and the table."""

    folder: Path
    base_url: str
    samples: int

    @property
    def table(self) -> Path:
        """The Parquet file of ``SCHEMA``, one row per URL and caption."""
        return self.folder / "crawl.parquet"

    @property
    def allow_private(self) -> tuple[str, ...]:
        """host:port pairs a downloader must be allowed to try: the server, and the closed port."""
        return urlsplit(self.base_url).netloc, CLOSED_PORT


def make_crawl(
    folder: Path, samples: int, seed: int = 0, base_url: str = DEFAULT_BASE_URL, workers: int = 2
) -> Crawl:
    """Write a crawl of ``samples`` rows (100 or more) into ``folder``.

    The same bytes for the same seed, whatever the number of ``workers`` (processes; 1 draws in this
    one). ``crawl.parquet`` is written last. Raises UsageError where a crawl already lies there.
    """
    if samples < MIN_SAMPLES:
        raise UsageError(f"a crawl of {samples} rows cannot hold every kind; ask for {MIN_SAMPLES}+")
    if workers < 1:
        raise UsageError(f"workers must be 1 or more, not {workers}")
    crawl = Crawl(Path(folder), base_url.rstrip("/"), samples)
    if crawl.table.exists():
        raise UsageError(f"{crawl.table} is already there; choose another folder or delete this one")
    rows = plan(samples, seed)
    try:
        shown = _write_files(crawl.folder / "www", rows, workers)
        unfinished = crawl.folder / "crawl.parquet.partial"
        pq.write_table(_table(crawl.base_url, rows, shown, seed), unfinished)
        os.replace(unfinished, crawl.table)
    except OSError as error:
        raise MashbillError(f"cannot write the crawl to {crawl.folder}: {error}") from error
    return crawl


def _write_files(www: Path, rows: list[Row], workers: int) -> dict[str, Shown]:
    """Draw and write every file once; what each shows, by its path below ``www``."""
    orders = {row.file: row.picture for row in rows if row.file and row.picture}
    for parent in {(www / file).parent for file in orders}:
        parent.mkdir(parents=True, exist_ok=True)
    jobs = [(str(www / file), picture) for file, picture in orders.items()]
    with _pool(workers) as run:
        return dict(zip(orders, run(jobs), strict=True))


@contextmanager
def _pool(workers: int) -> Iterator[Any]:
    """A function that runs ``write_file`` over jobs, in order, in this process or in several."""
    if workers == 1:
        yield lambda jobs: map(write_file, jobs)
        return
    # Spawned: a fork would copy the threads of a server that runs in this process.
    with ProcessPoolExecutor(workers, get_context("spawn"), end_with_parent) as pool:
        yield lambda jobs: pool.map(write_file, jobs, chunksize=16)


def _table(base_url: str, rows: Iterable[Row], shown: dict[str, Shown], seed: int) -> pa.Table:
    rng = random.Random(f"tiny world table {seed}")
    records = [_record(base_url, row, shown, rng) for row in rows]
    return pa.Table.from_pylist(records, schema=SCHEMA)


def _record(base_url: str, row: Row, shown: dict[str, Shown], rng: random.Random) -> dict[str, Any]:
    """One row of the table.

    Extra columns look like LAION's; the date is there because a downloader that passes it on to JSON
    loses the row.
    """
    readable = row.file is not None and row.picture is not None and row.picture.damage is None
    width, height, found = shown[str(row.file)] if readable else (None, None, None)
    small = width is not None and height is not None and min(width, height) < MIN_SIDE
    copy = row.reason in (None, "duplicate_near", "duplicate_exact")
    related = row.kind not in ("wrong_caption", "junk_caption", "no_caption", "placeholder")
    return {
        "url": base_url + row.url if row.url.startswith("/") else row.url,
        "caption": row.caption,
        "similarity": rng.uniform(0.28, 0.42) if related else rng.uniform(0.1, 0.3),
        "width": width,
        "height": height,
        "crawled_at": datetime(2024, 3, 1) + timedelta(seconds=rng.randrange(90 * 86_400)),
        "truth_group": row.group,
        "truth_kind": row.kind,
        "truth_reason": "too_small" if small and copy else row.reason,
        "truth_boxes": json.dumps(found) if readable else None,
        "truth_caption": caption(row.truth) if row.truth else None,
        "truth_attributes": json.dumps(attributes(row.truth)) if row.truth else None,
    }
