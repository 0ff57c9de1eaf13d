"""One pass over one image shard: every map stage that is missing there, each image read once."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache, partial
from math import ceil
from typing import Any

import pyarrow as pa

from pipelines.outranked import leaving_decided
from pipelines.planner import Step
from stages.image.picture import BrokenImage, read_full, read_header, read_small
from stages.stage import Batch, MapStage, View
from store.errors import MashbillError
from store.sources import Shard
from store.store import Store

BATCH_ROWS = 32
"""Rows that are read together, and that steps see together where none asks for more."""
PIXELS_A_ROW = 1_000_000
"""Fully decoded images are held together up to so many pixels for each row of a batch: 96 MB for 32 rows, 0.8
GB for 256. One larger image goes alone."""

Origin = tuple[str, str]
"""A column's name and the fingerprint of the step that wrote it ("" for the source)."""
IDS: Origin = ("sample_id", "")

_READERS: dict[View, Callable[[bytes], Any]] = {
    View.HEADER: read_header,
    View.SMALL: read_small,
    View.FULL: read_full,
}


@dataclass(frozen=True)
class PassUnit:
    """Map steps to run over one shard.

    ``threads`` read and decode that many batches ahead of the steps, so that a GPU need not wait; 0
    does it in between, which costs least where the steps need the CPU themselves.
    """

    store: Store
    source: str
    shard: Shard
    steps: tuple[Step, ...]
    threads: int = 0


def run_pass(unit: PassUnit) -> int:
    """Run and commit the steps of one unit. Returns the shard's rows."""
    source = unit.store.source(unit.source)
    rows = source.rows(unit.shard)
    columns = _inputs(unit, rows)
    written: dict[str, dict[str, list[Any]]] = {step.stage.name: {} for step in unit.steps}
    top = max(step.stage.view for step in unit.steps if isinstance(step.stage, MapStage))
    places = list(zip(rows["image_offset"].to_pylist(), rows["image_size"].to_pylist(), strict=True))
    for together in _batches(unit, places, top):
        _run_batch(unit, columns, written, together)
    for step in unit.steps:
        table = _table(step, unit.shard, rows["sample_id"], written[step.stage.name])
        columns_at = unit.store.column_set(step.stage.name, step.fingerprint)
        columns_at.write(unit.shard.index, table, unit.shard.rows)
    return unit.shard.rows


Places = list[tuple[int | None, int | None]]
"""Offset and size of each row's image in the tar; None where there is no image."""


def _batches(unit: PassUnit, places: Places, top: View) -> Iterator[Together]:
    """All rows in order, as many together as a step wants and memory holds."""
    wanted = max(
        BATCH_ROWS, *(step.stage.rows_at_once for step in unit.steps if isinstance(step.stage, MapStage))
    )
    held, rows, pixels = list[Piece](), 0, 0
    for start, seen in _reads(unit, places, top, ceil(wanted / ceil(wanted / BATCH_ROWS))):
        for first, last, size in _pieces(seen, top):
            if held and (rows + last - first > wanted or pixels + size > PIXELS_A_ROW * wanted):
                yield Together(held)
                held, rows, pixels = [], 0, 0
            held.append((start, seen, first, last))
            rows, pixels = rows + last - first, pixels + size
    if held:
        yield Together(held)


def _reads(unit: PassUnit, places: Places, top: View, count: int) -> Iterator[tuple[int, Seen]]:
    """The first row and the images of every ``count`` rows, in order."""
    starts = range(0, len(places), count)
    if not unit.threads:
        yield from ((start, _seen(unit, places[start : start + count], top)) for start in starts)
        return
    with ThreadPoolExecutor(unit.threads) as threads:
        ahead: deque[tuple[int, Future[Seen]]] = deque()
        for start in starts:
            ahead.append((start, threads.submit(_viewed, unit, places[start : start + count], top)))
            if len(ahead) > unit.threads:
                first, seen = ahead.popleft()
                yield first, seen.result()
        yield from ((first, seen.result()) for first, seen in ahead)


def _seen(unit: PassUnit, places: Places, top: View) -> Seen:
    return Seen(_read(unit, places) if top > View.NONE else [None] * len(places))


def _viewed(unit: PassUnit, places: Places, top: View) -> Seen:
    """A batch whose largest view is made already, unless it must be made in pieces."""
    seen = _seen(unit, places, top)
    if len(_pieces(seen, top)) == 1:
        seen.view(top, 0, len(places))
    return seen


def _table(step: Step, shard: Shard, ids: pa.ChunkedArray, values: dict[str, list[Any]]) -> pa.Table:
    table = pa.table({"sample_id": ids})
    for kind in step.stage.writes:
        try:
            table = table.append_column(kind, pa.array(values.get(kind.name, []), kind.type))
        except (pa.ArrowException, OverflowError) as error:
            raise MashbillError(
                f"stage {step.stage.name} wrote values into {kind.name} in shard {shard.index} that are "
                f"no {kind.type}: {error}. Nothing of this shard was written; mend the stage."
            ) from error
    return table


@dataclass
class Seen:
    """The views of some images, each made once and only when a stage asks."""

    data: list[bytes | None]
    _views: dict[View, tuple[list[Any], list[str | None]]] = field(default_factory=dict)
    _piece: tuple[int, int] | None = None

    def view(self, view: View, first: int, last: int) -> tuple[list[Any], list[str | None]]:
        """Images ``first`` to ``last`` and their reason codes; None for what is not there."""
        if view == View.NONE:
            return [], []
        if view == View.FULL:  # kept for the stages of one piece only: pixels are large
            if self._piece != (first, last):
                self._piece = (first, last)
                self._views[view] = self._make(view, self.data[first:last])
            return self._views[view]
        if view not in self._views:
            self._views[view] = self._make(view, self.data)
        images, broken = self._views[view]
        return images[first:last], broken[first:last]

    def _make(self, view: View, data: list[bytes | None]) -> tuple[list[Any], list[str | None]]:
        if view == View.BYTES:
            return list(data), [None] * len(data)
        read, images, broken = _READERS[view], list[Any](), list[str | None]()
        for item in data:
            try:
                images.append(None if item is None else read(item))
                broken.append(None)
            except BrokenImage as error:
                images.append(None)
                broken.append(error.reason)
        return images, broken


