"""Builds a dataset: source, columns, selection, version, packs, report. Every part resumes."""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from importlib.metadata import version as package_version
from typing import Any

import pyarrow as pa

from pipelines.alone import alone
from pipelines.columns import StageReport, make_columns
from pipelines.dataset import Dataset
from pipelines.executors import Executor
from pipelines.intake import Progress, take_in
from pipelines.join import join, sample_table
from pipelines.pack_sizes import planned_arrays
from pipelines.packing import file_hashes, write_packs
from pipelines.planner import Step, models_named, plan, resolved
from pipelines.selection import Selection, select
from pipelines.set_aside import SetAside
from store.digest import file_sha256, fingerprint, settings, table_digest
from store.errors import MashbillError
from store.location import sweep
from store.parquet import write_table
from store.sources import StoredSource
from store.store import Store
from store.tables import PLACES
from store.versions import REASONS, Version, check_accounts, version_at

REPORT = "report/index.html"
PACKAGES = ("mashbill", "pillow", "pyarrow", "numpy", "numba")


def build(
    store: Store,
    dataset: Dataset,
    executor: Executor,
    progress: Progress,
    max_failed_shards: int = 0,
) -> dict[str, Any]:
    """Build a dataset version, or find that it is there. Returns what ``build --json`` prints.

    Up to ``max_failed_shards`` image shards that no try gets through are left out: their samples are
    dropped as ``shard_failed``, and the next build tries them again.
    """
    started = time.monotonic()
    dataset = replace(dataset, source=dataset.source.awaited(store, progress))
    waited_s = _since(started)
    dataset = resolved(dataset, store)
    source, source_reused = take_in(store, dataset.source, executor, progress)
    rows = int(source.manifest()["rows"])
    taken = StageReport("source", source.fingerprint, rows, source_reused, _since(started))
    aside = SetAside(max_failed_shards)
    made_already = _made_already(store, dataset, source)
    with alone(source.location, f"source {source.fingerprint}", to_do=not made_already):
        steps, made = _columns(store, dataset, source, executor, progress, aside)
        mark = time.monotonic()
        table, was_there = join(store, source, steps, aside.indices, progress)
    reports = [taken, *made, StageReport("join", table.fingerprint, rows, was_there, _since(mark))]

    mark = time.monotonic()
    selection = select(table, dataset)
    version = version_at(store, dataset.name, version_id(dataset, selection))
    name = f"{dataset.name}@{version.version}"
    with alone(version.location, name, to_do=not version.complete or bool(version.gone())):
        version.withdraw_if_broken()
        chosen = StageReport("select", version.version, rows, version.complete, _since(mark))
        mark = time.monotonic()
        packs = write_packs(source, version, selection, dataset.pack, executor, progress)
        packed = StageReport("pack", fingerprint(packs), rows, version.complete, _since(mark))
        if not version.complete:
            made_of = _made(store, source, steps, aside)
            # what a part stands on says for itself how long was waited for it
            made_of["decisions"] = [{"waited_s": waited_s} | entry for entry in dataset.source.decided()]
            _commit(version, source, dataset, selection, made_of, packs)
        else:
            version.commit(version.manifest())
    if store.root.local:
        sweep(store.root.temp)  # what workers of a killed build left after this one began
    manifest = version.manifest()
    left_out = {"set_aside": aside.listed()} if aside.shards else {}
    return {
        "dataset": dataset.name,
        "version": version.version,
        "samples_in": manifest["samples_in"],
        "kept": manifest["kept"],
        "dropped": manifest["dropped"],
        **left_out,
        "stages": [asdict(report) for report in (*reports, chosen, packed)],
        "elapsed_s": _since(started),
    }


def _made_already(store: Store, dataset: Dataset, source: StoredSource) -> bool:
    """Whether every column is there: then nobody has to wait for anybody."""
    steps = plan(dataset, source.fingerprint)
    complete = all(store.column_set(s.stage.name, s.fingerprint).complete for s in steps)
    return complete and sample_table(store, source, steps).complete


