"""Parquet files in a store: written whole or not at all, read with one clear error."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import pyarrow as pa
import pyarrow.parquet as pq

from store.errors import MashbillError
from store.location import Location


def table_bytes(table: pa.Table) -> bytes:
    """One Parquet file (zstd) in memory. The same table gives the same bytes."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return bytes(sink.getvalue().to_pybytes())


def write_table(location: Location, table: pa.Table) -> None:
    """Write one Parquet file, whole or not at all."""
    location.write_bytes(table_bytes(table))


def read_table(location: Location, columns: Sequence[str] | None = None) -> pa.Table:
    """Read some or all columns of one Parquet file.

    Raises:
        MashbillError: the file is missing, is not Parquet, or lacks a column.
    """
    wanted = list(columns) if columns is not None else None
    with opened(location) as file:
        return file.read(columns=wanted)


@contextmanager
def opened(location: Location) -> Iterator[pq.ParquetFile]:
    """One Parquet file, to read parts of it; raises as ``read_table`` does, also in the block."""
    try:
        with ExitStack() as stack:
            source = location.path if location.local else stack.enter_context(location.open())
            yield stack.enter_context(pq.ParquetFile(source))
    except FileNotFoundError as error:
        raise MashbillError(
            f"{location.url} is missing although it was committed: it was removed by hand, or the disk "
            f"is bad. Remove {_whole(location)} and build again."
        ) from error
    except (pa.ArrowInvalid, OSError) as error:
        raise MashbillError(
            f"{location.url} cannot be read as Parquet ({error}). Remove {_whole(location)} and build again."
        ) from error


def _whole(location: Location) -> str:
    """The folder to remove so that a file is made again: of its column set, version or source."""
    folder = location.parent
    return (folder.parent if folder.name in ("shards", "plan") else folder).url