Piece = tuple[int, Seen, int, int]
"""The first row of a read, its images, and which of them are meant: from one up to another."""


@dataclass
class Together:
    """Neighboring rows that the steps see at once."""

    pieces: list[Piece]
    _views: dict[View, tuple[list[Any], list[str | None]]] = field(default_factory=dict)

    @property
    def rows(self) -> tuple[int, int]:
        """The first row of the shard, and the one behind the last."""
        (start, _, first, _), (end, _, _, last) = self.pieces[0], self.pieces[-1]
        return start + first, end + last

    def view(self, view: View) -> tuple[list[Any], list[str | None]]:
        """Images and their reason codes, as ``Seen.view``."""
        if view not in self._views:
            parts = [seen.view(view, first, last) for _, seen, first, last in self.pieces]
            images, broken = ([item for part in parts for item in part[side]] for side in (0, 1))
            self._views[view] = images, broken
        return self._views[view]


def _pieces(seen: Seen, top: View) -> list[tuple[int, int, int]]:
    """Cuts a read so that fully decoded images fit in memory; whole where none are: from, to, pixels."""
    count = len(seen.data)
    if top < View.FULL:
        return [(0, count, 0)]
    headers, _ = seen.view(View.HEADER, 0, count)
    pieces, first, pixels = [], 0, 0
    for i, header in enumerate(headers):
        size = header.width * header.height if header else 0
        if i > first and pixels + size > PIXELS_A_ROW * BATCH_ROWS:
            pieces.append((first, i, pixels))
            first, pixels = i, 0
        pixels += size
    return [*pieces, (first, count, pixels)]


def _run_batch(
    unit: PassUnit,
    columns: dict[Origin, list[Any]],
    written: dict[str, dict[str, list[Any]]],
    together: Together,
) -> None:
    """Run every step over some rows of the shard."""
    rows = together.rows
    fresh: dict[Origin, Sequence[Any]] = {}
    for step in unit.steps:
        stage = step.stage
        assert isinstance(stage, MapStage)
        images, broken = together.view(stage.view)
        given = {}
        for name, writer in step.reads.items():
            origin = _origin(name, writer)
            stored = origin not in fresh
            given[name] = columns[origin][rows[0] : rows[1]] if stored else list(fresh[origin])
        batch = Batch(rows[1] - rows[0], given, images, broken)
        call = partial(_call, stage, unit.shard, columns[IDS][rows[0] : rows[1]])
        result = leaving_decided(stage, batch, call)
        for name in stage.writes.names:
            written[stage.name].setdefault(name, []).extend(result[name])
            fresh[_origin(name, step)] = result[name]


def _call(stage: MapStage, shard: Shard, ids: list[str], batch: Batch) -> dict[str, Sequence[Any]]:
    try:
        result = _opened(stage, repr(stage))(batch)
    except MashbillError:
        raise
    except Exception as error:
        raise MashbillError(
            f"stage {stage.name} failed in shard {shard.index}, samples {ids[0]} to {ids[-1]}: "
            f"{type(error).__name__}: {error}. Nothing of this shard was written."
        ) from error
    wrong = [name for name in stage.writes.names if len(result.get(name, ())) != batch.size]
    if wrong or set(result) != set(stage.writes.names):
        raise MashbillError(
            f"stage {stage.name} gave { ({name: len(value) for name, value in result.items()}) } for "
            f"{batch.size} rows; it must write {', '.join(stage.writes.names)}, a value for each row."
        )
    return result


@lru_cache(maxsize=64)
def _opened(stage: MapStage, fields: str) -> Callable[[Batch], dict[str, Sequence[Any]]]:
    """A process opens a stage, and so loads its model, once.

    ``fields``: all of them. Stages that are equal may still differ in a server's address or a batch size.
    """
    return stage.open()


def _inputs(unit: PassUnit, rows: pa.Table) -> dict[Origin, list[Any]]:
    """Columns that the steps read and that were there before this pass."""
    inside = {step.fingerprint for step in unit.steps}
    columns: dict[Origin, list[Any]] = {IDS: rows["sample_id"].to_pylist()}
    stored: dict[str, tuple[Step, set[str]]] = {}
    for step in unit.steps:
        for name, writer in step.reads.items():
            if writer is None:
                columns[_origin(name, None)] = rows[name].to_pylist()
            elif writer.fingerprint not in inside:
                stored.setdefault(writer.fingerprint, (writer, set()))[1].add(name)
    for writer, names in stored.values():
        column_set = unit.store.column_set(writer.stage.name, writer.fingerprint)
        table = column_set.read(unit.shard.index, sorted(names))
        columns |= {_origin(name, writer): table[name].to_pylist() for name in names}
    return columns


def _origin(column: str, writer: Step | None) -> Origin:
    return column, writer.fingerprint if writer else ""


def _read(unit: PassUnit, places: Places) -> list[bytes | None]:
    tar = unit.store.source(unit.source).tar(unit.shard)
    wanted = [(offset, size) for offset, size in places if offset is not None and size is not None]
    data = iter(tar.read_ranges(wanted))
    return [None if offset is None else next(data) for offset, _ in places]
