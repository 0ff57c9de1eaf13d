"""Batches of a pack without end, for one rank; what the ranks read together is decided by ``visits.py``.

B samples, C channels, H W pixels, h w latent grid.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.context
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from distill_runs.buckets import Size
from distill_runs.pack_samples import (
    Box,
    Picture,
    box_in_source,
    chosen_caption,
    decoded,
    is_flipped,
    latent,
)
from distill_runs.pack_shards import PackReader, sidecar, sidecar_size
from distill_runs.packs import Data, Pack, check_pack
from distill_runs.visits import Order, Visits
from store.errors import MashbillError, UsageError

AHEAD = 2
"""Batches that each worker has ready."""


@dataclass(frozen=True)
class Batch:
    """B samples of one size."""

    images_BCHW: Tensor | None
    """float32 [B, 3, H, W] in [-1, 1], sRGB; None where latents are read."""
    latents_BCHW: Tensor | None
    """float32 [B, C, h, w], the VAE's posterior means before its scaling factor and shift; None where
    pixels are read."""
    captions: list[str]
    sample_ids: list[str]
    bucket: Size
    """(width, height) in pixels that all samples of the batch have."""
    original_sizes: list[Size | None]
    """(width, height) of each source image; None where the pack does not say."""
    crops: list[Box | None]
    """left, top, right, bottom of what is seen, in pixels of each source image; None likewise."""
    flipped: list[bool]


class Loader:
    """An iterator of batches without end, which continues exactly at a cursor.

    The order is named by the pack, the buckets and the seed; it does not depend on ``workers`` and, as a
    sequence of samples over all ranks, not on ``world_size`` either. Which caption, which flip: from a hash
    of seed, epoch and sample. With ``workers`` processes ahead of this one the program's main module must
    be importable (``if __name__ == "__main__"``).

    Raises, here and from ``next``:
        UsageError: the pack does not fit ``data``, or the cursor is of another run.
        MashbillError: a sample is broken and ``data.max_skipped`` of this rank are used up.
    """

    def __init__(
        self,
        pack: Pack,
        data: Data,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        workers: int = 0,
        cursor: dict[str, Any] | None = None,
    ) -> None:
        if not 0 <= rank < world_size or workers < 0:
            raise UsageError(f"rank={rank}, world_size={world_size}, workers={workers} is not possible.")
        if pack.split != data.split:
            raise UsageError(f"the pack was opened for split {pack.split!r}, the run reads {data.split!r}.")
        check_pack(pack, data, world_size=world_size)
        self.pack, self.data, self.seed = pack, data, seed
        self.rank, self.world_size, self.workers = rank, world_size, workers
        self.buckets = pack.buckets(data)
        self.order = Order(pack.shards, self.buckets, seed)
        self.positions = [0] * len(self.buckets)
        """Samples that all ranks together have read of each bucket's stream."""
        self.skipped = 0
        """Broken samples that this rank left out."""
        self.continued = ""
        """What is not as it was when the cursor was taken, in words; empty where nothing changed."""
        if cursor is not None:
            self._continue(cursor)
        self._loaded: Iterator[_Loaded] | None = None

    @property
    def epoch(self) -> float:
        """How often the pack was gone through, by all ranks together."""
        return sum(self.positions) / self.pack.samples

    def __iter__(self) -> Loader:
        return self

    def __next__(self) -> Batch:
        if self._loaded is None:
            self._loaded = self._start()
        try:
            loaded = next(self._loaded)
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            raise MashbillError(
                f"a process that reads the pack ahead died ({error}). Where it was killed for memory, take "
                f"fewer workers (now {self.workers}) or a smaller data.batch_size."
            ) from error
        self._count(loaded)
        self.positions = loaded.after
        return loaded.batch

    def cursor(self) -> dict[str, Any]:
        """The position after the last batch handed out, as plain JSON; the same on all ranks but for
        ``skipped``."""
        return {
            **self._identity(),
            "positions": list(self.positions),
            "batch_size": self.data.batch_size,
            "world_size": self.world_size,
            "skipped": self.skipped,
        }

    def close(self) -> None:
        """End the worker processes; the next batch starts them again where they were."""
        self._loaded = None

    def _identity(self) -> dict[str, Any]:
        return {
            "pack": self.pack.sha256,
            "split": self.pack.split,
            "buckets": [list(bucket) for bucket in self.buckets],
            "seed": self.seed,
        }

    def _continue(self, cursor: dict[str, Any]) -> None:
        for name, value in self._identity().items():
            if cursor.get(name) != value:
                raise UsageError(
                    f"the data cursor is of a run with other data: its {name} is {cursor.get(name)!r}, this "
                    f"run's is {value!r}. Continue with the recipe and the pack it was started with."
                )
        self.positions, self.skipped = list(cursor["positions"]), cursor["skipped"]
        before, now = (cursor["world_size"], cursor["batch_size"]), (self.world_size, self.data.batch_size)
        if before != now:
            self.continued = (
                f"{before[0]} ranks with batches of {before[1]} before, {now[0]} with batches of {now[1]} "
                "now: every epoch still holds each sample once and none is read again, but other samples "
                "meet in a batch and a step sees another number of them."
            )

    def _plan(self) -> Iterator[tuple[Visits, list[int]]]:
        """This rank's part of each batch from here on, and the positions after it."""
        positions, size = list(self.positions), self.data.batch_size
        while True:
            bucket = self.order.next_bucket(positions, size * self.world_size)
            start = positions[bucket] + self.rank * size
            positions[bucket] += size * self.world_size
            yield self.order.visits(bucket, start, size), list(positions)

    def _start(self) -> Iterator[_Loaded]:
        ahead = self.workers > 0
        return iter(
            DataLoader(
                _Reading(self.pack, self.data, self.buckets, self.seed),
                batch_size=None,
                sampler=self._plan(),
                num_workers=self.workers,
                prefetch_factor=AHEAD if ahead else None,
                multiprocessing_context=_context() if ahead else None,
                generator=torch.Generator(),  # else it draws from the one that the model's noise comes from
                collate_fn=_as_it_is,
            )
        )

    def _count(self, loaded: _Loaded) -> None:
        self.skipped += len(loaded.broken)
        if loaded.broken and self.skipped > self.data.max_skipped:
            raise MashbillError(
                f"{loaded.broken[0]} Build the pack again, or set data.max_skipped to leave out broken "
                f"samples (now {self.data.max_skipped}; found by this rank: {self.skipped})."
            )
        if not loaded.batch.sample_ids:
            raise MashbillError(
                f"all {len(loaded.broken)} samples of a batch are broken; the first: {loaded.broken[0]}"
            )


