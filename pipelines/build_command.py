"""``mashbill build``: on this machine, on a cluster, or as a job of one."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

import pipelines.recipes
from pipelines.build import build, dry_run
from pipelines.dataset import Dataset
from pipelines.intake import Progress
from pipelines.placement import Place, granted, placed
from pipelines.progress import Watch
from pipelines.ray_jobs import Job, arguments_of, is_jobs_address, run_job
from pipelines.recipe import run_recipe
from pipelines.settings import apply_settings
from pipelines.summary import print_build
from pipelines.trigger_command import after_build
from store.errors import UsageError
from store.store import open_store, planned_store


def run_build(options: argparse.Namespace) -> None:
    """Build, and print what was built."""
    dataset = run_recipe(options.recipe, pipelines.recipes)
    if not isinstance(dataset, Dataset):
        raise UsageError(f"recipe {options.recipe} returned {type(dataset).__name__}, expected a Dataset")
    dataset = apply_settings(dataset, options.settings)
    place = Place(options.ray, options.workers, tuple(options.resources), options.max_failed_shards > 0)
    grants = granted(place, dataset)
    if options.store.startswith("memory://") and options.ray == "off" and options.workers > 1:
        raise UsageError("--store memory:// is seen by one process only: add --workers 1, or name a folder")
    if options.dry_run:
        store = planned_store(options.store)
        result = dry_run(store, dataset)
    elif is_jobs_address(options.ray):
        result = _as_job(options, dataset.name)
        store = open_store(options.store)
    else:
        store = open_store(options.store, create=True)
        with (
            placed(place, store, grants, options.recipe) as executor,
            Watch(store, dataset.name) as watch,
        ):
            progress = watch if options.ray == "off" else _metered(dataset.name, watch)
            result = build(store, dataset, executor, progress, options.max_failed_shards)
    if options.json:
        print(json.dumps(result))
    else:
        print_build(store, result)
    if not options.dry_run:
        after_build(store, options.store, dataset.name, options.ray)


def _metered(dataset: str, progress: Progress) -> Progress:
    from pipelines.ray_metrics import Metered  # it imports ray, which takes a second

    return Metered(dataset, progress)


def _as_job(options: argparse.Namespace, dataset: str) -> dict[str, Any]:
    others = [text for item in options.resources for text in ("--resources", item)]
    others += ["--max-failed-shards", str(options.max_failed_shards)]
    arguments = arguments_of(options.ray, options.settings, options.store, others)
    return run_job(Job(options.ray, dataset, options.recipe, arguments), sys.stderr)
