"""Builds a dataset: source, columns, selection, version, packs, report. Every part resumes."""

from __future__ import annotations

import time
from dataclasses import asdict
from importlib.metadata import version as package_version
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.columns import StageReport, make_columns
from pipelines.dataset import Dataset
from pipelines.executors import Executor
from pipelines.intake import Progress, take_in
from pipelines.packing import file_hashes, write_packs
from pipelines.planner import plan
from pipelines.selection import Selection, select
from store.digest import file_sha256, fingerprint, settings, table_digest
from store.location import sweep
from store.parquet import write_table
from store.sources import StoredSource
from store.store import Store
from store.versions import Version, check_accounts, version_at

REPORT = "report/index.html"
PACKAGES = ("mashbill", "pillow", "pyarrow", "duckdb", "numpy")


def build(store: Store, dataset: Dataset, executor: Executor, progress: Progress) -> dict[str, Any]:
    """Build a dataset version, or find that it is there. Returns what ``build --json`` prints."""
    started = time.monotonic()
    source, source_reused = take_in(store, dataset.source, executor, progress)
    rows = int(source.manifest()["rows"])
    taken = StageReport("source", source.fingerprint, rows, source_reused, _since(started))
    steps = plan(dataset, source.fingerprint)
    reports = [taken, *make_columns(store, source, steps, executor, progress)]

    mark = time.monotonic()
    selection = select(store, source, dataset, steps)
    version = version_at(store, dataset.name, version_id(dataset, selection.samples))
    version.withdraw_if_broken()
    chosen = StageReport("select", version.version, rows, version.complete, _since(mark))

    mark = time.monotonic()
    packs = write_packs(source, version, selection.samples, dataset.pack, executor, progress)
    packed = StageReport("pack", fingerprint(packs), rows, version.complete, _since(mark))
    if not version.complete:
        _commit(version, source, dataset, selection, reports, packs)
    else:
        version.commit(version.manifest())
    if store.root.local:
        sweep(store.root.temp)  # what workers of a killed build left after this one began
    manifest = version.manifest()
    return {
        "dataset": dataset.name,
        "version": version.version,
        "samples_in": manifest["samples_in"],
        "kept": manifest["kept"],
        "dropped": manifest["dropped"],
        "stages": [asdict(report) for report in (*reports, chosen, packed)],
        "elapsed_s": _since(started),
    }


def version_id(dataset: Dataset, samples: pa.Table) -> str:
    """Named by what was chosen and how: not by paths, shard sizes, workers or the clock."""
    how = {
        "dataset": dataset.name,
        "columns": settings(dataset.columns),
        "select": settings(dataset.select),
        "pack": settings(dataset.pack),
        "samples": table_digest(samples),
    }
    return fingerprint(how)


def _commit(
    version: Version,
    source: StoredSource,
    dataset: Dataset,
    selection: Selection,
    reports: list[StageReport],
    packs: dict[str, dict[str, Any]],
) -> None:
    from pipelines.report import write_report  # templates and plots: only when a version is made

    samples = version.location / "samples.parquet"
    write_table(samples, selection.samples)
    files = {"samples.parquet": file_sha256(samples)}
    for name, pack in packs.items():
        files |= file_hashes(version.pack(name), name, pack)
    manifest = {
        "dataset": version.dataset,
        "version": version.version,
        "samples_in": selection.samples.num_rows,
        "kept": pc.sum(selection.samples["kept"]).as_py() or 0,
        "dropped": selection.dropped,
        "selection": selection.account,
        "stages": [{"name": r.name, "fingerprint": r.fingerprint} for r in reports[1:]],
        "source": {"fingerprint": source.fingerprint, "settings": source.manifest()["source"]},
        "recipe": {
            "columns": settings(dataset.columns),
            "select": settings(dataset.select),
            "pack": settings(dataset.pack),
        },
        "packs": {name: {k: pack[k] for k in ("splits", "dropped")} for name, pack in packs.items()},
        "packages": {name: package_version(name) for name in PACKAGES},
    }
    check_accounts(manifest)
    write_report(version, source, manifest, selection.samples)
    files[REPORT] = file_sha256(version.location / REPORT)
    version.commit(manifest | {"files": files})


def dry_run(store: Store, dataset: Dataset) -> dict[str, Any]:
    """What a build would do: each stage and whether its columns are there already."""
    identity = dataset.source.identity()
    source = store.source(fingerprint(identity))
    stages = [{"name": "source", "fingerprint": source.fingerprint, "reused": source.complete}]
    for step in plan(dataset, source.fingerprint):
        complete = store.column_set(step.stage.name, step.fingerprint).complete
        entry = {"name": step.stage.name, "fingerprint": step.fingerprint, "reused": complete}
        stages.append(entry)
    return {"dataset": dataset.name, "dry_run": True, "stages": stages}


def _since(moment: float) -> float:
    return round(time.monotonic() - moment, 3)
