"""The options of ``mashbill plan``, and what it prints."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipelines.cost import Estimate
    from pipelines.dataset import Dataset
    from pipelines.source_size import Told

BANDWIDTH = 100.0


def plan_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("recipe", help="l-orig, l-pp, ... or path/to/file.py:function")
    command.add_argument(
        "--set", dest="settings", action="append", default=[], metavar="PATH=VALUE", help="change one field"
    )
    size = command.add_argument_group("the source (what is not given is measured there, or assumed)")
    size.add_argument("--samples", type=float, metavar="N", help="rows; the source need not exist then")
    size.add_argument(
        "--arriving", type=float, metavar="SHARE", help="of the rows, those whose image arrives"
    )
    size.add_argument("--kept", type=float, metavar="SHARE", help="of the images, how many the rules keep")
    size.add_argument("--image-bytes", type=float, metavar="B", help="mean size of an image file")
    size.add_argument("--image-pixels", type=float, metavar="P", help="mean width x height")
    cluster = command.add_argument_group("the cluster")
    cluster.add_argument("--cpus", type=int, default=os.cpu_count() or 1, help="CPUs (those of this machine)")
    cluster.add_argument("--gpus", type=float, default=0.0, help="GPUs (0)")
    cluster.add_argument(
        "--bandwidth",
        type=float,
        default=BANDWIDTH,
        metavar="MB_PER_S",
        help=f"10^6 bytes a second from the network, all together ({BANDWIDTH:g})",
    )
    command.add_argument("--costs", type=Path, metavar="FILE", help="unit costs of another machine")
    command.add_argument("--json", action="store_true", help="one JSON object on stdout")


def run_plan(options: argparse.Namespace) -> None:
    """Estimate and print.

    Raises:
        UsageError: the recipe, a number or the file of costs is wrong.
        MashbillError: the source is not there.
    """
    import pipelines.recipes
    from pipelines.cost import Cluster, estimate
    from pipelines.cost_units import BUILT_IN, read_units
    from pipelines.dataset import Dataset
    from pipelines.recipe import run_recipe
    from pipelines.settings import apply_settings
    from pipelines.source_size import Told, size_of
    from store.errors import UsageError

    dataset = run_recipe(options.recipe, pipelines.recipes)
    if not isinstance(dataset, Dataset):
        raise UsageError(f"recipe {options.recipe} returned {type(dataset).__name__}, expected a Dataset")
    dataset = apply_settings(dataset, options.settings)
    cluster = Cluster(options.cpus, options.gpus, options.bandwidth)
    told = Told(options.samples, options.arriving, options.kept, options.image_bytes, options.image_pixels)
    units = read_units(options.costs or BUILT_IN)
    size = size_of(dataset.source, told)
    found = estimate(dataset, size, cluster, units, _there(options.store, dataset, told))
    print(json.dumps(found.to_json())) if options.json else print_estimate(found)


def _there(store: str, dataset: Dataset, told: Told) -> frozenset[str]:
    """The stages whose columns the store has; none for a source that is only imagined."""
    from pipelines.build import dry_run
    from store.store import planned_store

    if told.samples is not None:
        return frozenset()
    planned = planned_store(store)
    if not (planned.root / "store.json").exists():
        return frozenset()
    stages = dry_run(planned, dataset)["stages"]
    return frozenset(stage["name"] for stage in stages if stage["reused"])


def print_estimate(found: Estimate) -> None:
    """A table of the parts, the sums, and what is not known."""
    size, cluster = found.size, found.cluster
    print(
        f"{found.dataset}: {size.samples:,.0f} samples, {size.images:,.0f} images of "
        f"{bytes_words(size.image_bytes)} and {size.image_pixels / 1e6:.2f} megapixels, "
        f"{size.kept:,.0f} packed"
    )
    gpus = f", {cluster.gpus:g} GPUs" if cluster.gpus else ""
    print(f"on {cluster.cpus:,} CPUs{gpus}, {cluster.bandwidth:g} MB/s; costs of {_machine(found.machine)}\n")
    width = max(len(part.name) for part in found.parts)
    heads = ("CPU", "read", "written", "memory", "wall")
    print(f"  {'':<{width}}" + "".join(f"{head:>11}" for head in heads))
    for part in found.parts:
        cells = [_cpu(part.cpu_s), *map(bytes_words, (part.read, part.written, part.memory))]
        note = "" if part.measured else "  not measured"
        alone = "  one CPU" if part.serial else ""
        cells.append(_seconds(part.wall_s))
        print(f"  {part.name:<{width}}" + "".join(f"{cell:>11}" for cell in cells) + (note or alone))
    print(
        f"\nCPU-hours {found.total('cpu_s') / 3600:,.2f}, GPU-hours {found.total('gpu_s') / 3600:,.2f}, "
        f"read {bytes_words(found.total('read'))}, written {bytes_words(found.total('written'))}, "
        f"largest process {bytes_words(found.memory)}, wall {_seconds(found.total('wall_s'))}"
    )
    for name in found.not_measured:
        print(f"not measured: {name} (only its images and files are counted)")
    if found.not_measured:
        print(
            f"measure them with your models: python -m benchmarks.recipe_costs {found.dataset} FILE --set ..."
        )
    for text in size.assumed:
        print(f"assumed: {text}")


def _machine(machine: dict[str, Any]) -> str:
    return f"{machine.get('cpu', 'an unnamed machine')} ({machine.get('date', 'no date')})"


def bytes_words(count: float) -> str:
    """Decimal units; nothing for nothing."""
    for unit, large in (("PB", 1e15), ("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= large:
            return f"{count / large:.1f} {unit}"
    return f"{count:.0f} B" if count else ""


def _cpu(seconds: float) -> str:
    return f"{seconds / 3600:,.1f} h" if seconds >= 3600 else _seconds(seconds)


def _seconds(seconds: float) -> str:
    for unit, large in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * large:
            return f"{seconds / large:,.1f} {unit}"
    return f"{seconds:.1f} s" if seconds else ""
