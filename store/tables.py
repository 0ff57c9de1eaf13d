"""Sample tables: every column of every sample of one source, sorted by ``sample_id``.

Joined once from the source's rows and the column sets of a recipe. A dataset version adds only what it
decided of each row, so a changed threshold moves a few columns and writes a few bytes per sample.

::

    tables/<fingerprint>/samples.parquet    the columns
    tables/<fingerprint>/places.parquet     row for row: where the source keeps the image
    tables/<fingerprint>/table.json         rows, digest of the columns, hashes of the files

The columns do not depend on how the source was cut into shards; the places do.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from store.digest import TableDigest, file_sha256
from store.location import Location
from store.parquet import opened, read_table

LEADING = ("sample_id", "url", "source_key", "caption", "caption_original", "width", "height")
"""The columns that come first, where there are such."""
PLACES = ("shard", "image_offset", "image_size", "source_error", "source_detail")
"""Where a sample's image lies: index of the source's shard, and bytes in its tar, null without an image;
then ``source_error`` is the reason and ``source_detail`` the source's own words."""

Numbers = Sequence[int] | np.ndarray
"""Row numbers of a table, from 0."""
GROUP_ROWS = 1 << 16
"""Rows that are read together when one sample is looked up."""
PART_ROWS = 8 * GROUP_ROWS
"""Rows that are sorted together: memory for these is needed, however many there are."""


