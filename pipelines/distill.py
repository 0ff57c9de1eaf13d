"""Training runs: prepared as a folder that says what was asked, then started, by hand or from the queue."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, is_dataclass, replace
from typing import Any

from distill_runs.student_name import student_name
from pipelines.recipe import run_recipe
from pipelines.run_packs import packs_for
from pipelines.settings import apply_settings
from store.digest import fingerprint, settings
from store.errors import MashbillError, UsageError
from store.lease import LeaseLost, clear_dead
from store.location import Location
from store.runs import RunAt, RunState, find_run, run_at
from store.store import Store
from store.versions import Version, find_version

NAME = r"[A-Za-z0-9][\w.-]{0,79}(?<!\.json)(?<!\.lease)"
"""Run names: what is safe as a folder on every filesystem, beside our own files."""
NEEDED = {"name": str, "dataset": str, "student": str, "stages": tuple, "steps": int}


@dataclass(frozen=True)
class Prepared:
    """A run that has a folder, and what it takes to start it."""

    run: RunAt
    recipe: Any
    """The frozen value that the recipe returned, its dataset pinned to one version."""
    packs: tuple[Location, ...]
    """One for each stage."""


Training = Callable[[Prepared, bool], dict[str, Any]]
"""Trains a prepared run, with a bar or without; returns the content of ``summary.json``."""


def distill(
    store: Store,
    recipe: str,
    assignments: list[str],
    progress: bool = True,
    queued: bool = False,
    training: Training | None = None,
) -> dict[str, Any]:
    """Train, or find the same run done. Returns its summary, its id and the path of its folder.

    A run is named by the settings that change its result, the content of its student, the dataset version and
    the pack: with the same four it is the same run, and goes on with other settings that change nothing.
    ``recipe`` may be a run, ``NAME/FINGERPRINT``, which then goes on; with ``queued``, only where it waits
    in the queue. ``training``: how, where not in this process.
    """
    if not is_run(recipe):
        if queued:
            raise UsageError(f"--queued is for a run, NAME/ID, and {recipe} is a recipe: leave it out")
        return start(prepare(store, recipe, assignments), progress, queued, training)
    if assignments:
        raise UsageError(f"{recipe} is a run, and its settings are made: leave out --set, or name its recipe")
    run = find_run(store, recipe)
    try:
        prepared = prepared_again(store, run)
    except MashbillError as error:
        if queued:
            _cannot_begin(run, str(error))
        raise
    return start(prepared, progress, queued, training)


def _cannot_begin(run: RunAt, error: str) -> None:
    """Take a run out of the queue that nobody can start."""
    with suppress(MashbillError), run.at_work():  # else somebody has begun, and will say how it ended
        if waits(run):
            run.tell(replace(run.state(), state="failed", error=error))


def is_run(text: str) -> bool:
    """Whether a word names a run rather than a recipe."""
    return "/" in text and ".py:" not in text


def prepare(
    store: Store,
    recipe: str,
    assignments: list[str],
    version: Version | None = None,
    triggered_by: dict[str, Any] | None = None,
) -> Prepared:
    """The run of a recipe: its folder with ``run.json``, made here unless it is there already.

    Args:
        version: read instead of the one the recipe names, of which ``NAME`` and ``NAME@latest`` are the
            newest now.

    Raises:
        UsageError: the recipe or a setting is wrong.
        MashbillError: there is no such dataset version or pack, or the folder holds another run.
    """
    value = run_value(recipe, assignments)
    version = version or find_version(store, value.dataset)
    student = os.path.abspath(value.student) if os.path.isdir(value.student) else value.student
    pinned = replace(value, dataset=f"{version.dataset}@{version.version}", student=student)
    packs = packs_for(version, pinned)
    asked = _asked(pinned, version.version, _named(packs))
    run = run_at(store, pinned.name, _mark(asked))
    record = asked | {
        "name": pinned.name,
        "recipe": {
            "reference": absolute(recipe),
            "assignments": list(assignments),
            "dataset": value.dataset,
        },
        "dataset": version.dataset,
        "created": time.time(),
        "triggered_by": triggered_by,
    }
    if not run.create(record):
        _check_same(run)
    return Prepared(run, pinned, packs)


def prepared_again(store: Store, run: RunAt) -> Prepared:
    """A run that is there, from what its record says was asked.

    Raises:
        MashbillError: its recipe no longer gives this run.
    """
    record = run.record()
    asked, version = record["recipe"], f"{record['dataset']}@{record['version']}"
    pinned = [f"dataset={version}", f"student={record['run']['student']}"]
    value = run_value(asked["reference"], [*asked["assignments"], *pinned])
    now = _asked(value, record["version"], record["pack"])
    if _mark(now) != run.fingerprint:
        before, after = _named_by(record), _named_by(now)
        changed = [name for name in after if before.get(name) != after[name]]
        raise MashbillError(
            f"recipe {asked['reference']} no longer gives run {run.id}: it has another "
            f"{', '.join(changed) or 'pack'}. Restore it, or start what it gives now: mashbill distill "
            f"{asked['reference']}"
        )
    found = find_version(store, version)
    return Prepared(run, value, tuple(map(found.pack, record["pack"].split(","))))


def start(
    prepared: Prepared, progress: bool = True, queued: bool = False, training: Training | None = None
) -> dict[str, Any]:
    """Train here and now, or return what an earlier start made.

    Args:
        queued: only where the run waits in the queue; what the queue starts.

    Raises:
        MashbillError: another process is at work on the run, it does not wait, or the training failed.
    """
    run, training = prepared.run, training or train_here
    if (made := run.summary()) is not None:
        clear_dead(run.location)  # killed between its last word and the end of its lease
        return _summary(run, made, reused=True)
    if int(os.environ.get("RANK", "0")) > 0:  # the first rank holds the lease of all, and tells
        return _summary(run, _told(prepared, progress, training), reused=False)
    with run.at_work() as held:
        if (made := run.summary()) is not None:
            return _summary(run, made, reused=True)
        state = run.state()
        if queued and not waits(run):
            raise MashbillError(
                f"run {run.id} does not wait in the queue: it is {state.state}. "
                f"`mashbill distill {run.id}` starts it by hand."
            )
        steps = prepared.recipe.steps
        run.add_start(state.step, queued)
        run.tell(RunState("running", state.step, steps))
        made = _told(replace(prepared, run=held), progress, training)
        run.tell(RunState("done", max(steps, run.state().step), steps))
    return _summary(run, made, reused=False)


def waits(run: RunAt) -> bool:
    """Whether a run that nobody is at work on is to be started from the queue.

    It was put there and not started since; or it was started from there and died, for the first time or
    after it had come further than at the start before.
    """
    state, starts = run.state(), run.starts()
    if state.state == "queued":
        return state.at > 0  # else it was prepared by hand, and is about to start
    if state.state != "running" or not starts or not starts[-1]["queued"]:
        return False
    return len(starts) == 1 or state.step > starts[-1]["step"]


def _told(prepared: Prepared, progress: bool, training: Training) -> dict[str, Any]:
    """Train, and say how it ended where it did not end well."""
    run = prepared.run
    try:
        return training(prepared, progress)
    except KeyboardInterrupt:
        _end(run, "interrupted", None)
        raise
    except LeaseLost:  # how it goes on is the other's to tell
        raise
    except MashbillError as error:
        _end(run, "failed", str(error))
        raise
    except Exception as error:
        _end(run, "failed", f"{type(error).__name__}: {error}")
        raise


def _end(run: RunAt, state: Any, error: str | None) -> None:
    with suppress(MashbillError, OSError):  # a disk that is full is what the training itself says
        run.tell(replace(run.state(), state=state, error=error))


def train_here(prepared: Prepared, progress: bool) -> dict[str, Any]:
    """Train in this process, one rank of perhaps many. Returns the content of ``summary.json``."""
    from distill_runs.run import train  # imports torch and diffusers: seconds

    packs = [pack.path for pack in prepared.packs]
    return train(prepared.recipe, packs, prepared.run, progress)


def run_value(recipe: str, assignments: list[str]) -> Any:
    """What a run recipe returns, with the assignments applied.

    Raises:
        UsageError: no such recipe, a wrong setting, or what it returns is no run.
    """
    import distill_runs.recipes

    value: Any = run_recipe(recipe, distill_runs.recipes)
    fits = all(isinstance(getattr(value, name, None), kind) for name, kind in NEEDED.items())
    if isinstance(value, type) or not is_dataclass(value) or not fits:
        raise UsageError(
            f"recipe {recipe} returned {type(value).__name__}, expected a run: a frozen dataclass with "
            f"{', '.join(NEEDED)}"
        )
    changed: Any = apply_settings(value, assignments)
    if not re.fullmatch(NAME, changed.name):
        raise UsageError(
            f"recipe {recipe}: name={changed.name!r} cannot name a folder; expected letters, digits, and "
            ". _ - behind the first"
        )
    return changed


def absolute(recipe: str) -> str:
    """A reference to a recipe that holds in every folder."""
    return os.path.abspath(recipe) if ".py:" in recipe else recipe


def _check_same(run: RunAt) -> None:
    record = run.record()
    if _mark(record) != run.fingerprint:
        raise MashbillError(
            f"{run.folder} holds another run than its name says: {run.folder}/run.json was changed or "
            "copied there. Move the folder away, and run the same command again."
        )


def _asked(run: Any, version: str, packs: str) -> dict[str, Any]:
    """What a run is named by, and where its student lies, which names nothing."""
    student = student_name(run.student, run.student_revision)
    return {"run": settings(run), "student": student, "version": version, "pack": packs}


def _named_by(asked: dict[str, Any]) -> dict[str, Any]:
    """The settings in what was asked that name a run."""
    return {n: v for n, v in asked["run"].items() if n != "student_revision"} | {"student": asked["student"]}


def _mark(asked: dict[str, Any]) -> str:
    """The name of the run's folder."""
    return fingerprint({"run": _named_by(asked), "version": asked["version"], "pack": asked["pack"]})


def _named(packs: tuple[Location, ...]) -> str:
    return ",".join(pack.name for pack in packs)


def _summary(run: RunAt, result: dict[str, Any], reused: bool) -> dict[str, Any]:
    return {"run": run.id, "folder": run.folder, "reused": reused} | result
