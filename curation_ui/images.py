"""Images of a queue, read by byte range from the shards that the store knows.

No name or path from outside comes here: an item is a number, and the catalog knows its place.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import threading
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from PIL import Image, ImageOps, UnidentifiedImageError

from curation_ui.catalog import Catalog, Place
from store.errors import MashbillError
from store.location import Location
from store.store import Store
from store.versions import Version

SIDES = (192, 384)
"""Longest sides of thumbnails, pixels."""
MOST_PIXELS = 100_000_000
READERS, DECODERS = 8, 2
REMEMBERED_BYTES = 64 << 20
"""Of thumbnails."""


class Changed(MashbillError):
    """A shard is not what it was when it was read in."""


class NoPicture(MashbillError):
    """Bytes that no browser is to be given as an image."""


@dataclass(frozen=True)
class Picture:
    """Bytes to send, with their type and a name for exactly these bytes."""

    data: bytes
    type: str
    etag: str


@dataclass(frozen=True)
class _Tar:
    """One shard as it was when the server started. ``file`` is open where the shard is local."""

    location: Location
    size: int
    file: int | None
    stamp: tuple[int, int]


class Images:
    """Reads and scales in threads of its own, a bounded number."""

    def __init__(self, store: Store, version: Version, catalog: Catalog) -> None:
        self._catalog = catalog
        self._source = store.source(version.manifest()["source"]["fingerprint"])
        self._shards = {shard.index: shard for shard in self._source.shards()}
        self._tars: dict[int, _Tar] = {}
        self._lock = threading.Lock()
        self._readers = ThreadPoolExecutor(READERS, "images")
        self._decoders = ThreadPoolExecutor(DECODERS, "thumbnails")
        self._thumbs: OrderedDict[tuple[int, int], Picture] = OrderedDict()
        self._bytes = 0

    async def image(self, item: int) -> Picture:
        """The image as it came.

        Raises:
            Changed, NoPicture: see there.
        """
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._image, item)

    async def thumb(self, item: int, side: int) -> Picture:
        """WebP of at most ``side`` x ``side`` pixels, upright."""
        with self._lock:
            found = self._thumbs.get((item, side))
            if found:
                self._thumbs.move_to_end((item, side))
                return found
        return await asyncio.get_running_loop().run_in_executor(self._decoders, self._thumb, item, side)

    def etag(self, item: int, form: str) -> str:
        """Names the bytes of an item without reading them."""
        return self._etag(self._catalog.place(item), form)

    def close(self) -> None:
        self._readers.shutdown(cancel_futures=True)
        self._decoders.shutdown(cancel_futures=True)
        for tar in self._tars.values():
            if tar.file is not None:
                os.close(tar.file)

    def _etag(self, place: Place, form: str) -> str:
        named = place.sha256 or f"{self._source.fingerprint} {place.shard} {place.offset} {place.size}"
        return f'"{hashlib.sha256(f"{named} {form}".encode()).hexdigest()[:32]}"'

    def _image(self, item: int) -> Picture:
        place = self._catalog.place(item)
        data = self._read(place)
        return Picture(data, picture_type(data), self._etag(place, "image"))

    def _thumb(self, item: int, side: int) -> Picture:
        original = self._image(item)
        data = _scaled(original.data, side)
        made = Picture(data, "image/webp", self.etag(item, f"thumb {side}"))
        with self._lock:
            if (item, side) not in self._thumbs:
                self._thumbs[item, side] = made
                self._bytes += len(data)
            while self._bytes > REMEMBERED_BYTES:
                _, old = self._thumbs.popitem(last=False)
                self._bytes -= len(old.data)
        return made

    def _read(self, place: Place) -> bytes:
        tar = self._tar(place.shard)
        if tar.file is None:
            return tar.location.read_ranges([(place.offset, place.size)])[0]
        if _stamp(tar.file) != tar.stamp or _stamp_at(tar.location) != tar.stamp:
            raise Changed(_changed(tar.location))
        data = os.pread(tar.file, place.size, place.offset)
        if len(data) != place.size:
            raise Changed(_changed(tar.location))
        return data

    def _tar(self, index: int) -> _Tar:
        with self._lock:
            if index not in self._tars:
                shard = self._shards[index]
                self._tars[index] = _open(self._source.tar(shard), shard.tar_bytes)
            return self._tars[index]


def picture_type(data: bytes) -> str:
    """The media type by the first bytes, whatever a name may say.

    Raises:
        NoPicture: it is none of JPEG, PNG, WebP and AVIF.
    """
    if data[:3] == b"\xff\xd8\xff":
        return "image/jpeg"
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return "image/png"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    if data[4:8] == b"ftyp" and data[8:12] in (b"avif", b"avis"):
        return "image/avif"
    raise NoPicture("these bytes are no JPEG, PNG, WebP or AVIF image, and nothing else is shown")


def _scaled(data: bytes, side: int) -> bytes:
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG", "WEBP", "AVIF")) as image:
            if image.width * image.height > MOST_PIXELS:
                raise NoPicture(f"{image.width} x {image.height} pixels are more than can be scaled here")
            image.draft("RGB", (side, side))
            image.thumbnail((side, side))
            upright = ImageOps.exif_transpose(image)
            sink = io.BytesIO()
            upright.convert("RGBA" if upright.has_transparency_data else "RGB").save(
                sink, "WEBP", quality=75, exif=b""
            )
    except (OSError, SyntaxError, ValueError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise NoPicture(f"the image cannot be decoded ({error})") from error
    return sink.getvalue()


def _open(location: Location, size: int) -> _Tar:
    if not location.local:
        if location.size() != size:
            raise Changed(_changed(location))
        return _Tar(location, size, None, (0, 0))
    try:
        file = os.open(location.path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise Changed(_changed(location)) from error
    if os.fstat(file).st_size != size:
        os.close(file)
        raise Changed(_changed(location))
    return _Tar(location, size, file, _stamp(file))


def _stamp(file: int) -> tuple[int, int]:
    status = os.fstat(file)
    return status.st_size, status.st_mtime_ns


def _stamp_at(location: Location) -> tuple[int, int]:
    try:
        status = os.stat(location.path)
    except OSError:
        return -1, 0
    return status.st_size, status.st_mtime_ns


def _changed(location: Location) -> str:
    return (
        f"the shard {location.name} was moved, cut or changed after it was read in, so its images cannot be "
        "told apart any more. Put it back as it was, then start this server again."
    )
