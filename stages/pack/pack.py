"""``Pack``: training shards of a dataset version, at a resolution or as the original bytes."""

from __future__ import annotations

import hashlib
import io
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, ClassVar, NamedTuple

from PIL import Image

from stages.image.picture import BrokenImage, ext_for, read_full, read_header
from stages.image.synthetic import Synthetic
from stages.pack.beside import Beside, Extra, texts_of
from stages.pack.captured import NAMES
from stages.pack.latents import IMAGES_TOGETHER
from stages.pack.places import place_row, write_places
from store.aspects import Size, bucket_size, covering
from store.errors import MashbillError, UsageError
from store.location import Location
from store.tar import TarWriter

Row = dict[str, Any]
Box = tuple[float, float, float, float]

SYNTHETIC = tuple(Synthetic.writes.names)
"""Columns that say an image was made by a model; packed for those that were."""
CROP = ("crop_left", "crop_top", "crop_right", "crop_bottom")


@dataclass(frozen=True)
class Pack:
    """How a version is written for training.

    For each of ``resolutions`` the crop is scaled to ``bucket_size`` of its ``crop_aspect``, without
    distortion: where the two aspects differ, its middle. It is stored as sRGB JPEG. 0 keeps the pixels of
    the crop, and the source's own bytes where the crop is the whole of an upright JPEG. Samples are
    shuffled by a hash of ``seed`` and their id, so the order does not depend on how the source was cut.

    ``latents`` names an ``AutoencoderKL`` (a hub id or folder, or that of a pipeline with a ``vae``): each
    sample then has its latent beside the image, see ``stages/pack/latents.py``. ``text`` names a stock
    pipeline: each sample then has what its text encoders give of every caption, see ``stages/pack/text.py``.
    ``extras`` are arrays that source ``generated`` captured: ``noise``, ``latents``, ``trajectory``.
    """

    name: ClassVar[str] = "pack"
    version: ClassVar[int] = 3
    models: ClassVar[tuple[tuple[str, str], ...]] = (
        ("latents", "latents_revision"),
        ("text", "text_revision"),
    )
    resolutions: tuple[int, ...] = (512,)
    samples_per_shard: int = 1000
    quality: int = 95
    seed: int = 0
    latents: str = ""
    latents_revision: str = "main"
    text: str = ""
    text_revision: str = "main"
    extras: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if any(resolution < 0 for resolution in self.resolutions):
            raise UsageError(f"resolutions={self.resolutions}: expected pixels, or 0 for the original")
        if self.samples_per_shard < 1:
            raise UsageError(f"samples_per_shard={self.samples_per_shard}: expected 1 or more")
        if not 1 <= self.quality <= 100:
            raise UsageError(f"quality={self.quality}: expected 1 to 100")
        if self.latents and 0 in self.resolutions:
            raise UsageError(
                f"latents={self.latents!r} with resolution 0: the sides of original images do not divide by "
                "the VAE's factor. Take 0 out of pack.resolutions."
            )
        if not set(self.extras) <= set(NAMES) or len(set(self.extras)) < len(self.extras):
            raise UsageError(f"extras={self.extras}: expected some of {', '.join(NAMES)}, each once")

    def order(self, sample_id: str) -> str:
        """The sort key of a sample within its split."""
        return hashlib.sha256(f"{self.seed}:{sample_id}".encode()).hexdigest()


def pack_name(resolution: int) -> str:
    return str(resolution) if resolution else "original"


class Stored(NamedTuple):
    """One sample as it is packed."""

    row: Row
    image: bytes
    extension: str
    size: Size
    crop: Box
    """What is seen: left, top, right, bottom in pixels of the upright source image."""


def write_pack_shard(location: Location, rows: Sequence[Row], pack: Pack, resolution: int) -> dict[str, Any]:
    """Write one pack shard whole, and beside it where its samples lie.

    Args:
        rows: samples in order, each with ``tar``, ``image_offset``, ``image_size``, the crop, its aspect and
            texts.

    Returns:
        ``name, samples, bytes, sha256`` of the shard; ``sizes``, how many there are of each, as
        ``[width, height, count]``; ``places`` and ``places_sha256`` of the file beside it; ``dropped``,
        ``{sample_id: reason}`` of images that broke only when every pixel was read; and, where the pack
        has them, ``latents``, ``text`` and ``captured``: what they were made with.
    """
    beside = Beside.of(pack, location.parent)
    dropped: dict[str, str] = {}
    places: list[Row] = []
    with location.writing() as path:
        with open(path, "wb") as file:
            tar = TarWriter(file)
            stored = _stored(rows, pack, resolution, dropped)
            while some := list(islice(stored, IMAGES_TOGETHER)):
                for sample, extra in zip(some, beside.made(some), strict=True):
                    places.append(_add(tar, sample, extra))
            tar.close()
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "name": location.name,
        "samples": len(rows) - len(dropped),
        "bytes": tar.position,
        "sha256": digest,
        "sizes": [[*size, count] for size, count in sorted(_sizes(places).items())],
        "dropped": dropped,
        **write_places(location, places),
        **beside.about(),
    }


