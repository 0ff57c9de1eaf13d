"""Makes the column sets of a plan that the store lacks."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from pipelines.attempts import Failed
from pipelines.executors import Executor
from pipelines.intake import Progress
from pipelines.map_pass import PassUnit, run_pass
from pipelines.planner import Step, needs_of, passes
from pipelines.set_aside import SetAside
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
    aside: SetAside | None = None,
) -> list[StageReport]:
    """Make and commit what is missing. A pass's seconds are shared by its stages alike.

    A shard that fails is noted in ``aside``; the pass goes on without it and is the last one made,
    since what follows must be planned again without that shard.
    """
    aside = aside if aside is not None else SetAside()
    known, reports = aside.indices, []
    for group in passes(list(steps), executor.grant):
        absent = [step for step in group if not column_set(store, step).complete]
        started = time.monotonic()
        if absent and isinstance(absent[0].stage, Reduction):
            rows = sum(shard.rows for shard in source.shards() if shard.index not in aside.shards)
            progress(absent[0].stage.name, 0, rows)
            _reduce(store, source, absent[0], aside.indices)
            progress(absent[0].stage.name, rows, rows)
        elif absent:
            _map(store, source, absent, executor, progress, aside)
        seconds = (time.monotonic() - started) / max(len(absent), 1)
        rows = sum(shard.rows for shard in source.shards() if shard.index not in aside.shards)
        for step in group:
            took = round(seconds, 3) if step in absent else 0.0
            reports.append(StageReport(step.stage.name, step.fingerprint, rows, step not in absent, took))
        if aside.indices != known:
            break
    return reports


def column_set(store: Store, step: Step) -> Any:
    return store.column_set(step.stage.name, step.fingerprint)


def _map(
    store: Store,
    source: StoredSource,
    steps: list[Step],
    executor: Executor,
    progress: Progress,
    aside: SetAside,
) -> None:
    """Run map steps as one pass over the shards that lack them, and note the shards that fail."""
    shards = [shard for shard in source.shards() if shard.index not in aside.shards]
    needs = needs_of(steps[0], executor.grant)
    threads = max(int(needs.cpus), 1) if needs.gpus else 0
    units = []
    present = {step.stage.name: column_set(store, step).present() for step in steps}
    for shard in shards:
        missing = tuple(step for step in steps if shard.index not in present[step.stage.name])
        if missing:
            units.append(PassUnit(store, source.fingerprint, shard, missing, threads))
    what = ", ".join(step.stage.name for step in steps)
    total = sum(shard.rows for shard in shards)
    done = total - sum(unit.shard.rows for unit in units)
    progress(what, done, total)
    for rows in executor.run(run_pass, units, needs):
        if isinstance(rows, Failed):
            aside.add(rows.unit.shard.index, tuple(step.stage.name for step in rows.unit.steps), rows)
        else:
            done += rows
        progress(what, done, total, len(aside.shards))
    for step in steps:
        _commit(store, source, step, aside.indices)


def _commit(store: Store, source: StoredSource, step: Step, aside: frozenset[int]) -> None:
    """Mark a column set complete, unless it lacks a shard that its fingerprint does not say it lacks."""
    if aside <= step.without:
        made = [shard.index for shard in source.shards() if shard.index not in aside]
        column_set(store, step).commit(step.made_by(), made)


def _reduce(store: Store, source: StoredSource, step: Step, aside: frozenset[int]) -> None:
    """Run a reduction over all rows but those set aside, and cut its answer back into the shards."""
    assert isinstance(step.stage, Reduction)
    shards = [shard for shard in source.shards() if shard.index not in aside]
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
    _commit(store, source, step, aside)


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
    wanted: dict[str, tuple[Step, list[str]]] = {}
    for name, step in reads.items():
        if step is not None:
            wanted.setdefault(step.fingerprint, (step, []))[1].append(name)
    for step, names in wanted.values():  # a file is opened once: on an object store that is what costs
        found = column_set(store, step).read(shard.index, names)
        for name in names:
            table = table.append_column(name, found[name])
    return table
