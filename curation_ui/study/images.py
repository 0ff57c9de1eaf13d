"""What the two images of a trial look like on the wire: nothing but their pixels differs.

Both are decoded, turned upright, brought to sRGB and to one size, written as PNG by the same encoder without
any metadata, and padded to the same number of bytes. So neither format, EXIF, text chunks, color profile,
dimensions nor file size tells which model made which. The same size is that of a canvas which holds both:
a smaller image is enlarged to fit (Lanczos), and what is left over is gray. Nothing is lost: PNG keeps every
pixel of an image that has the size of the canvas.
"""

from __future__ import annotations

import hashlib
import io
import struct
import threading
import zlib
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass

import pyarrow as pa
from PIL import Image, ImageCms, ImageOps

from curation_ui.study.design import Study
from curation_ui.study.pairs import Pair
from curation_ui.study.votes import Trial
from store.errors import MashbillError

STEP_BYTES = 64 << 10
"""Sizes on the wire are multiples of this."""
GRAY = (128, 128, 128)
MOSAIC = 8
"""Side of the squares that a corrupted image is made of, in 64ths of its shorter side."""
CACHE_BYTES = 256 << 20
IEND = struct.pack(">I4sI", 0, b"IEND", zlib.crc32(b"IEND"))


@dataclass(frozen=True)
class Shown:
    """Two PNGs of equal pixel size and equal length."""

    left: bytes
    right: bytes
    width: int
    height: int


class StudyImages:
    """The images of one study, prepared trial by trial; the last ones are kept in memory."""

    def __init__(self, study: Study, images: pa.Table, pairs: Sequence[Pair]) -> None:
        self._study, self._pairs = study, pairs
        self._rows = images.to_pylist()
        self._ready: OrderedDict[str, Future[Shown]] = OrderedDict()
        self._lock = threading.Lock()

    def size(self, trial: Trial) -> tuple[int, int]:
        """Width and height of the canvas of a trial."""
        rows = [self._rows[index] for index in set(self._indices(trial))]
        return max(row["width"] for row in rows), max(row["height"] for row in rows)

    def shown(self, trial: Trial) -> Shown:
        """Both images of a trial. Whoever asks second waits for the first; the answer is the same.

        Raises:
            MashbillError: an image is gone or was changed since the study was frozen.
        """
        with self._lock:
            found, mine = self._ready.get(trial.token), False
            if found is None:
                found = self._ready[trial.token] = Future()
                mine = True
            self._ready.move_to_end(trial.token)
        if mine:
            try:
                found.set_result(self._prepare(trial))
            except BaseException as error:
                with self._lock:
                    self._ready.pop(trial.token, None)
                found.set_exception(error)
            self._forget()
        return found.result()

    def _forget(self) -> None:
        """Drop the oldest until what is kept fits ``CACHE_BYTES``."""
        with self._lock:
            sizes = {token: 2 * len(f.result().left) for token, f in self._ready.items() if _good(f)}
            kept = sum(sizes.values())
            for token, size in sizes.items():
                if kept <= CACHE_BYTES:
                    return
                kept -= size
                del self._ready[token]

    def _indices(self, trial: Trial) -> tuple[int, int]:
        """Rows of the images left and right; of a corrupted one the same twice."""
        pair = self._pairs[trial.pair]
        if not trial.known:
            both = (pair.image_a, pair.image_b)
        elif trial.other < 0:
            both = (_of(pair, trial.slot), _of(pair, trial.slot))
        else:
            both = (_of(pair, trial.slot), _of(self._pairs[trial.other], trial.slot))
        return both if trial.left_is_a else (both[1], both[0])

    def _prepare(self, trial: Trial) -> Shown:
        left, right = (self._picture(index) for index in self._indices(trial))
        if trial.known and trial.other < 0:
            left, right = (left, corrupted(right)) if trial.left_is_a else (corrupted(left), right)
        return equal(left, right)

    def _picture(self, index: int) -> Image.Image:
        row = self._rows[index]
        tar = self._study.tar(row["tar"])
        [data] = tar.read_ranges([(row["offset"], row["size"])])
        if hashlib.sha256(data).hexdigest() != row["sha256"]:
            raise MashbillError(
                f"an image of this study in {tar.url} has other bytes than when the study was frozen. "
                "Restore the file; votes on other pixels would be votes of another study."
            )
        return upright(data)


def _good(found: Future[Shown]) -> bool:
    return found.done() and found.exception() is None


def _of(pair: Pair, slot: int) -> int:
    return pair.image_b if slot else pair.image_a


def upright(data: bytes) -> Image.Image:
    """RGB in sRGB, turned as EXIF says, on white where it was transparent, without metadata."""
    with Image.open(io.BytesIO(data)) as opened:
        profile = opened.info.get("icc_profile")
        image = ImageOps.exif_transpose(opened)
        if image.has_transparency_data:
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
        image = image.convert("RGB") if image.mode != "CMYK" or not profile else image
        image = _srgb(image, profile) if profile else image
    plain = Image.new("RGB", image.size)
    plain.paste(image)
    return plain


def _srgb(image: Image.Image, profile: bytes) -> Image.Image:
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        found = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError):  # a profile that is broken or of another mode: browsers ignore it
        return image.convert("RGB")
    assert found is not None
    return found


def corrupted(image: Image.Image) -> Image.Image:
    """The image in coarse squares: worse for anyone who looks."""
    side = max(2, MOSAIC * min(image.size) // 64)
    small = image.resize((max(1, image.width // side), max(1, image.height // side)), Image.Resampling.BOX)
    return small.resize(image.size, Image.Resampling.NEAREST)


def equal(left: Image.Image, right: Image.Image) -> Shown:
    """Both on one canvas, as PNGs of one length."""
    width, height = max(left.width, right.width), max(left.height, right.height)
    files = [_png(_fitted(image, width, height)) for image in (left, right)]
    length = -(-(max(map(len, files)) + 12) // STEP_BYTES) * STEP_BYTES
    return Shown(_padded(files[0], length), _padded(files[1], length), width, height)


def _fitted(image: Image.Image, width: int, height: int) -> Image.Image:
    if image.size == (width, height):
        return image
    scale = min(width / image.width, height / image.height)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    canvas = Image.new("RGB", (width, height), GRAY)
    canvas.paste(
        image.resize(size, Image.Resampling.LANCZOS), ((width - size[0]) // 2, (height - size[1]) // 2)
    )
    return canvas


def _png(image: Image.Image) -> bytes:
    sink = io.BytesIO()
    image.save(sink, "png", compress_level=1)
    return sink.getvalue()


def _padded(png: bytes, length: int) -> bytes:
    """The same PNG, so many bytes long: a chunk of zeros that decoders pass over stands before its end."""
    assert png.endswith(IEND)
    body = b"paDd" + bytes(length - len(png) - 12)
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return png[: -len(IEND)] + chunk + IEND
