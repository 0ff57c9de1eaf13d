"""What a build will cost, from measured unit costs: CPU- and GPU-hours, bytes, memory and wall time.

Every part of the work is a line: so much for each shard, row, image, byte and pixel (``cost_units``).
What grows faster than its rows is not in it, nor are disks that are slower than the processors.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from math import ceil, inf
from typing import Any

from pipelines.cost_units import VIEWS, Amount, CostUnits, read_units
from pipelines.dataset import Dataset
from pipelines.pack_sizes import assumed_captions, bytes_of_sample
from pipelines.planner import Step, passes, plan
from stages.pack.pack import pack_name
from stages.source.metadata import Metadata
from stages.stage import MapStage, Reduction, Source, View
from store.errors import UsageError

ROWS_A_SHARD = 1000
TAR_BYTES = 2048
"""Headers and padding of an image and its caption in a tar."""
SIDECAR_BYTES = 2560
"""Caption and fields of one sample in a pack, with their headers and padding."""
WAITED_S, DEAD_S = 0.5, 3.0
"""Assumed of the network: seconds in which a thread waits for an image, and for a dead URL (some say so
at once, others use up the patience of 10 s)."""
WORKER_BYTES = 250e6
"""What a process holds that runs a pass or packs."""


@dataclass(frozen=True)
class Size:
    """A source: samples, the images that arrive, and what one is like. ``kept`` images are packed.

    ``image_bytes`` and ``image_pixels`` are means. ``assumed`` says which of these nobody measured.
    """

    samples: float
    images: float
    kept: float
    image_bytes: float
    image_pixels: float
    shards: int
    assumed: tuple[str, ...] = ()

    def amount(self) -> Amount:
        pixels = self.images * self.image_pixels
        return Amount(self.shards, self.samples, self.images, self.images * self.image_bytes, pixels)


@dataclass(frozen=True)
class Cluster:
    """CPUs like the measured one, GPUs, and MB (10^6 bytes) a second from the network, all together."""

    cpus: int = 1
    gpus: float = 0.0
    bandwidth: float = 100.0

    def __post_init__(self) -> None:
        if not (self.cpus >= 1 and 0 <= self.gpus < inf and 0 < self.bandwidth < inf):
            raise UsageError(
                f"cluster of {self.cpus} cpus, {self.gpus} gpus, {self.bandwidth} MB/s: expected 1 cpu or "
                "more, 0 gpus or more, and a bandwidth above 0"
            )


@dataclass(frozen=True)
class Part:
    """One part of the work. ``memory`` is that of the one process that does it, where it grows with the
    rows; ``serial``: only one CPU can do it."""

    name: str
    cpu_s: float = 0.0
    gpu_s: float = 0.0
    read: float = 0.0
    written: float = 0.0
    memory: float = 0.0
    wall_s: float = 0.0
    serial: bool = False
    measured: bool = True


@dataclass(frozen=True)
class Estimate:
    """What a build costs, part by part in its order."""

    dataset: str
    size: Size
    cluster: Cluster
    machine: dict[str, Any]
    parts: tuple[Part, ...]

    def total(self, what: str) -> float:
        """The sum of one field over all parts."""
        return float(sum(getattr(part, what) for part in self.parts))

    @property
    def memory(self) -> float:
        """Bytes of the largest process."""
        return max([WORKER_BYTES, *(part.memory for part in self.parts)])

    @property
    def not_measured(self) -> list[str]:
        return [part.name for part in self.parts if not part.measured]

    def to_json(self) -> dict[str, Any]:
        size = {name: value for name, value in asdict(self.size).items() if name != "assumed"}
        return {
            "dataset": self.dataset,
            "size": size,
            "assumed": list(self.size.assumed),
            "cluster": asdict(self.cluster),
            "measured_on": self.machine,
            "parts": [asdict(part) for part in self.parts],
            "cpu_hours": self.total("cpu_s") / 3600,
            "gpu_hours": self.total("gpu_s") / 3600,
            "bytes_read": self.total("read"),
            "bytes_written": self.total("written"),
            "peak_memory": self.memory,
            "wall_s": self.total("wall_s"),
            "not_measured": self.not_measured,
        }


def estimate(
    dataset: Dataset,
    size: Size,
    cluster: Cluster,
    units: CostUnits | None = None,
    there: frozenset[str] = frozenset(),
) -> Estimate:
    """What a build of ``dataset`` from a source of ``size`` costs on ``cluster``.

    ``there``: names of stages whose columns the store has already ("source" too); they cost nothing.

    Raises:
        UsageError: the recipe is wrong, or a stage holds a GPU and the cluster has none.
    """
    units = units or read_units()
    parts = [_start(units), *_source(dataset, size, cluster, units, "source" in there)]
    for group in passes(plan(dataset, "planned"), lambda name, declared: declared):
        absent = [step for step in group if step.stage.name not in there]
        parts += _columns(absent, size, cluster, units)
    parts += [*_selection(dataset, size, units), *_packs(dataset, size, cluster, units)]
    return Estimate(dataset.name, size, cluster, units.machine, tuple(parts))


def _start(units: CostUnits) -> Part:
    once = units.costs["start"].once
    return Part("start and report", cpu_s=once, wall_s=once, serial=True)


def _source(dataset: Dataset, size: Size, cluster: Cluster, units: CostUnits, there: bool) -> Iterator[Part]:
    if there:
        return
    source, amount, cost = dataset.source, size.amount(), units.of(dataset.source)
    copied = type(source).tar_in_place is Source.tar_in_place
    written = size.images * (size.image_bytes + TAR_BYTES) if copied else 0.0
    name = "reading the source"
    least = 0.0
    if isinstance(source, Metadata):
        name = "downloading"
        dead, rounds = size.samples - size.images, source.fetch.attempts
        # each round of a shard starts the downloader again; with dead URLs there are always as many
        amount = replace(amount, shards=amount.shards * (rounds if dead else 1))
        waited = (size.images * WAITED_S + dead * DEAD_S * rounds) / source.fetch.threads
        least = max(waited / min(cluster.cpus, size.shards), amount.bytes / (cluster.bandwidth * 1e6))
    if cost is None:
        yield Part(f"source {source.kind}", read=amount.bytes, written=written, measured=False)
    else:
        cpu_s, written = cost.cpu_s(amount), written + cost.row_bytes * amount.rows
        wall_s = max(_shared(cpu_s, cluster, size), least)
        yield Part(name, cpu_s, read=amount.bytes, written=written, wall_s=wall_s)
    complete = units.costs["complete"]
    cpu_s, memory = complete.cpu_s(size.amount()), complete.row_memory * size.samples
    yield Part("completing the source", cpu_s, memory=memory, wall_s=cpu_s, serial=True)


def _shared(cpu_s: float, cluster: Cluster, size: Size) -> float:
    """Seconds when all CPUs share the work; there are no more units of it than shards."""
    return cpu_s / min(cluster.cpus, size.shards)


def _columns(steps: list[Step], size: Size, cluster: Cluster, units: CostUnits) -> Iterator[Part]:
    """The parts of one pass, or of one reduction."""
    for step in steps:
        if isinstance(step.stage, Reduction):
            yield _reduction(step.stage, step, size, units)
    maps = [step.stage for step in steps if isinstance(step.stage, MapStage)]
    if not maps:
        return
    amount, seen = size.amount(), {stage.view for stage in maps} - {View.NONE}
    if View.FULL in seen:
        seen |= {View.HEADER}  # asked first, so that decoded images fit in memory
    cpu_s = units.costs["pass"].cpu_s(amount) + len(maps) * units.costs["commit"].cpu_s(amount)
    cpu_s += sum(units.costs[VIEWS[view]].cpu_s(amount) for view in seen)
    read = amount.bytes if seen else 0.0
    views = ", ".join(view.name.lower() for view in sorted(seen)) or "columns only"
    yield Part(f"reading for a pass: {views}", cpu_s, read=read, wall_s=_shared(cpu_s, cluster, size))
    for stage in maps:
        yield _map(stage, size, cluster, units)


def _map(stage: MapStage, size: Size, cluster: Cluster, units: CostUnits) -> Part:
    amount, needs, cost = size.amount(), stage.resources, units.of(stage)
    if needs.gpus > cluster.gpus:
        raise UsageError(
            f"stage {stage.name} holds {needs.gpus:g} of a GPU, and the cluster has {cluster.gpus:g}; "
            "give --gpus"
        )
    if cost is None:
        return Part(stage.name, measured=False)
    gpu_s = cost.gpu * amount.images
    wall_s = _shared(cost.cpu_s(amount), cluster, size) + (gpu_s / cluster.gpus if gpu_s else 0.0)
    measured = bool(cost.gpu) or needs.gpus == 0
    return Part(
        stage.name, cost.cpu_s(amount), gpu_s, written=cost.written(amount), wall_s=wall_s, measured=measured
    )


def _reduction(stage: Reduction, step: Step, size: Size, units: CostUnits) -> Part:
    amount, cost = size.amount(), units.of(stage)
    inputs = {writer.fingerprint: writer.stage for writer in step.reads.values() if writer}
    known = [units.of(writer) for writer in inputs.values()]
    read = sum(writer.row_bytes * size.samples for writer in known if writer)
    if cost is None:
        return Part(stage.name, read=read, serial=True, measured=False)
    commits = units.costs["commit"].cpu_s(amount)
    cpu_s, memory = cost.cpu_s(amount) + commits, cost.row_memory * size.samples
    return Part(stage.name, cpu_s, 0.0, read, cost.written(amount), memory, cpu_s, serial=True)


def _selection(dataset: Dataset, size: Size, units: CostUnits) -> Iterator[Part]:
    """The table of all samples, which every column goes into, and the rules over it."""
    amount, work = size.amount(), units.costs["select"]
    stages = [units.of(stage) for stage in dataset.columns]
    read = sum(cost.row_bytes * size.samples for cost in stages if cost)
    cpu_s, memory = work.cpu_s(amount), work.row_memory * size.samples
    yield Part("selecting", cpu_s, 0.0, read, work.written(amount), memory, cpu_s, serial=True)
    for rule in dataset.select:
        cost = units.of(rule)
        seconds = cost.cpu_s(amount) if cost else 0.0
        yield Part(rule.name, seconds, wall_s=seconds, serial=True, measured=cost is not None)


def _packs(dataset: Dataset, size: Size, cluster: Cluster, units: CostUnits) -> Iterator[Part]:
    if not (dataset.pack.resolutions and size.kept):
        return
    listing, full, around = (units.costs[name] for name in ("pack row", VIEWS[View.FULL], "pack shard"))
    encode = units.costs["pack image"]
    rows = Amount(rows=size.kept)
    seconds, memory = listing.cpu_s(rows), listing.row_memory * size.kept
    yield Part("listing what is packed", seconds, memory=memory, wall_s=seconds, serial=True)
    for resolution in dataset.pack.resolutions:
        shards = ceil(size.kept / dataset.pack.samples_per_shard)
        here = Amount(
            shards, size.kept, size.kept, size.kept * size.image_bytes, size.kept * size.image_pixels
        )
        pixels = size.kept * (resolution**2 if resolution else size.image_pixels)
        written = replace(here, pixels=pixels)
        cpu_s = full.cpu_s(here) + encode.cpu_s(written) + around.cpu_s(here)
        out = encode.written(written) + size.kept * SIDECAR_BYTES
        wall_s = cpu_s / min(cluster.cpus, shards)
        yield Part(f"packing {pack_name(resolution)}", cpu_s, 0.0, here.bytes, out, wall_s=wall_s)
        yield from _arrays(dataset, resolution, size.kept)


def _arrays(dataset: Dataset, resolution: int, kept: float) -> Iterator[Part]:
    """What a pack's arrays take, from their shapes; the time depends on the models, and is not known."""
    captions = assumed_captions(dataset)
    one = bytes_of_sample(dataset.pack, (resolution, resolution), captions)
    if one.latents:
        yield Part(f"latents {pack_name(resolution)}", written=kept * one.latents, measured=False)
    if one.text:
        most = ", at most" if one.at_most else ""
        name = f"text encodings {pack_name(resolution)} of {captions} captions a sample{most}"
        yield Part(name, written=kept * one.text, measured=False)