def _context() -> multiprocessing.context.BaseContext:
    """Workers come from a process without threads: a fork of one with them (torch, CUDA, gloo) may hang."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


class _Loaded(NamedTuple):
    batch: Batch
    broken: list[str]
    after: list[int]


def _as_it_is(loaded: Any) -> Any:
    return loaded


class _Reading(Dataset[_Loaded]):
    """What each worker does: read, decode and stack what the plan says."""

    def __init__(self, pack: Pack, data: Data, buckets: tuple[Size, ...], seed: int) -> None:
        self.pack, self.data, self.buckets, self.seed = pack, data, buckets, seed
        self.reader = PackReader(pack, buckets, ("latent.npy" if data.latents else "image",))

    def __getitem__(self, planned: Any) -> _Loaded:
        visits, after = planned
        pictures: list[Picture] = []
        ids: list[str] = []
        broken: list[str] = []
        for shard, row, epoch in zip(visits.shard, visits.row, visits.epoch, strict=True):
            try:
                key, picture = self._picture(visits.bucket, int(shard), int(row), int(epoch))
            except MashbillError as error:
                broken.append(str(error))
                continue
            pictures.append(picture)
            ids.append(key)
        return _Loaded(self._batch(pictures, ids, self.buckets[visits.bucket]), broken, after)

    def _picture(self, bucket: int, shard: int, row: int, epoch: int) -> tuple[str, Picture]:
        key, members = self.reader.read(bucket, shard, row)
        location = self.pack.location / self.pack.shards[shard].name
        fields = sidecar(members["json"], key, location)
        try:
            return key, self._fitted(members, fields, self.buckets[bucket], f"{self.seed}:{epoch}:{key}")
        except (KeyError, TypeError, ValueError) as error:
            raise MashbillError(
                f"the .json of sample {key} of {location.url} is not what a pack writes "
                f"({type(error).__name__}: {error})."
            ) from error
        except MashbillError as error:
            raise MashbillError(f"sample {key} of {location.url} {error}.") from error

    def _fitted(self, members: dict[str, bytes], fields: dict[str, Any], bucket: Size, visit: str) -> Picture:
        texts = [str(text) for text in fields.get("captions") or [fields["caption"] or ""]]
        size = sidecar_size(fields)
        flipped = is_flipped(texts, self.data, visit)
        pixels: NDArray[Any]
        if self.data.latents:
            pixels = latent(members["latent.npy"], bucket, self.pack)
        else:
            pixels = decoded(members["image"], size, bucket, flipped)
        crop = fields.get("crop")
        original = fields.get("original_width"), fields.get("original_height")
        return Picture(
            pixels=pixels,
            caption=chosen_caption(texts, self.data, visit),
            original_size=None if None in original else original,
            crop=box_in_source(tuple(crop), size, bucket) if crop else None,
            flipped=flipped,
        )

    def _batch(self, pictures: list[Picture], ids: list[str], bucket: Size) -> Batch:
        pixels = [picture.pixels for picture in pictures]
        return Batch(
            images_BCHW=None if self.data.latents else _images(pixels, bucket),
            latents_BCHW=torch.from_numpy(np.stack(pixels)) if self.data.latents and pixels else None,
            captions=[picture.caption for picture in pictures],
            sample_ids=ids,
            bucket=bucket,
            original_sizes=[picture.original_size for picture in pictures],
            crops=[picture.crop for picture in pictures],
            flipped=[picture.flipped for picture in pictures],
        )


def _images(pixels: list[NDArray[np.uint8]], bucket: Size) -> Tensor:
    """float32 [B, 3, H, W] in [-1, 1]."""
    images_BCHW = np.empty((len(pixels), 3, bucket[1], bucket[0]), np.float32)
    for image_CHW, picture_HWC in zip(images_BCHW, pixels, strict=True):
        for channel in range(3):  # a plane at a time, while it is in the cache: a third less than a transpose
            image_CHW[channel] = picture_HWC[:, :, channel]
        image_CHW /= 127.5
        image_CHW -= 1
    return torch.from_numpy(images_BCHW)