def _columns(
    store: Store,
    dataset: Dataset,
    source: StoredSource,
    executor: Executor,
    progress: Progress,
    aside: SetAside,
) -> tuple[list[Step], list[StageReport]]:
    """Every column of the recipe; planned again, without the shard, whenever one is set aside."""
    reports: dict[str, StageReport] = {}
    while True:
        known, steps = aside.indices, plan(dataset, source.fingerprint, aside.indices)
        for report in make_columns(store, source, steps, executor, progress, aside):
            if report.fingerprint not in reports or reports[report.fingerprint].reused:
                reports[report.fingerprint] = report
        if aside.indices == known:
            return steps, [reports[step.fingerprint] for step in steps]
        if len(aside.shards) == len(source.shards()):
            error = aside.shards[max(aside.shards)].error
            raise MashbillError(f"every image shard of the source failed; nothing is left. The last: {error}")


def _made(store: Store, source: StoredSource, steps: list[Step], aside: SetAside) -> dict[str, Any]:
    """``stages``: the column sets a version stands on, with the files of those that lack a shard and
    their hashes; ``set_aside``: the shards they lack."""
    left = [f"{s.index:05d}.parquet" for s in source.shards() if s.index not in aside.shards]
    stages = []
    for step in steps:
        entry: dict[str, Any] = {"name": step.stage.name, "fingerprint": step.fingerprint}
        columns = store.column_set(step.stage.name, step.fingerprint)
        if not columns.complete:
            entry["files"] = {name: file_sha256(columns.location / name) for name in left}
        stages.append(entry)
    return {"stages": stages, "set_aside": aside.listed()}


def version_id(dataset: Dataset, selection: Selection) -> str:
    """Named by what was chosen and how: not by paths, shard sizes, workers or the clock."""
    how = {
        "dataset": dataset.name,
        "columns": settings(dataset.columns),
        "select": settings(dataset.select),
        "pack": settings(dataset.pack),
        "samples": selection.table.manifest()["digest"],
        "reasons": table_digest(pa.table({"reason": selection.reasons})),
    }
    return fingerprint(how)


def _commit(
    version: Version,
    source: StoredSource,
    dataset: Dataset,
    selection: Selection,
    made: dict[str, Any],
    packs: dict[str, dict[str, Any]],
) -> None:
    from pipelines.caption_gain import gain_of
    from pipelines.report import READS, write_report  # templates and plots: only when a version is made

    reasons = version.location / REASONS
    write_table(reasons, pa.table({"reason": selection.reasons}))
    files = {REASONS: file_sha256(reasons)}
    for name, pack in packs.items():
        files |= file_hashes(version.pack(name), name, pack)
    manifest = {
        "dataset": version.dataset,
        "version": version.version,
        "table": selection.table.fingerprint,
        "samples_in": len(selection.reasons),
        "kept": selection.reasons.null_count,
        "dropped": selection.dropped,
        "selection": selection.account,
        **made,
        "source": {"fingerprint": source.fingerprint, "settings": source.manifest()["source"]},
        "recipe": {
            "columns": settings(dataset.columns),
            "select": settings(dataset.select),
            "pack": settings(dataset.pack),
        },
        "models": models_named(dataset),
        "packs": {name: {k: pack[k] for k in ("splits", "dropped")} for name, pack in packs.items()},
        "packages": {name: package_version(name) for name in PACKAGES},
    }
    check_accounts(manifest)
    there = {*selection.table.names(), *PLACES, "kept", "reason"}
    samples = selection.samples([name for name in READS if name in there])
    manifest["captions"] = gain_of(dataset.columns, samples)
    write_report(version, source, manifest, samples)
    files[REPORT] = file_sha256(version.location / REPORT)
    version.commit(manifest | {"files": files})


def dry_run(store: Store, dataset: Dataset) -> dict[str, Any]:
    """What a build would do: each stage and whether its columns are there already; and, where packs have
    latents or text encodings, the bytes they take (``arrays``)."""
    dataset = resolved(dataset, store)
    source = store.source(fingerprint(dataset.source.identity()))
    stages = [{"name": "source", "fingerprint": source.fingerprint, "reused": source.complete}]
    for step in plan(dataset, source.fingerprint):
        complete = store.column_set(step.stage.name, step.fingerprint).complete
        entry = {"name": step.stage.name, "fingerprint": step.fingerprint, "reused": complete}
        stages.append(entry)
    arrays = planned_arrays(dataset)
    if source.complete:
        rows = {"samples": int(source.manifest()["rows"])}
        arrays = {name: found | rows for name, found in arrays.items()}
    return {"dataset": dataset.name, "dry_run": True, "stages": stages} | (
        {"arrays": arrays} if arrays else {}
    )


def _since(moment: float) -> float:
    return round(time.monotonic() - moment, 3)
