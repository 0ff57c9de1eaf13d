"""What a training run knows of a pack before it reads a sample: its index, and whether it fits the run."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from distill_runs.buckets import nearest_bucket, run_buckets
from distill_runs.pack_arrays import check_arrays
from store.aspects import Size
from store.digest import file_sha256
from store.errors import MashbillError, UsageError
from store.location import Location

CAPTIONS = ("first", "random")


@dataclass(frozen=True)
class Data:
    """What of a pack a run reads, and how."""

    split: str = "train"
    resolution: int = 512
    """Pixels of the shorter side; with buckets, of a side of a square of their area."""
    batch_size: int = 16
    """Samples per rank and batch."""
    captions: str = "first"
    """``first`` the caption of the dataset; ``random`` any of a sample's captions at each visit: without
    recaptioning the caption and the one that the sample came with."""
    flip: float = 0.0
    """Share of visits that are mirrored; never where a caption speaks of sides or of writing."""
    latents: bool = False
    """Read the pack's latents instead of its pixels."""
    text: bool = False
    """Read the pack's text encodings instead of encoding its captions."""
    extras: tuple[str, ...] = ()
    """Captured arrays to read too, by name: ``noise``, ``latents``, ``trajectory``."""
    trajectory_times: tuple[float, ...] = ()
    """At which times the trajectory has to be, as the generator's scheduler counts them. Empty: at any."""
    buckets: tuple[Size, ...] = ()
    """Sizes ``(width, height)``; each image is read at the one nearest to its aspect. Empty: the pack's
    only size, scaled to ``resolution``."""
    max_skipped: int = field(default=0, compare=False)
    """Broken samples that each rank may leave out, counted, before it stops."""

    def __post_init__(self) -> None:
        for name in ("resolution", "batch_size"):
            if getattr(self, name) < 1:
                _refuse(name, getattr(self, name), "a whole number of at least 1")
        if self.captions not in CAPTIONS:
            _refuse("captions", self.captions, "'first' or 'random'")
        if not 0 <= self.flip <= 1:
            _refuse("flip", self.flip, "a share in [0, 1]")
        if self.latents and self.flip:
            _refuse("flip", self.flip, "0 with latents=True: a latent cannot be mirrored")
        if self.extras and self.flip:
            _refuse("flip", self.flip, f"0 with extras={self.extras}: latents cannot be mirrored")
        if self.trajectory_times and "trajectory" not in self.extras:
            _refuse("trajectory_times", self.trajectory_times, "none without 'trajectory' in data.extras")
        if self.max_skipped < 0:
            _refuse("max_skipped", self.max_skipped, "a whole number of at least 0")
        if len(set(self.buckets)) != len(self.buckets):
            _refuse("buckets", self.buckets, "each size once")
        for size in self.buckets:
            if len(size) != 2 or not 1 <= min(size) <= self.resolution <= max(size):
                _refuse("buckets", self.buckets, f"(width, height) around resolution={self.resolution}")


def _refuse(name: str, value: Any, expected: str) -> None:
    raise UsageError(f"data.{name}={value!r} is not possible; expected {expected}.")


@dataclass(frozen=True)
class Shard:
    """One tar of a pack."""

    name: str
    samples: int
    bytes: int
    sha256: str
    sizes: dict[Size, int]
    """Samples by ``(width, height)``."""
    places: str = ""
    """The file that says where each sample lies; empty where there is none and the tar is walked."""
    places_sha256: str = ""


@dataclass(frozen=True)
class Pack:
    """One split of a pack."""

    location: Location
    dataset: str
    version: str
    split: str
    samples: int
    shards: tuple[Shard, ...]
    latents: dict[str, Any] = field(default_factory=dict)
    """What made the latents, as in ``pack.json``; empty where there are none."""
    text: dict[str, Any] = field(default_factory=dict)
    """What made the text encodings, likewise."""
    captured: dict[str, Any] = field(default_factory=dict)
    """What the captured arrays are, and what the images were made with, likewise."""
    sha256: str = ""
    """Of ``pack.json`` itself, which holds the hashes of the shards."""

    @property
    def sizes(self) -> tuple[Size, ...]:
        """Every ``(width, height)`` in the split, sorted."""
        return tuple(sorted({size for shard in self.shards for size in shard.sizes}))

    def buckets(self, data: Data) -> tuple[Size, ...]:
        """The sizes a run reads; see ``run_buckets``."""
        return run_buckets(self.sizes, data.buckets, data.resolution, self.location.url)


