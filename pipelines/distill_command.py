"""``mashbill distill``: trains here, or on the ranks of a Ray cluster."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from pipelines.distill import Training, distill, train_here
from store.errors import UsageError
from store.store import open_store


def run_distill(options: argparse.Namespace) -> None:
    """Train, and print the run's summary."""
    progress = sys.stderr.isatty()
    store, training = open_store(options.store), _training(options)
    result = distill(store, options.recipe, options.settings, progress, options.queued, training)
    if options.json:
        print(json.dumps(result))
    else:
        _print(result)


def _print(result: dict[str, Any]) -> None:
    """What people want to know first; the rest is in ``summary.json``."""
    again = " (made by an earlier start)" if result["reused"] else ""
    print(f"run {result['run']}{again}: {result['steps']} steps, {result['samples_seen']} samples")
    for name, found in result["losses"].items():
        print(f"  {name:<18} {found['first']:.4g} at first, {found['last']:.4g} at last")
    left_out = {n: result[n] for n in ("bad_updates", "skipped_samples") if result[n]}
    for name, count in left_out.items():
        print(f"  {name.replace('_', ' '):<18} {count}")
    print(f"  {'saved':<18} {result['saved']}: {result['folder']}/model")
    print(f"  {'look at':<18} {result['folder']}/samples.png, curves.png, samples_over_time.png")


def _training(options: argparse.Namespace) -> Training:
    """In this process, or on the ranks of a Ray cluster."""
    if options.ray == "off":
        if options.gpus:
            raise UsageError("--gpus is for --ray; without it a GPU is taken where there is one")
        if options.ranks > 1:
            raise UsageError(
                f"--ranks {options.ranks} is for --ray; on one machine run torchrun --nproc-per-node "
                f"{options.ranks} -m pipelines distill ..."
            )
        return train_here
    if "://" in options.ray:
        raise UsageError(
            f"--ray {options.ray}: a run becomes a job by a trigger (`mashbill trigger add`, then build with "
            "this --ray); here give local, auto or HOST:PORT"
        )
    from pipelines.ray_train import OnRay  # it imports ray, which takes seconds

    return OnRay(options.ray, options.ranks, options.gpus).train
