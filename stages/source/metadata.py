"""Source ``metadata``: tables of URLs and captions, downloaded by img2dataset."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq

from stages.image.picture import ext_for
from stages.source.download import Fetch, download
from stages.source.fields import text_or_none
from stages.source.meta import meta_json
from stages.source.paths import expanded
from stages.stage import Source
from store.digest import file_sha256, settings
from store.errors import MashbillError, UsageError
from store.location import Location
from store.schema import storable
from store.sources import RawSample

FORMATS = (".parquet", ".csv", ".tsv", ".jsonl")
Row = dict[str, Any]


@dataclass(frozen=True)
class Metadata(Source):
    """One ``.parquet``, ``.csv``, ``.tsv`` or ``.jsonl`` file, or a folder of them.

    ``url_column`` and ``caption_column`` name the two columns; numbers count the columns (from 0) of
    a csv or tsv without a header line. In tsv files quotes are ordinary characters. Every other
    column goes to ``meta``. A sample is named by its URL and caption. Lines of a jsonl that are no
    object, and rows with more cells than the header, enter as ``unreadable_row``.
    """

    kind: ClassVar[str] = "metadata"
    path: str = ""
    url_column: str = "url"
    caption_column: str = "caption"
    shard_size: int = 1000
    fetch: Fetch = field(default_factory=Fetch)

    def __post_init__(self) -> None:
        if self.shard_size < 1:
            raise UsageError(f"shard_size={self.shard_size}: expected 1 or more")

    def identity(self) -> dict[str, Any]:
        digests = [file_sha256(Location.of(file)) for file in self._files()]
        columns = [self.url_column, self.caption_column]
        limits = {k: v for k, v in settings(self.fetch).items() if k != "threads"}
        return {"kind": self.kind, "tables": digests, "columns": columns, "fetch": limits}

    def plan(self) -> Iterator[pa.Table]:
        rows = (row for file in self._files() for row in self._rows(file))
        numbered = ({"number": number} | row for number, row in enumerate(rows))
        schema = pa.schema([("number", pa.int64())] + [(n, pa.string()) for n in PLANNED])
        empty = True
        while chunk := list(islice(numbered, self.shard_size)):
            empty = False
            yield pa.Table.from_pylist(chunk, schema)
        if empty:
            raise MashbillError(f"source.path={self.path} has no rows")

    def read(self, portion: pa.Table, scratch: str) -> Iterator[RawSample]:
        rows = portion.to_pylist()
        urls = [None if row["error"] else row["url"] for row in rows]
        results = download(urls, self.fetch, Path(scratch))
        for row, result in zip(rows, results, strict=True):
            url, key = row["url"], str(row["number"])
            reason = row["error"] or result.reason
            image = None if reason else result.image
            yield RawSample(
                locator=url or "",
                source_key=key,
                caption=row["caption"],
                image=image,
                url=url,
                meta=row["meta"],
                error=reason,
                detail=row["detail"] or result.detail,
                extension=ext_for(image) if image else "bin",
            )

    def _files(self) -> list[Path]:
        path = Path(expanded(self.path))
        if not self.path or not path.exists():
            raise MashbillError(
                f"source.path={self.path!r}: no such file. "
                "Give a table of URLs and captions: --set source.path=FILE"
            )
        if not path.is_dir():
            return [path]
        found = sorted(file for file in path.rglob("*") if file.suffix in FORMATS)
        if not found:
            raise MashbillError(f"source.path={self.path}: no {', '.join(FORMATS)} files there")
        return found

    def _rows(self, file: Path) -> Iterator[Row]:
        """The fields ``PLANNED`` (all text or None) of each row of one file."""
        if file.suffix not in FORMATS:
            raise MashbillError(
                f"{file}: tables end in {', '.join(FORMATS)}, not {file.suffix or 'nothing'}. "
                "Rename the file to what it is."
            )
        with file.open("rb") as opened:
            is_parquet = opened.read(4) == b"PAR1"
        if is_parquet != (file.suffix == ".parquet"):
            kind = "is" if is_parquet else "is not"
            raise MashbillError(f"{file} {kind} a Parquet file. Rename the file to what it is.")
        if file.suffix == ".parquet":
            yield from self._named(self._parquet(file), file)
        elif file.suffix == ".jsonl":
            yield from self._named(_json_lines(file), file)
        else:
            yield from self._named(self._separated(file), file)

    def _named(self, rows: Iterator[Row], file: Path) -> Iterator[Row]:
        checked = False
        first = list(islice(rows, LOOKED_AT))
        names = [name for row in first if UNREADABLE not in row for name in row]
        for row in chain(first, rows):
            detail = row.pop(UNREADABLE, None)
            if detail is None and not checked:
                self._check_columns(list(dict.fromkeys(names)) or list(row), file)
                checked = True
            url, caption = row.pop(self.url_column, None), row.pop(self.caption_column, None)
            yield {
                "url": storable(text_or_none(url)),
                "caption": storable(text_or_none(caption)),
                "meta": storable(meta_json(row)),
                "error": None if detail is None else "unreadable_row",
                "detail": detail,
            }

    def _check_columns(self, names: list[str], file: Path) -> None:
        for setting in ("url_column", "caption_column"):
            if getattr(self, setting) not in names:
                raise MashbillError(
                    f"{file} has no column {getattr(self, setting)!r}; it has {', '.join(names)}. "
                    f"Name the right one: --set source.{setting}=NAME"
                )

    def _parquet(self, file: Path) -> Iterator[Row]:
        try:
            table = pq.ParquetFile(file)
        except (pa.ArrowInvalid, OSError) as error:
            raise MashbillError(f"{file} cannot be read as Parquet: {error}") from error
        self._check_columns(table.schema_arrow.names, file)
        for batch in table.iter_batches(batch_size=1000):
            yield from batch.to_pylist()

    def _separated(self, file: Path) -> Iterator[Row]:
        csv.field_size_limit(2**31 - 1)  # the default of 128 KiB is shorter than some captions
        with file.open(encoding="utf-8-sig", errors="replace", newline="") as opened:
            if file.suffix == ".tsv":
                lines = csv.reader(opened, delimiter="\t", quoting=csv.QUOTE_NONE)
            else:
                lines = csv.reader(opened)
            if self.url_column.isdigit() and self.caption_column.isdigit():
                header: list[str] | None = None
            else:
                header = next(lines, None)
                if header is not None:
                    self._check_columns(header, file)
            for line in filter(None, lines):  # an empty line is no row
                names = header or [str(number) for number in range(len(line))]
                if len(line) > len(names):
                    yield self._too_long(line, names)
                else:
                    yield dict.fromkeys(names) | dict(zip(names, line, strict=False))

    def _too_long(self, cells: list[str], names: list[str]) -> Row:
        """Which cell belongs to which column is not known; a URL where one must be is kept."""
        url = cells[names.index(self.url_column)]
        row = {
            UNREADABLE: f"{len(names)} cells expected, as in the header, and {len(cells)} found",
            "cells": cells,
        }
        return row | {self.url_column: url if url.startswith(("http://", "https://")) else None}


PLANNED = ("url", "caption", "meta", "error", "detail")
UNREADABLE = "\0unreadable"
"""Field of a row that cannot be read; holds what is wrong with it."""
LOOKED_AT = 100
"""Rows of a table in which each column must be named once: jsonl rows leave out what is null."""


def _json_lines(file: Path) -> Iterator[Row]:
    with file.open(encoding="utf-8-sig", errors="replace") as opened:
        for line in opened:
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                row = None
            yield row if isinstance(row, dict) else {UNREADABLE: "not a JSON object", "line": line}
