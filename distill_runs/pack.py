"""Reading a pack: WebDataset shards beside a ``pack.json`` that says what they hold."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import random
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from webdataset import filters
from webdataset.tariterators import group_by_keys, tar_file_expander

from store.errors import MashbillError, UsageError

SHUFFLE_BUFFER = 1000
"""Samples held back, as JPEG bytes, to shuffle within; packs up to this size are shuffled whole."""


@dataclass(frozen=True)
class Shard:
    """One tar of the pack."""

    name: str
    samples: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Pack:
    """One split of a pack, checked to be there."""

    folder: Path
    dataset: str
    version: str
    split: str
    samples: int
    width_px: int
    height_px: int
    shards: tuple[Shard, ...]
    sha256: str
    """Of ``pack.json`` itself, which holds the hashes of the shards."""


@dataclass(frozen=True)
class Batch:
    """B samples, H = W = the run's resolution."""

    images_BCHW: Tensor
    """float32 [B, 3, H, W] in [-1, 1], sRGB."""
    captions: list[str]
    sample_ids: list[str]


def open_pack(folder: str | Path, split: str) -> Pack:
    """Read ``pack.json`` and check that the split's shards are there in full (by size, not by hash).

    Raises ``UsageError`` where there is no pack or no such split, ``MashbillError`` where it is broken.
    """
    path = Path(folder)
    index = path / "pack.json"
    if not index.is_file():
        raise UsageError(
            f"{path} is not a pack: it has no pack.json. Expected the folder that a build packed."
        )
    data = index.read_bytes()
    try:
        pack = _parse(path, split, json.loads(data), hashlib.sha256(data).hexdigest())
    except (ValueError, KeyError, TypeError) as error:
        raise MashbillError(
            f"{index} cannot be read ({type(error).__name__}: {error}). Expected the index that pack "
            "writes; build the dataset again."
        ) from error
    if pack.samples < 1 or not pack.shards:
        raise MashbillError(
            f"the pack {path} has no samples in split {split!r}; expected at least 1. "
            "Choose another split, or build a dataset that keeps more samples."
        )
    for shard in pack.shards:
        _check_shard(path / shard.name, shard)
    return pack


def _parse(folder: Path, split: str, index: dict[str, Any], sha256: str) -> Pack:
    if split not in index["splits"]:
        known = ", ".join(sorted(index["splits"])) or "none"
        raise UsageError(f"the pack {folder} has no split {split!r}; it has: {known}.")
    if not (isinstance(index["width"], int) and isinstance(index["height"], int)):
        raise UsageError(
            f"the pack {folder} holds images of different sizes; expected one width and height. "
            "Pack the dataset at a resolution."
        )
    shards = tuple(
        Shard(entry["name"], entry["samples"], entry["bytes"], entry["sha256"])
        for entry in index["shards"]
        if entry["name"].startswith(f"{split}-")
    )
    return Pack(
        folder=folder,
        dataset=index["dataset"],
        version=str(index["version"]),
        split=split,
        samples=index["splits"][split],
        width_px=index["width"],
        height_px=index["height"],
        shards=shards,
        sha256=sha256,
    )


def _check_shard(path: Path, shard: Shard) -> None:
    found = path.stat().st_size if path.is_file() else None
    if found != shard.bytes:
        state = "is missing" if found is None else f"has {found} bytes"
        raise MashbillError(
            f"shard {path} {state}; pack.json expects {shard.bytes} bytes. Copy it again or build it again."
        )


def batches(pack: Pack, batch_size: int, side_px: int, seed: int) -> Iterator[Batch]:
    """Batches without end, from one shuffled epoch into the next; the same for the same seed.

    Images are scaled down to ``side_px`` squared. Raises ``MashbillError`` naming shard and sample
    where an image cannot be read, has another size than the pack, or samples are missing.
    """
    samples = (sample for epoch in itertools.count() for sample in _epoch(pack, f"{seed}:{epoch}"))
    while True:
        rows = list(itertools.islice(samples, batch_size))
        images = [_image(pack, row, side_px) for row in rows]
        yield Batch(
            images_BCHW=torch.from_numpy(np.stack(images)),
            captions=[_caption(row) for row in rows],
            sample_ids=[row["__key__"] for row in rows],
        )


def _epoch(pack: Pack, seed: str) -> Iterator[dict[str, Any]]:
    order = random.Random(seed)
    shards = list(pack.shards)
    order.shuffle(shards)
    stream = itertools.chain.from_iterable(_shard_samples(pack.folder / s.name, s) for s in shards)
    shuffle = filters.shuffle(SHUFFLE_BUFFER, initial=SHUFFLE_BUFFER, rng=order)
    yield from shuffle(stream)


def _shard_samples(path: Path, shard: Shard) -> Iterator[dict[str, Any]]:
    # WebDataset's own opener cuts paths at "#" and "?" and leaves the file open.
    count = 0
    with path.open("rb") as stream:
        try:
            for sample in group_by_keys(tar_file_expander([{"url": str(path), "stream": stream}])):
                _check_members(path, sample)
                count += 1
                yield sample
        except tarfile.TarError as error:
            raise MashbillError(f"shard {path} is not a readable tar ({error}); build it again.") from error
    if count != shard.samples:
        raise MashbillError(
            f"shard {path} holds {count} samples; pack.json expects {shard.samples}. Build it again."
        )


def _check_members(path: Path, sample: dict[str, Any]) -> None:
    for member in ("jpg", "txt"):
        if member not in sample:
            found = ", ".join(sorted(key for key in sample if not key.startswith("__")))
            raise MashbillError(
                f"sample {sample['__key__']} in {path} has no .{member} (it has: {found}); "
                "expected an image and a caption. Build the pack again."
            )


def _caption(sample: dict[str, Any]) -> str:
    try:
        return str(sample["txt"], "utf-8")
    except UnicodeDecodeError as error:
        raise MashbillError(
            f"the caption of {sample['__key__']} in {sample['__url__']} is not UTF-8 ({error}); "
            "build the pack again."
        ) from error


def _image(pack: Pack, sample: dict[str, Any], side_px: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """float32 [3, H, W] in [-1, 1]."""
    where = f"image {sample['__key__']} in {sample['__url__']}"
    try:
        with Image.open(io.BytesIO(sample["jpg"])) as image:
            if image.size != (pack.width_px, pack.height_px):
                raise MashbillError(
                    f"{where} has {image.width}x{image.height} pixels; pack.json expects "
                    f"{pack.width_px}x{pack.height_px}. Build the pack again."
                )
            # Decoding at a fraction of the scale costs a fraction; Lanczos keeps a factor 2 to work on.
            image.draft("RGB", (2 * side_px, 2 * side_px))
            small = image.convert("RGB").resize((side_px, side_px), Image.Resampling.LANCZOS)
    except OSError as error:
        raise MashbillError(f"{where} cannot be decoded ({error}); build the pack again.") from error
    pixels_HWC = np.asarray(small, dtype=np.float32) / 127.5 - 1
    return np.ascontiguousarray(pixels_HWC.transpose(2, 0, 1))
