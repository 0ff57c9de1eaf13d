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
from store.sources import Shard
from store.store import Store
from store.versions import Version

SIDES = (192, 384)
"""Longest sides of thumbnails, pixels."""
MOST_PIXELS = 100_000_000
READERS, DECODERS = 8, 2
REMEMBERED_BYTES = 64 << 20
"""Of thumbnails."""


class Changed(MashbillError):
    """A shard is not what it was when it was read in, or leads out of the store."""


class NoPicture(MashbillError):
    """Bytes that no browser is to be given as an image."""


Stamp = tuple[int, int]
"""Bytes and time of the last change, ns; -1 and 0 where there is no file."""


@dataclass(frozen=True)
class Picture:
    """Bytes to send, with their type and a name for exactly these bytes."""

    data: bytes
    type: str
    etag: str


@dataclass(frozen=True)
class _Tar:
    """One shard that is read from. ``file`` is open where the shard is local; ``inside``: of the store."""

    location: Location
    file: int | None
    stamp: Stamp
    inside: bool


class Images:
    """Reads and scales in threads of its own, a bounded number."""

    def __init__(self, store: Store, version: Version, catalog: Catalog) -> None:
        self._catalog = catalog
        self._source = store.source(version.manifest()["source"]["fingerprint"])
        self._shards = {shard.index: shard for shard in self._source.shards()}
        self._root = store.root
        self._stamps = {n: _stamp_at(self._source.tar(s), self._inside(s)) for n, s in self._shards.items()}
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
        if _stamp(os.fstat(tar.file)) != tar.stamp or _stamp_at(tar.location, tar.inside) != tar.stamp:
            raise Changed(_changed(tar.location))
        data = os.pread(tar.file, place.size, place.offset)
        if len(data) != place.size:
            raise Changed(_changed(tar.location))
        return data

    def _tar(self, index: int) -> _Tar:
        with self._lock:
            if index not in self._tars:
                shard = self._shards[index]
                tar, inside = self._source.tar(shard), self._inside(shard)
                if tar.local:
                    file = _opened(tar, inside, self._root)
                    self._tars[index] = _checked(
                        _Tar(tar, file, self._stamps[index], inside), shard.tar_bytes
                    )
                elif tar.size() != shard.tar_bytes:
                    raise Changed(_changed(tar))
                else:
                    self._tars[index] = _Tar(tar, None, self._stamps[index], inside)
            return self._tars[index]

    def _inside(self, shard: Shard) -> bool:
        """Whether a shard lies in the store. A tar outside of it was named by a person, and may be a link."""
        return self._source.tar(shard).path.startswith(f"{self._root.path}/")


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


def _opened(location: Location, inside: bool, root: Location) -> int:
    """The file, open: the very one of that name, where it lies in the store, and no link to another."""
    try:
        if inside and not _leads_inside(location, root):
            raise Changed(
                f"the shard {location.name} is a link or lies behind one, and what a link leads to is not "
                "shown. Put the file itself there, then start this server again."
            )
        return os.open(location.path, os.O_RDONLY | os.O_CLOEXEC | (os.O_NOFOLLOW if inside else 0))
    except OSError as error:
        raise Changed(_changed(location)) from error


def _leads_inside(location: Location, root: Location) -> bool:
    real = os.path.realpath(location.path)
    return not os.path.islink(location.path) and real.startswith(f"{os.path.realpath(root.path)}/")


def _checked(tar: _Tar, size: int) -> _Tar:
    """The tar, where it is as it was when the queue was opened, and of the size that was read in."""
    assert tar.file is not None
    stamp = _stamp(os.fstat(tar.file))
    if stamp != tar.stamp or stamp[0] != size:
        os.close(tar.file)
        raise Changed(_changed(tar.location))
    return tar


def _stamp(status: os.stat_result) -> Stamp:
    return status.st_size, status.st_mtime_ns


def _stamp_at(location: Location, inside: bool) -> Stamp:
    """What is there now; of a link inside the store what the link is, not what it leads to."""
    try:
        return _stamp(os.stat(location.path, follow_symlinks=not inside)) if location.local else (-1, 0)
    except OSError:
        return -1, 0


def _changed(location: Location) -> str:
    return (
        f"the shard {location.name} was moved, cut or changed after it was read in, so its images cannot be "
        "told apart any more. Put it back as it was, then start this server again."
    )
