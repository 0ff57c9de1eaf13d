"""Source ``img2dataset``: the output of an img2dataset run (``output_format=webdataset``)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa

from stages.source.failures import reason_for
from stages.source.fields import text_or_none
from stages.source.meta import meta_json
from stages.source.webdataset import IMAGES, tars_at
from stages.stage import Source
from store.digest import file_sha256
from store.errors import MashbillError
from store.location import Location
from store.parquet import read_table
from store.sources import RawSample
from store.tar import Member, walk

OWN = {"key", "status", "error_message", "url", "caption"}


@dataclass(frozen=True)
class Img2dataset(Source):
    """Shards ``00000.tar`` with their ``00000.parquet`` and ``00000_stats.json``, not copied.

    Every row of the Parquet enters: failed downloads with img2dataset's status as reason. Rows that
    its statistics count but its Parquet lacks enter as ``lost_by_downloader``. Ids are those of the
    same URLs and captions downloaded by source ``metadata``. Tars that moved are another source: the
    store points into them.
    """

    kind: ClassVar[str] = "img2dataset"
    path: str = ""
    url_column: str = "url"
    caption_column: str = "caption"

    def identity(self) -> dict[str, Any]:
        tables = [[tar, file_sha256(_beside(tar, ".parquet"))] for tar in tars_at(self.path)]
        columns = [self.url_column, self.caption_column]
        return {"kind": self.kind, "tables": tables, "columns": columns}

    def plan(self) -> Iterator[pa.Table]:
        for tar in tars_at(self.path):
            yield pa.table({"tar": [tar]})

    def tar_in_place(self, portion: pa.Table) -> str | None:
        return str(portion["tar"][0].as_py())

    def read(self, portion: pa.Table, scratch: str) -> Iterator[RawSample]:
        tar = portion["tar"][0].as_py()
        rows = read_table(_beside(tar, ".parquet"))
        self._check(rows, tar)
        images = _images(Location.of(tar))
        for row in rows.to_pylist():
            yield self._sample(row, images.get(row["key"]))
        counted = int(_beside(tar, "_stats.json").read_json()["count"])
        for number in range(rows.num_rows, counted):
            key = f"{Location.of(tar).name}/lost-{number}"
            detail = f"img2dataset counted {counted} rows and wrote {rows.num_rows}"
            yield RawSample(key, key, None, None, error="lost_by_downloader", detail=detail)

    def _check(self, rows: pa.Table, tar: str) -> None:
        needed = {"key", "status", "error_message", self.url_column}
        missing = needed - set(rows.column_names)
        if missing:
            raise MashbillError(
                f"{_beside(tar, '.parquet').url} has no column {', '.join(sorted(missing))}; it has "
                f"{', '.join(rows.column_names)}. Name them with source.url_column, source.caption_column."
            )

    def _sample(self, row: dict[str, Any], image: Member | None) -> RawSample:
        url, key = text_or_none(row.get(self.url_column)), row["key"]
        caption = text_or_none(row.get(self.caption_column))
        own = OWN | {self.url_column, self.caption_column}
        meta = meta_json({k: v for k, v in row.items() if k not in own and v is not None})
        locator = url or ""
        if image is not None:
            place = (image.offset, image.size)
            return RawSample(locator, key, caption, None, url, meta, place=place)
        detail = row["error_message"]
        error = "lost_by_downloader" if row["status"] == "success" else reason_for(detail or "")
        return RawSample(locator, key, caption, None, url, meta, error, detail)


def _images(tar: Location) -> dict[str, Member]:
    with tar.open() as file:
        parts = ((member.name.partition("."), member) for member in walk(file, tar.url, tar.size()))
        return {key: member for (key, _, extension), member in parts if extension in IMAGES}


def _beside(tar: str, ending: str) -> Location:
    """The file img2dataset wrote beside a tar.

    Raises:
        MashbillError: it is not there; without its statistics a shard was never finished.
    """
    location = Location.of(tar.removesuffix(".tar") + ending)
    if not location.exists():
        raise MashbillError(
            f"{location.url} is missing beside {tar}: img2dataset was stopped while it wrote this shard. "
            "Run img2dataset again with --incremental_mode incremental, or remove the shard."
        )
    return location