@dataclass(frozen=True)
class SampleTable:
    """A sample table in the store, complete or not there."""

    location: Location

    @property
    def fingerprint(self) -> str:
        return self.location.name

    @property
    def complete(self) -> bool:
        return {"table.json", self._samples.name, self._places.name} <= set(self.location.names())

    def manifest(self) -> dict[str, Any]:
        """``rows``, ``digest`` (SHA-256 of the columns' values), ``made_by``, ``files``."""
        return dict((self.location / "table.json").read_json())

    def names(self) -> list[str]:
        """The columns there are, without the places."""
        with opened(self._samples) as file:
            return list(file.schema_arrow.names)

    def read(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Columns of every row, by ``sample_id``."""
        return read_table(self._samples, columns)

    def parts(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """``read``, a group of rows at a time; at least one table."""
        with opened(self._samples) as file:
            for group in range(file.num_row_groups):
                yield file.read_row_group(group, columns)
            if not file.num_row_groups:
                yield file.read(columns)

    def places(self, columns: Sequence[str] = PLACES) -> pa.Table:
        """Places of every row, in the order of ``read``."""
        return read_table(self._places, columns)

    def find(self, prefix: str) -> list[int]:
        """Row numbers of the samples whose id begins with ``prefix``.

        Reads only the groups of rows that can hold them.
        """
        found: list[int] = []
        with opened(self._samples) as file:
            column = file.schema_arrow.get_field_index("sample_id")
            for group in range(file.num_row_groups):
                ids = file.metadata.row_group(group).column(column).statistics
                if ids is not None and ids.min[: len(prefix)] <= prefix <= ids.max[: len(prefix)]:
                    keys = file.read_row_group(group, ["sample_id"])["sample_id"]
                    here = np.flatnonzero(pc.starts_with(keys, prefix).to_numpy())
                    found += (here + group * GROUP_ROWS).tolist()
        return found

    def rows(self, numbers: Numbers, columns: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """Some rows, in ascending order of their numbers; reads only the groups they are in."""
        return _rows(self._samples, numbers, columns)

    def rows_of_places(self, numbers: Numbers) -> list[dict[str, Any]]:
        """The places of some rows, in ascending order of their numbers."""
        return _rows(self._places, numbers, PLACES)

    def write(self, parts: Iterable[pa.Table], rows: int, made_by: dict[str, Any], scratch: str) -> None:
        """Join ``parts`` (``sample_id``, the columns, the places) of ``rows`` rows in all, and commit.

        ``scratch``: a local folder for what does not fit in memory.
        """
        digest = None
        with self._samples.writing() as columns_at, self._places.writing() as places_at, ExitStack() as files:
            for part in _groups(_sorted(parts, rows, scratch)):
                columns, places = part.drop_columns(list(PLACES)), part.select(PLACES)
                if digest is None:
                    digest = TableDigest(columns.schema)
                    write = [
                        files.enter_context(pq.ParquetWriter(at, table.schema, compression="zstd"))
                        for at, table in ((columns_at, columns), (places_at, places))
                    ]
                for writer, table in zip(write, (columns, places), strict=True):
                    writer.write_table(table, GROUP_ROWS)
                digest.update(columns.to_batches())
        assert digest is not None
        files_of = {file.name: file_sha256(file) for file in (self._samples, self._places)}
        done = {"rows": rows, "digest": digest.hexdigest(), "made_by": made_by, "files": files_of}
        (self.location / "table.json").write_json(done)

    @property
    def _samples(self) -> Location:
        return self.location / "samples.parquet"

    @property
    def _places(self) -> Location:
        return self.location / "places.parquet"


def wide(table: pa.Table) -> pa.Table:
    """The table with strings that may add up to more than 2 GB: sorting and taking gather them."""
    kinds = (pa.large_string() if pa.types.is_string(field.type) else field.type for field in table.schema)
    fields = [field.with_type(kind) for field, kind in zip(table.schema, kinds, strict=True)]
    return table.cast(pa.schema(fields))


def _groups(parts: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """The same rows, cut into groups: row ``n`` is in group ``n // GROUP_ROWS``. At least one table."""
    rest = next(parts)
    for part in parts:
        rest = pa.concat_tables([rest, part])
        while len(rest) > GROUP_ROWS:
            yield rest.slice(0, GROUP_ROWS)
            rest = rest.slice(GROUP_ROWS)
    while len(rest) > GROUP_ROWS:
        yield rest.slice(0, GROUP_ROWS)
        rest = rest.slice(GROUP_ROWS)
    yield rest


def _rows(location: Location, numbers: Numbers, columns: Sequence[str] | None) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    wanted = np.unique(np.asarray(numbers, np.int64))
    with opened(location) as file:
        for group in np.unique(wanted // GROUP_ROWS).tolist():
            here = wanted[wanted // GROUP_ROWS == group] - group * GROUP_ROWS
            found += file.read_row_group(group, columns).take(pa.array(here)).to_pylist()
    return found


def _sorted(parts: Iterable[pa.Table], rows: int, scratch: str) -> Iterator[pa.Table]:
    """All rows by ``sample_id``, a few at a time; at least one table, empty when there are no rows.

    Ids are hashes, so cutting their range evenly cuts the rows evenly.
    """
    count = max(1, -(-rows // PART_ROWS))
    if count == 1:
        yield from _narrow(pa.concat_tables(parts))
        return
    edges = [f"{(1 << 32) * part // count:08x}" for part in range(1, count)]
    paths = [os.path.join(scratch, f"part-{part:05d}.arrow") for part in range(count)]
    with ExitStack() as files:
        sinks: list[Any] = []
        for table in parts:
            if not sinks:
                sinks = [files.enter_context(pa.ipc.new_file(path, table.schema)) for path in paths]
            [ordered] = _narrow(table, len(table))
            cuts = np.searchsorted(ordered["sample_id"].to_numpy().astype("S8"), np.array(edges, "S8"))
            for sink, start, stop in zip(sinks, [0, *cuts], [*cuts, len(table)], strict=True):
                sink.write_table(ordered.slice(start, stop - start))
    for path in paths:
        with pa.OSFile(path, "rb") as file:
            yield from _narrow(pa.ipc.open_file(file).read_all())
        os.remove(path)


def _narrow(table: pa.Table, rows: int = 0) -> Iterator[pa.Table]:
    """The rows by ``sample_id``, so many at a time (0: a group) that their strings fit in 2 GB."""
    ordered, rows = wide(table).sort_by("sample_id"), max(rows or GROUP_ROWS, 1)
    for start in range(0, max(len(table), 1), rows):
        yield ordered.slice(start, rows).cast(table.schema)
