"""``mashbill trigger``: what runs by itself when a dataset has a new version."""

from __future__ import annotations

import argparse
import json
import sys
import threading
from contextlib import ExitStack
from dataclasses import asdict

from pipelines.ray_jobs import RunJob, arguments_of, is_jobs_address, submit
from pipelines.run_queue import Queue, waiting
from pipelines.trigger import Answer, add, answers, look, look_afresh, remove, retry, subscriptions
from pipelines.webhook import listening
from store.errors import MashbillError, UsageError
from store.store import Store, open_store


def run_trigger(options: argparse.Namespace) -> None:
    """Add, remove, list or retry; or watch and listen.

    Raises:
        UsageError: nothing was asked for, or things that do not go together.
    """
    store = open_store(options.store)
    if options.action:
        {"add": _add, "remove": _remove, "list": _list, "retry": _retry}[options.action](store, options)
    elif options.watch or options.listen or options.once:
        _watch(store, options)
    else:
        raise UsageError("trigger: say add, remove, list or retry, or give --watch or --listen")


def _add(store: Store, options: argparse.Namespace) -> None:
    made, new = add(store, options.recipe, options.settings, options.now)
    print(f"{made.name}: {'runs' if new else 'is there already, and runs'} for every new {made.dataset}")
    for answer in look(store) if options.now else []:
        _say(_told(answer))


def _remove(store: Store, options: argparse.Namespace) -> None:
    print(f"removed trigger {remove(store, options.name).name}; its runs stay")


def _list(store: Store, options: argparse.Namespace) -> None:
    found = [(one, answers(store, one)) for one in subscriptions(store)]
    if options.json:
        print(json.dumps({"triggers": [asdict(one) | {"answers": [*map(asdict, a)]} for one, a in found]}))
        return
    if not found:
        print("no triggers yet")
    for one, answered in found:
        sets = "".join(f" --set {assignment}" for assignment in one.assignments)
        print(f"{one.name}: {one.recipe}{sets}, for every new version of {one.dataset}")
        for answer in answered:
            print(f"  {one.dataset}@{answer.version}  {answer.run or f'no run: {answer.error}'}")


def _retry(store: Store, options: argparse.Namespace) -> None:
    print(f"{retry(store, options.name)} waits in the queue; `mashbill trigger --watch` starts it")


def _watch(store: Store, options: argparse.Namespace) -> None:
    queue, wake = Queue(store, options.slots, _say), threading.Event()

    def look_now() -> list[Answer]:
        answered = look_afresh(store)
        for answer in answered:
            _say(_told(answer))
        return answered

    def heard() -> list[Answer]:
        answered = look_now()
        wake.set()
        return answered

    polled = look_now if options.watch or options.once else list[Answer]
    with ExitStack() as stack:
        if options.listen:
            url = stack.enter_context(listening(store, options.listen, heard))
            look_now()
            _say(f"listening at {url}: POST /versions")
        queue.work(polled, wake, options.once)
    if queue.failed:
        raise MashbillError(f"not done: {', '.join(queue.failed)}. `mashbill runs` says why")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _told(answer: Answer) -> str:
    if answer.run:
        return f"trigger {answer.trigger}: {answer.run} for version {answer.version}"
    return (
        f"trigger {answer.trigger}: no run for version {answer.version}: {answer.error} "
        f"`mashbill trigger retry {answer.trigger}@{answer.version}` tries again"
    )


def after_build(store: Store, url: str, dataset: str, ray: str) -> None:
    """Queue the runs of a version that was just built, and say so; on a cluster's Jobs API start them too.

    What is wrong with a trigger is said and fails no build.
    """
    try:
        if not subscriptions(store):
            return
        answered = look(store)
        for answer in answered:
            _say(_told(answer))
        if is_jobs_address(ray):
            for run in waiting(store, _say):
                submit(RunJob(ray, run.id, arguments_of(ray, [], url, [])), sys.stderr)
        elif any(answer.run for answer in answered):
            _say(f"`mashbill trigger --watch --store {store.url}` starts what is queued")
    except MashbillError as error:
        _say(f"{dataset} is built, but its triggers could not be served: {error}")
