"""Makes the column sets of a plan that the store lacks."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from pipelines.executors import Executor
from pipelines.intake import Progress
from pipelines.map_pass import PassUnit, run_pass
from pipelines.planner import Step, passes
from stages.stage import Reduction
from store.errors import MashbillError
from store.sources import StoredSource
from store.store import Store


@dataclass(frozen=True)
class StageReport:
    """What a build says of one stage."""

    name: str
    fingerprint: str
    rows: int
    reused: bool
    seconds: float


def make_columns(
    store: Store,
    source: StoredSource,
    steps: Sequence[Step],
    executor: Executor,
    progress: Progress,
) -> list[StageReport]:
    """Make and commit what is missing. A pass's seconds are shared by its stages alike."""
    rows = int(source.manifest()["rows"])
    reports = []
    for group in passes(list(steps)):
        absent = [step for step in group if not column_set(store, step).complete]
        started = time.monotonic()
        if absent and isinstance(absent[0].stage, Reduction):
            progress(absent[0].stage.name, 0, 1)
            _reduce(store, source, absent[0])
            progress(absent[0].stage.name, 1, 1)
        elif absent:
            _map(store, source, absent, executor, progress)
        seconds = (time.monotonic() - started) / max(len(absent), 1)
        for step in group:
            made = step in absent
            reports.append(
                StageReport(
                    step.stage.name,
                    step.fingerprint,
                    rows,
                    not made,
                    round(seconds, 3) if made else 0.0,
                )
            )
    return reports


def column_set(store: Store, step: Step) -> Any:
    return store.column_set(step.stage.name, step.fingerprint)


def _map(
    store: Store,
    source: StoredSource,
    steps: list[Step],
    executor: Executor,
    progress: Progress,
) -> None:
    shards = source.shards()
    present = {step.stage.name: column_set(store, step).present() for step in steps}
    units = []
    for shard in shards:
        missing = tuple(step for step in steps if shard.index not in present[step.stage.name])
        if missing:
            units.append(PassUnit(store, source.fingerprint, shard, missing))
    what = ", ".join(step.stage.name for step in steps)
    total = sum(shard.rows for shard in shards)
    done = total - sum(unit.shard.rows for unit in units)
    progress(what, done, total)
    for rows in executor.run(run_pass, units):
        done += rows
        progress(what, done, total)
    for step in steps:
        column_set(store, step).commit(step.made_by(), [shard.index for shard in shards])


def _reduce(store: Store, source: StoredSource, step: Step) -> None:
    """Run a reduction over all rows, and cut its answer back into the source's shards."""
    assert isinstance(step.stage, Reduction)
    shards = source.shards()
    rows = pa.concat_tables(gather(store, source, index, step.reads) for index in shards)
    with store.root.temporary_folder() as scratch:
        answer = _checked(step.stage, step.stage.reduce(rows, scratch), rows.num_rows)
    columns = column_set(store, step)
    start = 0
    for shard in shards:
        part = answer.slice(start, shard.rows)
        ids = rows["sample_id"].slice(start, shard.rows)
        table = pa.table({"sample_id": ids} | {n: part[n] for n in step.stage.writes.names})
        columns.write(shard.index, table, shard.rows)
        start += shard.rows
    columns.commit(step.made_by(), [shard.index for shard in shards])


def _checked(stage: Reduction, answer: pa.Table, rows: int) -> pa.Table:
    """The declared columns of a reduction's answer, in their declared types."""
    missing = [name for name in stage.writes.names if name not in answer.column_names]
    if missing or answer.num_rows != rows:
        lacks = f" and no column {', '.join(missing)}" if missing else ""
        raise MashbillError(
            f"reduction {stage.name} answered {answer.num_rows} rows for {rows}{lacks}. "
            "Nothing was written; mend the stage."
        )
    try:
        return answer.select(stage.writes.names).cast(stage.writes)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError) as error:
        raise MashbillError(f"reduction {stage.name} wrote other types than declared: {error}") from error


def gather(store: Store, source: StoredSource, shard: Any, reads: dict[str, Step | None]) -> pa.Table:
    """``sample_id`` and the named columns of one shard, each from the step that wrote it."""
    from_source = ["sample_id", *(n for n, step in reads.items() if step is None)]
    table = source.rows(shard, list(dict.fromkeys(from_source)))
    for name, step in reads.items():
        if step is not None:
            column = column_set(store, step).read(shard.index, [name])[name]
            table = table.append_column(name, column)
    return table