def _sizes(places: Sequence[Row]) -> Counter[Size]:
    return Counter((place["width"], place["height"]) for place in places)


def _stored(rows: Sequence[Row], pack: Pack, resolution: int, dropped: dict[str, str]) -> Iterator[Stored]:
    """The samples as they are packed; those that cannot be are added to ``dropped``."""
    for row, data in _with_bytes(rows):
        _check_bytes(row, data)
        try:
            yield Stored(row, *_encode(data, row, pack, resolution))
        except BrokenImage as broken:
            dropped[row["sample_id"]] = broken.reason


def _add(tar: TarWriter, sample: Stored, extra: Extra) -> Row:
    """Append the members of a sample; returns where they lie."""
    key = sample.row["sample_id"]
    members = [
        tar.add(f"{key}.{sample.extension}", sample.image),
        tar.add(f"{key}.txt", (sample.row["caption"] or "").encode()),
        tar.add(f"{key}.json", _sidecar(sample, extra.fields)),
        *(tar.add(f"{key}.{extension}", data) for extension, data in extra.members.items()),
    ]
    return place_row(key, sample.size, members)


def _check_bytes(row: Row, data: bytes) -> None:
    """Raises MashbillError where the image is not the one that was taken in."""
    if row.get("sha256") not in (None, hashlib.sha256(data).hexdigest()):
        raise MashbillError(
            f"{row['tar']} holds other bytes for sample {row['sample_id']} than were taken in: the file was "
            "replaced. Put the old one back, or build into a new store."
        )


def dropped_by_reason(shards: Sequence[dict[str, Any]]) -> dict[str, int]:
    return dict(sorted(Counter(r for s in shards for r in s["dropped"].values()).items()))


def _with_bytes(rows: Sequence[Row], at_once: int = 32) -> Iterator[tuple[Row, bytes]]:
    """Rows with their image bytes; a few at a time, one opening of each tar among them."""
    for start in range(0, len(rows), at_once):
        some = rows[start : start + at_once]
        data: dict[int, bytes] = {}
        for tar in {row["tar"] for row in some}:
            here = [i for i, row in enumerate(some) if row["tar"] == tar]
            ranges = [(some[i]["image_offset"], some[i]["image_size"]) for i in here]
            data.update(zip(here, Location.of(tar).read_ranges(ranges), strict=True))
        yield from ((row, data[i]) for i, row in enumerate(some))


def _encode(data: bytes, row: Row, pack: Pack, resolution: int) -> tuple[bytes, str, Size, Box]:
    """Image bytes, extension, and size as stored; what is seen of the source image."""
    box: Box = tuple(row[name] for name in CROP)
    whole = box == (0, 0, row["width"], row["height"])
    if not resolution and whole:
        header = read_header(data)
        if header.format == "jpeg" and header.orientation == 1:
            return data, ext_for(data), (header.width, header.height), box
    image = read_full(data)
    if resolution:
        size = bucket_size(row["crop_aspect"], resolution)
        box = _middle(box, size)
        # reducing_gap: a box filter down to 3 times the size first; faster, same to the eye
        image = image.resize(size, Image.Resampling.LANCZOS, box=box, reducing_gap=3.0)
    elif not whole:
        image = image.crop(box)
    sink = io.BytesIO()
    image.save(sink, "JPEG", quality=pack.quality, subsampling=0)
    return sink.getvalue(), "jpg", image.size, box


def _middle(crop: Box, size: Size) -> Box:
    """The largest box of the aspect of ``size`` in the middle of a crop; the crop itself where it has it."""
    sides = (int(crop[2] - crop[0]), int(crop[3] - crop[1]))
    left, top, right, bottom = covering(sides, size)
    if (left, top) == (0, 0):
        return crop
    return crop[0] + left, crop[1] + top, crop[0] + right, crop[1] + bottom


def _sidecar(sample: Stored, more: Row) -> bytes:
    row = sample.row
    fields = {
        "sample_id": row["sample_id"],
        "caption": row["caption"],
        "captions": texts_of(row),
        "url": row["url"],
        "source_key": row["source_key"],
        "crop": list(sample.crop),
        "original_width": row["width"],
        "original_height": row["height"],
        "width": sample.size[0],
        "height": sample.size[1],
        "split": row["split"],
        "sha256": row.get("sha256"),
        "dataset": row["dataset"],
        "version": row["version"],
    }
    if row.get("synthetic"):
        fields |= {name: row[name] for name in SYNTHETIC}
    return json.dumps(fields | more, sort_keys=True, ensure_ascii=False).encode()
