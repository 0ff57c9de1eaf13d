"""Which runs read a dataset version, and what a run stands on: from the files of both, both ways."""

from __future__ import annotations

from typing import Any

from store.errors import MashbillError
from store.runs import RunAt, all_runs
from store.store import Store
from store.versions import find_version, version_at


def runs_of(store: Store, name: str) -> list[RunAt]:
    """The runs that read ``NAME@VERSION``, or any version of ``NAME``; and those whose record cannot be
    read, since nobody knows what they read.

    Raises:
        MashbillError: no such dataset version.
    """
    wanted = "@" in name
    known = find_version(store, name)
    runs = [(run, _read(run)) for run in all_runs(store)]
    wants = {(known.dataset, known.version)} if wanted else {(known.dataset, v) for _, (_, v) in runs}
    return [run for run, read in runs if read in wants or read == UNKNOWN]


UNKNOWN = ("", "")


def _read(run: RunAt) -> tuple[str, str]:
    """Dataset and version that a run reads."""
    try:
        record = run.record()
    except MashbillError:
        return UNKNOWN
    return record["dataset"], record["version"]


def lineage(store: Store, run: RunAt) -> dict[str, Any]:
    """What made a run: its recipe and models, and of the dataset version it read the source, the column
    sets, the rules, the human decisions and the hashes of the pack's files.

    ``there`` is False where that version is no longer in the store; then its parts are left out.
    """
    record = run.record()
    settings = record["run"]
    found: dict[str, Any] = {
        "run": run.id,
        "recipe": record["recipe"],
        "models": _models(settings),
        "dataset": record["dataset"],
        "version": record["version"],
        "pack": {"name": record["pack"]},
        "triggered_by": record["triggered_by"],
    }
    version = version_at(store, record["dataset"], record["version"])
    if not version.complete:
        return found | {"there": False}
    manifest = version.manifest()
    packs = tuple(f"packs/{name}/" for name in record["pack"].split(","))
    found["pack"]["files"] = {n: hash for n, hash in manifest["files"].items() if n.startswith(packs)}
    parts = {name: manifest[name] for name in ("source", "stages", "samples_in", "kept", "dropped")}
    made = {"dataset_recipe": manifest["recipe"], "decisions": manifest.get("decisions", [])}
    return found | {"there": True} | parts | made


def _models(settings: dict[str, Any]) -> dict[str, str]:
    """The models a run stands on, by role: its student, and its method's teacher where it has one."""
    said = {"student": settings.get("student"), "teacher": settings.get("method", {}).get("teacher")}
    return {role: model for role, model in said.items() if model}
