"""How large a source is, where that is cheap to know: rows of tables, files, headers of a few images."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import pyarrow.parquet as pq

from pipelines.cost import ROWS_A_SHARD, Size
from stages.image.picture import BrokenImage, read_header
from stages.source.folder import SIDECARS, Folder
from stages.source.img2dataset import Img2dataset
from stages.source.metadata import FORMATS, Metadata
from stages.source.paths import expanded
from stages.source.webdataset import IMAGES, WebDataset, tars_at
from stages.stage import Source
from store.errors import MashbillError, UsageError
from store.location import Location
from store.tar import walk

IMAGE_BYTES = 150_000.0
BYTES_A_PIXEL = 0.25
"""What is assumed of a web image that nobody has seen: its mean size, and its bytes for each pixel."""
LOOKED_AT = 64
"""Images whose header is read, evenly spread over the source."""


@dataclass(frozen=True)
class Told:
    """What the user says of a source; None: measure it, or assume it."""

    samples: float | None = None
    arriving: float | None = None
    kept: float | None = None
    image_bytes: float | None = None
    image_pixels: float | None = None

    def __post_init__(self) -> None:
        for name in ("samples", "image_bytes", "image_pixels"):
            value = getattr(self, name)
            if value is not None and not 1 <= value < float("inf"):
                raise UsageError(f"--{name.replace('_', '-')} {value:g}: expected 1 or more")
        for name in ("arriving", "kept"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise UsageError(f"--{name} {value:g}: expected a share, 0 to 1")


@dataclass(frozen=True)
class Found:
    """What a look at the source itself gives; None where it did not tell."""

    samples: float | None = None
    arriving: float | None = None
    image_bytes: float | None = None
    image_pixels: float | None = None
    shards: int | None = None


def size_of(source: Source, told: Told) -> Size:
    """The size of a source: as told, else as found there, else assumed.

    With ``told.samples`` the source need not exist and is not looked at.

    Raises:
        MashbillError: the source is not there, or (UsageError) it does not say how large it is.
    """
    found = Found(told.samples) if told.samples is not None else _found(source)
    if found.samples is None:
        raise UsageError(
            f"how many samples a source of kind {getattr(source, 'kind', type(source).__name__)} has is not "
            "cheap to know: give --samples"
        )
    image_bytes, image_pixels = told.image_bytes or found.image_bytes, told.image_pixels or found.image_pixels
    arriving = told.arriving if told.arriving is not None else found.arriving
    known = {
        "image-bytes": image_bytes,
        "image-pixels": image_pixels,
        "arriving": arriving,
        "kept": told.kept,
    }
    image_bytes = image_bytes or (image_pixels * BYTES_A_PIXEL if image_pixels else IMAGE_BYTES)
    image_pixels = image_pixels or image_bytes / BYTES_A_PIXEL
    says = {
        "image-bytes": f"{image_bytes:,.0f} bytes an image",
        "image-pixels": f"{image_pixels:,.0f} pixels an image",
        "arriving": "every image arrives",
        "kept": "every image that arrives is kept and packed",
    }
    assumed = tuple(f"{says[name]} (--{name})" for name, value in known.items() if value is None)
    images = found.samples * (1.0 if arriving is None else arriving)
    kept = images * (1.0 if told.kept is None else told.kept)
    shards = found.shards or ceil(found.samples / getattr(source, "shard_size", ROWS_A_SHARD))
    return Size(found.samples, images, kept, image_bytes, image_pixels, shards, assumed)


def _found(source: Source) -> Found:
    look: dict[type[Source], Callable[..., Found]] = {
        Metadata: _tables,
        Folder: _folder,
        WebDataset: _tars,
        Img2dataset: _downloaded,
    }
    return look[type(source)](source) if type(source) in look else Found()


def _tables(source: Metadata) -> Found:
    """Rows of the tables: of Parquet from its end, of others by their lines."""
    root = Path(expanded(source.path))
    if not source.path or not root.exists():
        raise MashbillError(f"source.path={source.path!r}: no such file. Give it, or give --samples")
    files = [root] if root.is_file() else sorted(f for f in root.rglob("*") if f.suffix in FORMATS)
    return Found(float(sum(_rows(file) for file in files)))


def _rows(file: Path) -> int:
    if file.suffix == ".parquet":
        return int(pq.ParquetFile(file).metadata.num_rows)
    with file.open("rb") as opened:
        lines = sum(piece.count(b"\n") for piece in iter(lambda: opened.read(1 << 20), b""))
    headed = file.suffix != ".jsonl"
    return max(lines - headed, 0)


def _folder(source: Folder) -> Found:
    root = expanded(source.path)
    if not source.path or not os.path.isdir(root):
        raise MashbillError(f"source.path={source.path}: no such folder. Give it, or give --samples")
    files = [
        os.path.join(at, name)
        for at, _, names in os.walk(root)
        for name in names
        if not name.startswith(".") and not name.endswith(SIDECARS)
    ]
    if not files:
        raise MashbillError(f"source.path={source.path}: no files in this folder")
    sizes = sum(os.path.getsize(file) for file in files)
    some = _spread(sorted(files))
    pixels = _pixels(Path(file).read_bytes() for file in some)
    return Found(len(files), 1.0, sizes / len(files), pixels)


def _spread(items: list[str]) -> list[str]:
    return items[:: max(1, len(items) // LOOKED_AT)][:LOOKED_AT]


def _pixels(images: Iterable[bytes]) -> float | None:
    """The mean of those that have a header."""
    found = []
    for data in images:
        try:
            header = read_header(data)
        except BrokenImage:
            continue
        found.append(header.width * header.height)
    return sum(found) / len(found) if found else None


def _tars(source: WebDataset) -> Found:
    """One tar walked through stands for all, by its bytes."""
    tars = [Location.of(tar) for tar in tars_at(source.path)]
    whole = float(sum(tar.size() for tar in tars))
    sizes, pixels = _walked(tars[0])
    if not sizes:
        return Found(shards=len(tars))
    share = whole / tars[0].size()
    return Found(round(len(sizes) * share), 1.0, sum(sizes) / len(sizes), pixels, len(tars))


def _walked(tar: Location) -> tuple[list[int], float | None]:
    """Bytes of each image of a tar, and the mean pixels of some."""
    with tar.open() as file:
        members = [m for m in walk(file, tar.url, tar.size()) if m.name.rpartition(".")[2].lower() in IMAGES]
    some = members[:: max(1, len(members) // LOOKED_AT)][:LOOKED_AT]
    return [m.size for m in members], _pixels(tar.read_ranges([(m.offset, m.size) for m in some]))


def _downloaded(source: Img2dataset) -> Found:
    """Rows from the Parquet files beside the tars; images from the first tar."""
    tars = [Location.of(tar) for tar in tars_at(source.path)]
    rows = [_parquet_rows(tar) for tar in tars]
    sizes, pixels = _walked(tars[0])
    mean = sum(sizes) / len(sizes) if sizes else None
    return Found(sum(rows), len(sizes) / max(rows[0], 1), mean, pixels, len(tars))


def _parquet_rows(tar: Location) -> int:
    beside = Location.of(tar.url.removesuffix(".tar") + ".parquet")
    if not beside.exists():
        raise MashbillError(f"{beside.url} is missing beside {tar.url}: img2dataset did not finish it")
    with beside.open() as file:
        return int(pq.ParquetFile(file).metadata.num_rows)
