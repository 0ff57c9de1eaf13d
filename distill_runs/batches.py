"""One batch as a worker makes it: read, decode and stack what the plan says.

B samples, C channels, H W pixels, h w latent grid.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from distill_runs.pack_samples import (
    Box,
    Picture,
    box_in_source,
    captured_array,
    chosen_caption,
    decoded,
    is_flipped,
    latent,
)
from distill_runs.pack_shards import PackReader, sidecar, sidecar_size
from distill_runs.packs import Data, Pack
from distill_runs.texts import Text, batched, encoded_caption, text_members
from distill_runs.visits import Visits
from store.aspects import Size
from store.errors import MashbillError


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
    text: dict[str, Text] | None = None
    """Of the captions, float16, by encoder; None where the run encodes them itself."""
    extras: dict[str, Tensor] = field(default_factory=dict)
    """Captured arrays by name, [B, ...], as they were captured: latents in the scale of the generator's
    scheduler."""


class Loaded(NamedTuple):
    """A batch, and what is said of it."""

    batch: Batch
    broken: list[str]
    """What is wrong with each sample that is not in it."""
    after: list[int]
    """The positions of the run after it."""


class Reading(Dataset[Loaded]):
    """From what is planned, ``(Visits, positions after it)``, to what is loaded; a copy in each worker."""

    def __init__(self, pack: Pack, data: Data, buckets: tuple[Size, ...], seed: int) -> None:
        self.pack, self.data, self.buckets, self.seed = pack, data, buckets, seed
        self.sizes = pack.sizes
        wanted = ("latent.npy" if data.latents else "image", *(text_members(pack) if data.text else ()))
        self.captured = {name: f"captured.{name}.npy" for name in data.extras}
        self.reader = PackReader(pack, buckets, (*wanted, *self.captured.values()))

    def __getitem__(self, planned: tuple[Visits, list[int]]) -> Loaded:
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
        return Loaded(self._batch(pictures, ids, self.buckets[visits.bucket]), broken, after)

    def _picture(self, bucket: int, shard: int, row: int, epoch: int) -> tuple[str, Picture]:
        key, members = self.reader.read(bucket, shard, row)
        location = self.pack.location / self.pack.shards[shard].name
        fields = sidecar(members["json"], key, location)
        try:
            size = self.sizes[0] if len(self.sizes) == 1 else sidecar_size(fields)
            visit = f"{self.seed}:{epoch}:{key}"
            return key, self._fitted(members, fields, size, self.buckets[bucket], visit)
        except (KeyError, TypeError, ValueError) as error:
            raise MashbillError(
                f"the .json of sample {key} of {location.url} is not what a pack writes "
                f"({type(error).__name__}: {error})."
            ) from error
        except MashbillError as error:
            raise MashbillError(f"sample {key} of {location.url} {error}.") from error

    def _fitted(
        self, members: dict[str, bytes], fields: dict[str, Any], size: Size, bucket: Size, visit: str
    ) -> Picture:
        texts = [str(text) for text in fields.get("captions") or [fields["caption"] or ""]]
        flipped = is_flipped(texts, self.data, visit)
        pixels: NDArray[Any]
        if self.data.latents:
            pixels = latent(members["latent.npy"], bucket, self.pack)
        else:
            pixels = decoded(members["image"], size, bucket, flipped)
        number = chosen_caption(texts, self.data, visit)
        lengths = fields["text_lengths"] if self.data.text else {}
        crop, width, height = (fields.get(name) for name in ("crop", "original_width", "original_height"))
        return Picture(
            pixels=pixels,
            caption=texts[number],
            original_size=(width, height) if width and height else None,
            crop=box_in_source(tuple(crop), size, bucket) if crop else None,
            flipped=flipped,
            text=encoded_caption(members, lengths, number, self.pack) if self.data.text else {},
            extras={n: captured_array(members[m], n, self.pack) for n, m in self.captured.items()},
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
            text=batched([p.text for p in pictures], self.pack) if self.data.text and pictures else None,
            extras={
                name: torch.from_numpy(np.stack([picture.extras[name] for picture in pictures]))
                for name in (self.data.extras if pictures else ())
            },
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