def open_pack(folder: str | Path, split: str = "train") -> Pack:
    """Read ``pack.json`` of a local folder or a URL; local shards are checked to be there, by size.

    Raises:
        UsageError: no pack there, or no such split.
        MashbillError: the index is broken, the split is empty, or a shard is missing or cut.
    """
    location = Location.of(folder)
    index = location / "pack.json"
    if not index.exists():
        raise UsageError(
            f"{location.url} is not a pack: it has no pack.json. Expected the folder that a build packed."
        )
    data = index.read_bytes()
    try:
        pack = _parse(location, split, json.loads(data), hashlib.sha256(data).hexdigest())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise MashbillError(
            f"{index.url} cannot be read ({type(error).__name__}: {error}). Expected the index that pack "
            "writes; build the dataset again."
        ) from error
    if pack.samples < 1 or not pack.shards:
        raise MashbillError(
            f"the pack {location.url} has no samples in split {split!r}; expected at least 1. "
            "Choose another split, or build a dataset that keeps more samples."
        )
    if location.local:
        for shard in pack.shards:
            _check_shard(location / shard.name, shard)
    return pack


def _parse(location: Location, split: str, index: dict[str, Any], sha256: str) -> Pack:
    if split not in index["splits"]:
        known = ", ".join(sorted(index["splits"])) or "none"
        raise UsageError(f"the pack {location.url} has no split {split!r}; it has: {known}.")
    mine = [entry for entry in index["shards"] if entry["name"].rpartition("-")[0] == split]
    shards = tuple(
        Shard(
            e["name"],
            e["samples"],
            e["bytes"],
            e["sha256"],
            _sizes(index, e, location),
            *((e["places"], e["places_sha256"]) if e.get("places") else ()),
        )
        for e in mine
        if e["samples"]
    )
    if sum(shard.samples for shard in shards) != index["splits"][split]:
        raise ValueError(f"the shards of {split} do not add up to {index['splits'][split]} samples")
    return Pack(
        location=location,
        dataset=index["dataset"],
        version=str(index["version"]),
        split=split,
        samples=index["splits"][split],
        shards=shards,
        **{name: dict(index.get(name) or {}) for name in ("latents", "text", "captured")},
        sha256=sha256,
    )


def _sizes(index: dict[str, Any], entry: dict[str, Any], location: Location) -> dict[Size, int]:
    if "sizes" in entry:
        sizes = {(int(w), int(h)): int(count) for w, h, count in entry["sizes"]}
        if sum(sizes.values()) != entry["samples"]:
            raise ValueError(f"the sizes of {entry['name']} do not add up to {entry['samples']} samples")
        return sizes
    if isinstance(index["width"], int) and isinstance(index["height"], int):
        return {(index["width"], index["height"]): entry["samples"]}
    raise UsageError(
        f"the pack {location.url} holds images of different sizes and does not say how many of each: it was "
        "built by an older mashbill. Build the dataset again."
    )


def _check_shard(location: Location, shard: Shard) -> None:
    found = location.size() if location.exists() else None
    if found != shard.bytes:
        state = "is missing" if found is None else f"has {found} bytes"
        raise MashbillError(
            f"shard {location.url} {state}; pack.json expects {shard.bytes} bytes. "
            "Copy it again or build it again."
        )


@cache
def check_bytes(location: Location, sha256: str) -> None:
    """Read a file of a pack through, once in this process, and refuse other bytes than were packed.

    On one core 1.0 GB/s where the file is in memory.

    Raises:
        MashbillError: its SHA-256 is another. ``OSError`` where it cannot be read.
    """
    found = file_sha256(location)
    if found != sha256:
        raise MashbillError(
            f"{location.url} holds other bytes than were packed (SHA-256 {found[:12]}, pack.json expects "
            f"{sha256[:12]}): it was cut or changed. Copy it again."
        )


def check_pack(pack: Pack, data: Data, vae: dict[str, Any] | None = None, world_size: int = 1) -> None:
    """Refuse a pack that does not fit a run.

    Args:
        vae: of the run's VAE what ``VAE_FACTS`` names, as far as it is known; None or empty for a run in
            pixels. A value that is missing here is not compared.

    Raises:
        UsageError: sizes, buckets or arrays do not fit; the message says what to change.
    """
    vae = vae or {}
    buckets = pack.buckets(data)
    for width, height in buckets:
        factor = vae.get("factor") or 1
        if width % factor or height % factor:
            raise UsageError(
                f"images of {width}x{height} pixels do not divide by {factor}, the scale factor of the "
                f"run's VAE. Set data.resolution and data.buckets to multiples of {factor}."
            )
    for bucket, samples in bucket_samples(pack, buckets).items():
        if len(buckets) > 1 and 0 < samples < data.batch_size * world_size:
            raise UsageError(
                f"the pack {pack.location.url} has {samples} samples for the bucket {bucket[0]}x{bucket[1]}, "
                f"less than one batch of all ranks ({data.batch_size} x {world_size}): a batch would hold "
                "them over and over. Lower data.batch_size, or take the bucket out of data.buckets."
            )
    check_arrays(pack, data, buckets, vae)


def bucket_samples(pack: Pack, buckets: tuple[Size, ...]) -> dict[Size, int]:
    """Samples of the pack by bucket."""
    found = dict.fromkeys(buckets, 0)
    for shard in pack.shards:
        for size, count in shard.sizes.items():
            found[buckets[nearest_bucket(size, buckets)]] += count
    return found
