"""Chooses where a build runs, and what each of its stages gets there."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

from pipelines.dataset import Dataset
from pipelines.executors import Executor, local_executor
from stages.stage import MapStage, Resources
from store.errors import UsageError
from store.store import Store

OURS = frozenset({"store", "stages", "pipelines", "curation_ui", "distill_runs", "tinyworld"})
"""Packages that every worker has."""

ADDRESS = r"off|local|auto|(https?://)?(\[[0-9a-fA-F:]+\]|[^:/\s]+):\d{1,5}/?"


Grants = dict[str, Resources]
"""What the source and each map stage get, by name."""


@dataclass(frozen=True)
class Place:
    """What the command line says of where to run.

    ``ray`` is ``off``, ``local`` or an address; ``workers`` counts processes of this machine;
    ``resources`` are texts ``STAGE=NAME:AMOUNT,...``; ``apart`` keeps work out of this process.
    """

    ray: str
    workers: int
    resources: tuple[str, ...] = ()
    apart: bool = False

    def __post_init__(self) -> None:
        if not re.fullmatch(ADDRESS, self.ray):
            raise UsageError(
                f"--ray {self.ray}: expected off, local, auto, HOST:PORT, or http://HOST:8265 to run as a job"
            )
        if self.resources and self.ray == "off":
            raise UsageError("--resources counts on a cluster only: give --ray local or an address too")


@contextmanager
def placed(place: Place, store: Store, grants: Grants, recipe: str) -> Iterator[Executor]:
    """The executor of a build, checked before work starts.

    Raises:
        MashbillError: the cluster cannot be used.
    """
    if place.ray == "off":
        yield local_executor(place.workers, place.apart)
        return
    from pipelines.ray_checks import check_answers, check_needs, check_workers
    from pipelines.ray_cluster import carried, joined_cluster, own_cluster
    from pipelines.ray_executor import Ray
    from pipelines.workers import Worker

    own = place.ray == "local"
    if not own:
        check_answers(place.ray)
    cluster = own_cluster(place.workers) if own else joined_cluster(place.ray)
    with cluster, carried(modules_of(recipe)):
        check_needs(grants, place.workers if own else None)
        check_workers(store)
        yield Ray(Worker.like_this(), grants)


def granted(place: Place, dataset: Dataset) -> Grants:
    """What each map stage of a dataset gets: what it declares, changed by ``STAGE=NAME:AMOUNT,...``.

    ``source`` is one, for what reads the source, and ``pack`` where it encodes latents.

    Raises:
        UsageError: no such stage, or an amount that cannot be.
    """
    grants = {s.name: s.resources for s in dataset.columns if isinstance(s, MapStage)}
    grants["source"] = Resources()  # a teacher that makes the images wants a GPU
    if dataset.pack.latents:  # the one kind of packing that a GPU helps
        grants["pack"] = Resources()
    for text in place.resources:
        stage, _, amounts = text.partition("=")
        if stage not in grants:
            raise UsageError(f"--resources {text}: no map stage {stage!r}; there are: {', '.join(grants)}")
        for item in amounts.split(","):
            grants[stage] = _changed(grants[stage], item, text)
    return grants


def _changed(needs: Resources, item: str, text: str) -> Resources:
    name, _, amount = item.partition(":")
    try:
        number = float(amount)
    except ValueError:
        number = -1.0
    if not name or not 0 <= number < float("inf") or (name == "gpu" and number > 1 and number % 1):
        raise UsageError(
            f"--resources {text}: {item!r} is no NAME:AMOUNT, such as cpu:2, gpu:0.5, memory_gb:8 or a "
            "resource of the cluster's own; more than one GPU is a whole number of them"
        )
    if name == "cpu":
        return replace(needs, cpus=number)
    if name == "gpu":
        return replace(needs, gpus=number)
    if name == "memory_gb":
        return replace(needs, memory_gb=number)
    custom = {key: value for key, value in needs.custom if key != name} | {name: number}
    return replace(needs, custom=tuple(sorted((k, v) for k, v in custom.items() if v)))


def modules_of(recipe: str) -> list[ModuleType]:
    """The modules beside a recipe's own file: no worker can import them, so they travel."""
    if ".py:" not in recipe:
        return []
    folder = Path(recipe.rpartition(":")[0]).resolve().parent
    found = []
    for name, module in sorted(sys.modules.items()):
        file = getattr(module, "__file__", None)
        inside = file is not None and folder in Path(file).resolve().parents
        if inside and name.split(".")[0] not in OURS and "site-packages" not in str(file):
            found.append(module)
    return found
