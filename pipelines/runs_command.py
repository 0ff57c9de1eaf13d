"""``mashbill runs``: the training runs of a store, and of one run what it stands on."""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

from pipelines.decision_words import decisions_line
from pipelines.distill import is_run
from store.errors import MashbillError
from store.lineage import lineage, runs_of
from store.runs import RunAt, all_runs, find_run
from store.store import Store, open_store

SHORT = 8
"""Characters of a fingerprint that people are shown."""
ERROR_LETTERS = 60


def run_runs(options: argparse.Namespace) -> None:
    """List runs, or tell all of one."""
    store = open_store(options.store)
    if options.name and is_run(options.name):
        told = detail(store, find_run(store, options.name))
        print(json.dumps(told)) if options.json else _print_detail(told)
        return
    rows = [row(run) for run in (runs_of(store, options.name) if options.name else all_runs(store))]
    rows.sort(key=lambda found: (found["created"] or 0.0, found["run"]))
    print(json.dumps({"runs": rows})) if options.json else _print_rows(rows)


def row(run: RunAt) -> dict[str, Any]:
    """One run in short; ``state`` is ``damaged`` where its files cannot be read, and ``error`` says which."""
    found: dict[str, Any] = {"run": run.id, "folder": run.folder, "state": "damaged", "error": None}
    found |= dict.fromkeys(("dataset", "version", "pack", "step", "steps", "created", "started"))
    found |= {"starts": 0, "triggered_by": None}
    try:
        record, state, starts = run.record(), run.state(), run.starts()
        found |= {name: record[name] for name in ("dataset", "version", "pack", "created", "triggered_by")}
        found |= {"state": run.shown(), "step": state.step, "error": state.error, "starts": len(starts)}
        found["steps"] = state.steps or sum(stage["steps"] for stage in record["run"].get("stages", ()))
        found["started"] = starts[-1]["at"] if starts else None
    except MashbillError as error:
        found["error"] = str(error)
    return found


def detail(store: Store, run: RunAt) -> dict[str, Any]:
    """All of one run: ``row``, what it stands on, and the other runs of the same dataset version."""
    told = row(run) | {"lineage": lineage(store, run)}
    others = [
        other.id
        for other in all_runs(store)
        if other != run and row(other)["version"] == told["version"] and told["version"]
    ]
    return told | {"others_on_this_version": others}


def _print_rows(rows: list[dict[str, Any]]) -> None:
    if not rows:
        print("no runs yet")
        return
    table = [("run", "state", "steps", "dataset", "started", "")]
    table += [
        (
            _short(found["run"]),
            found["state"],
            _steps(found),
            f"{found['dataset']}@{found['version']}" if found["dataset"] else "-",
            _when(found["started"]),
            _cut(found["error"]),
        )
        for found in rows
    ]
    widths = [max(len(line[i]) for line in table) for i in range(len(table[0]))]
    for line in table:
        print("  ".join(f"{text:<{width}}" for text, width in zip(line, widths, strict=True)).rstrip())


def _print_detail(told: dict[str, Any]) -> None:
    made = told["lineage"]
    recipe = made["recipe"]
    sets = "".join(f" --set {assignment}" for assignment in recipe["assignments"])
    by = f"by trigger {told['triggered_by']['trigger']}" if told["triggered_by"] else "by hand"
    print(f"{told['run']}: {told['state']}, step {_steps(told)}")
    if told["error"]:
        print(f"error: {told['error']}")
    print(f"folder: {told['folder']}")
    print(f"recipe: {recipe['reference']}{sets}, asked for {recipe['dataset']}")
    print(f"made:   {_when(told['created'])}, {by}")
    print(f"starts: {told['starts']}, the last {_when(told['started'])}")
    for role, model in made["models"].items():
        print(f"{role}: {model}")
    _print_version(made)
    others = told["others_on_this_version"]
    print(f"other runs on this version: {', '.join(others) or 'none'}")


def _print_version(made: dict[str, Any]) -> None:
    print(f"reads {made['dataset']}@{made['version']}, pack {made['pack']['name']}")
    if not made["there"]:
        print("  that version is no longer in the store")
        return
    source = made["source"]
    print(f"  source     {source['settings']['kind']} {source['fingerprint']}")
    print(f"  samples    {made['kept']} kept of {made['samples_in']}")
    columns = [f"{stage['name']}-{stage['fingerprint']}" for stage in made["stages"]]
    print(f"  columns    {', '.join(columns)}")
    for line in map(decisions_line, made["decisions"]):
        print(f"  decisions  {line}")
    if not made["decisions"]:
        print("  decisions  none by people")
    for name, digest in made["pack"]["files"].items():
        print(f"  {name}  sha256 {digest}")


def _short(run: str) -> str:
    name, _, mark = run.rpartition("/")
    return f"{name}/{mark[:SHORT]}"


def _steps(found: dict[str, Any]) -> str:
    return "-" if found["step"] is None else f"{found['step']}/{found['steps'] or '?'}"


def _when(moment: float | None) -> str:
    """Local time, to the minute."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(moment)) if moment else "-"


def _cut(error: str | None) -> str:
    line = (error or "").partition("\n")[0]
    return line if len(line) <= ERROR_LETTERS else line[: ERROR_LETTERS - 3] + "..."
