"""Subscriptions: a new version of a dataset puts the runs that read it into the queue, once each.

::

    triggers/<name>.json             what is to be run, and the versions that were there before it
    triggers/<name>/<version>.json   that a version was answered: by which run, or why by none

Everything here may be done by many at once, and be killed anywhere: a run and its place in the queue are
created only where there is none, and a version is answered last.
"""

from __future__ import annotations

import re
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, fields, replace
from multiprocessing import get_context
from typing import TypeVar

from pipelines.distill import absolute, prepare, run_value
from store.errors import MashbillError, UsageError
from store.location import Location
from store.runs import find_run
from store.store import Store, open_store
from store.versions import LATEST, NAME, Version, find_version, list_versions, version_at


@dataclass(frozen=True)
class Subscription:
    """A run recipe that is started for every new version of its dataset."""

    name: str
    recipe: str
    assignments: tuple[str, ...]
    dataset: str
    seen: tuple[str, ...]
    """Versions that start nothing: those that were there when this was added."""
    created: float
    """Seconds since 1970."""


@dataclass(frozen=True)
class Answer:
    """What a new version led to: ``run`` is None where none could be made, and ``error`` says why."""

    trigger: str
    version: str
    run: str | None
    error: str | None


Loaded = TypeVar("Loaded", Subscription, Answer)


def add(store: Store, recipe: str, assignments: list[str], now: bool) -> tuple[Subscription, bool]:
    """Subscribe a recipe; also whether it is new. With ``now`` the newest version is run as well.

    Raises:
        UsageError: the recipe is wrong, reads a fixed version, or another has taken its name.
    """
    _check_local(store)
    value = run_value(recipe, assignments)
    dataset, _, version = value.dataset.partition("@")
    dataset = dataset.replace("_", "-")
    if version not in ("", LATEST) or not re.fullmatch(NAME, dataset):
        raise UsageError(
            f"recipe {recipe} reads {value.dataset!r}, which no new version replaces. Give it "
            f"--set dataset={dataset}@{LATEST}, or start it once: mashbill distill {recipe}"
        )
    seen = set(list_versions(store, dataset))
    if now and seen:
        seen.discard(find_version(store, dataset).version)
    made = Subscription(
        value.name, absolute(recipe), tuple(assignments), dataset, tuple(sorted(seen)), time.time()
    )
    if _place(store, made.name).create_json(asdict(made)):
        return made, True
    there = _subscription(_place(store, made.name))
    if replace(there, seen=made.seen, created=made.created) != made:
        raise UsageError(
            f"there is a trigger {made.name!r} already, of {there.recipe} {' '.join(there.assignments)}. "
            f"Remove it (mashbill trigger remove {made.name}), or add this one with --set name=ANOTHER"
        )
    return there, False


def remove(store: Store, name: str) -> Subscription:
    """End a subscription; its runs stay.

    Raises:
        MashbillError: there is no such trigger; lists those there are.
    """
    found = subscriptions(store)
    for subscription in found:
        if subscription.name == name.replace("_", "-") or subscription.name == name:
            _place(store, subscription.name).remove()
            _answers(store, subscription.name).remove()
            return subscription
    there = ", ".join(subscription.name for subscription in found) or "none"
    raise MashbillError(f"no trigger {name!r} in {store.url}; there are: {there}")


def subscriptions(store: Store) -> list[Subscription]:
    """All of a store, by name.

    Raises:
        MashbillError: the file of one is damaged.
    """
    if not store.root.local:
        return []
    folder = store.root / "triggers"
    return [_subscription(folder / name) for name in folder.names() if name.endswith(".json")]


def answers(store: Store, subscription: Subscription) -> list[Answer]:
    """What each new version led to so far, by version."""
    folder = _answers(store, subscription.name)
    return [_loaded(folder / name, Answer) for name in folder.names() if name.endswith(".json")]


def unanswered(store: Store) -> list[tuple[Subscription, Version]]:
    """Each subscription with each version that is new to it."""
    found = []
    for subscription in subscriptions(store):
        known = {*subscription.seen, *(answer.version for answer in answers(store, subscription))}
        versions = list_versions(store, subscription.dataset)
        found += [
            (subscription, version_at(store, subscription.dataset, v)) for v in versions if v not in known
        ]
    return found


def look(store: Store) -> list[Answer]:
    """Queue the run of every version that is new; returns what was answered just now."""
    return [_answer(store, subscription, version) for subscription, version in unanswered(store)]


def look_afresh(store: Store) -> list[Answer]:
    """``look`` in a new process: one that has been there for days has old recipes in memory.

    Raises:
        MashbillError: that process died.
    """
    if not unanswered(store):
        return []
    try:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as fresh:
            return fresh.submit(_look_at, store.url).result()
    except BrokenProcessPool as error:
        raise MashbillError(
            f"the process that looks for new versions in {store.url} was ended from outside, perhaps for "
            "want of memory. The next look tries again."
        ) from error


def _look_at(url: str) -> list[Answer]:
    return look(open_store(url))


def _answer(store: Store, subscription: Subscription, version: Version) -> Answer:
    try:
        by = {"trigger": subscription.name, "version": version.version}
        prepared = prepare(store, subscription.recipe, list(subscription.assignments), version, by)
        prepared.run.queue(prepared.recipe.steps)
        answer = Answer(subscription.name, version.version, prepared.run.id, None)
    except MashbillError as error:
        answer = Answer(subscription.name, version.version, None, str(error))
    (_answers(store, subscription.name) / f"{version.version}.json").create_json(asdict(answer))
    return answer


def retry(store: Store, name: str) -> str:
    """Queue a run again that ended without being done; or look again at a version, ``TRIGGER@VERSION``,
    of which no run could be made. Returns the run's id.

    Raises:
        MashbillError: no such run or version, it is done, or somebody is at work on it.
    """
    if "@" in name:
        return _retry_version(store, name)
    run = find_run(store, name)
    with run.at_work():
        state = run.state()
        if state.state == "done":
            raise MashbillError(f"run {run.id} is done; `mashbill runs {run.id}` shows it")
        run.tell(replace(state, state="queued", error=None))
    return run.id


def _retry_version(store: Store, name: str) -> str:
    trigger, _, version = name.partition("@")
    for subscription in subscriptions(store):
        for answer in answers(store, subscription):
            if (answer.trigger, answer.version) == (trigger, version) and answer.error:
                (_answers(store, trigger) / f"{version}.json").remove()
                new = _answer(store, subscription, version_at(store, subscription.dataset, version))
                if new.run is None:
                    raise MashbillError(str(new.error))
                return new.run
    raise MashbillError(f"no version {name!r} failed to become a run; `mashbill trigger list` shows them")


def _check_local(store: Store) -> None:
    if not store.root.local:
        raise MashbillError(f"runs, and so triggers, need a store on a local disk; this one is {store.url}")


def _place(store: Store, name: str) -> Location:
    return store.root / "triggers" / f"{name}.json"


def _answers(store: Store, name: str) -> Location:
    return store.root / "triggers" / name


def _subscription(file: Location) -> Subscription:
    found = _loaded(file, Subscription)
    return replace(found, assignments=tuple(found.assignments), seen=tuple(found.seen))


def _loaded(file: Location, kind: type[Loaded]) -> Loaded:
    found = file.read_json()
    names = {field.name for field in fields(kind)}
    if not isinstance(found, dict) or set(found) != names:
        raise MashbillError(
            f"{file.url} is not as mashbill wrote it (expected {', '.join(sorted(names))}). Restore it, or "
            "remove it: a trigger is then to be added again, a version is looked at again."
        )
    return kind(**found)
