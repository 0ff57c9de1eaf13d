"""Joins what a recipe's stages said of a source into one sample table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from pipelines.columns import gather
from pipelines.intake import Progress
from pipelines.planner import SOURCE_COLUMNS, Step, columns_of
from pipelines.set_aside import REASON
from store.digest import fingerprint
from store.sources import Shard, StoredSource
from store.store import Store
from store.tables import LEADING, PLACES, SampleTable


def sample_table(
    store: Store, source: StoredSource, steps: list[Step], aside: frozenset[int] = frozenset()
) -> SampleTable:
    """Where the table of all columns but working ones (binary) is, or will be."""
    return store.table(fingerprint(_made_by(source, _chosen(steps), aside)))


def join(
    store: Store, source: StoredSource, steps: list[Step], aside: frozenset[int], progress: Progress
) -> tuple[SampleTable, bool]:
    """The sample table, and whether it was there already.

    Of the samples of the shards set ``aside`` it says ``shard_failed`` and nothing else.
    """
    chosen, table = _chosen(steps), sample_table(store, source, steps, aside)
    if table.complete:
        return table, True
    reads: dict[str, Step | None] = dict.fromkeys((*SOURCE_COLUMNS, *PLACES[1:])) | chosen
    rows, made_by = int(source.manifest()["rows"]), _made_by(source, chosen, aside)
    with store.root.temporary_folder() as scratch:
        parts = _told(_parts(store, source, reads, aside), rows, progress)
        table.write(parts, rows, made_by, scratch)
    return table, False


def _chosen(steps: list[Step]) -> dict[str, Step]:
    return {name: step for name, step in columns_of(steps).items() if not _working(step, name)}


def _made_by(source: StoredSource, chosen: dict[str, Step], aside: frozenset[int]) -> dict[str, Any]:
    return {
        "source": source.fingerprint,
        "columns": {name: step.fingerprint for name, step in sorted(chosen.items())},
        "set_aside": sorted(aside),
    }


def _told(parts: Iterator[pa.Table], rows: int, progress: Progress) -> Iterator[pa.Table]:
    done = 0
    progress("joining columns", 0, rows)
    for part in parts:
        yield part
        done += len(part)
        progress("joining columns", done, rows)


def _parts(
    store: Store, source: StoredSource, reads: dict[str, Step | None], aside: frozenset[int]
) -> Iterator[pa.Table]:
    leading = [name for name in LEADING if name in reads]
    names = [*leading, *sorted(name for name in reads if name not in leading and name not in PLACES), *PLACES]
    for shard in source.shards():
        failed = shard.index in aside
        table = _blank(source, shard, reads) if failed else gather(store, source, shard, reads)
        index = pa.array([shard.index] * len(table), pa.int32())
        yield table.append_column(PLACES[0], index).select(names)


def _blank(source: StoredSource, shard: Shard, reads: dict[str, Step | None]) -> pa.Table:
    """The rows of a shard that failed: nothing but its failure is said of them."""
    table = source.rows(shard, [name for name, step in reads.items() if step is None])
    error = pa.array([REASON] * table.num_rows, pa.string())
    table = table.set_column(table.column_names.index("source_error"), "source_error", error)
    for name, step in reads.items():
        if step is not None:
            table = table.append_column(name, pa.nulls(table.num_rows, step.stage.writes.field(name).type))
    return table


def _working(step: Step, name: str) -> bool:
    """Columns for other stages, such as thumbnails and embeddings, stay in their column set."""
    kind = step.stage.writes.field(name).type
    types = pa.types
    bytes_of_some_kind = types.is_binary(kind) or types.is_large_binary(kind)
    return bool(bytes_of_some_kind or types.is_fixed_size_binary(kind) or types.is_fixed_size_list(kind))
