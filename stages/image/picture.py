"""Bytes to pixels: upright, sRGB, alpha on white, first frame, or one reason why not.

Nothing here starts another program, opens a file or follows a link: only the Pillow formats in
``FORMATS`` are tried, and the size is checked before any pixel is decoded.

The readers silence warnings for the whole process while they run, so call them from one thread of a
process at a time.
"""

from __future__ import annotations

import io
import re
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from operator import eq
from typing import Any

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from stages.image.color import to_srgb
from stages.image.exif import exif_orientation

MAX_PIXELS = 100_000_000
"""Images whose header announces more than this are refused, in pixels (width x height)."""

FORMATS = (
    "JPEG",  # MPO too: it is a JPEG whose first frame is read
    "PNG",
    "WEBP",
    "GIF",
    "BMP",
    "TIFF",
    "JPEG2000",
    "AVIF",
    "PPM",
    "ICO",
    "PSD",
    "TGA",  # last: it has no magic number
)
"""The Pillow formats that are read."""

_SMALL_SHORT_SIDE = 64
_SMALL_LONG_SIDE_MAX = 4096

# What Pillow's parsers raise on hostile bytes (seen in its own tests and by mutating files).
_PARSER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    EOFError,
    MemoryError,
    RuntimeError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_READ_EXTENSIONS = frozenset(("jpg", "png", "webp", "gif", "bmp", "tiff", "jp2", "avif", "ppm", "ico", "psd"))

_MAGIC = (
    (re.compile(rb"\xff\xd8\xff"), "jpg"),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "png"),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "webp"),
    (re.compile(rb"GIF8[79]a"), "gif"),
    (re.compile(rb"BM"), "bmp"),
    (re.compile(rb"II[*+]\x00|MM\x00[*+]"), "tiff"),
    (re.compile(rb"\x00\x00\x00\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51"), "jp2"),
    (re.compile(rb"....ftyp(?:avif|avis)", re.DOTALL), "avif"),
    (re.compile(rb"....ftypmi(?:f1|af).{4,40}avif", re.DOTALL), "avif"),
    (re.compile(rb"P[1-6]\s"), "ppm"),
    (re.compile(rb"\x00\x00\x01\x00"), "ico"),
    (re.compile(rb"8BPS"), "psd"),
    (re.compile(rb"....ftyp(?:hei|hev|mif1|msf1)", re.DOTALL), "heic"),
    (re.compile(rb"....ftyp", re.DOTALL), "mp4"),
    (re.compile(rb"\xff\x0a|\x00\x00\x00\x0cJXL "), "jxl"),
    (re.compile(rb"%PDF"), "pdf"),
    (re.compile(rb"%!PS|\xc5\xd0\xd3\xc6"), "eps"),
    (re.compile(rb"\xd7\xcd\xc6\x9a|\x01\x00\x09\x00\x00"), "wmf"),
    (re.compile(rb"\x01\x00\x00\x00.{36} EMF", re.DOTALL), "emf"),
    (re.compile(rb"\s*(?:<\?xml[^<]*|<!--[^<]*|<!DOCTYPE svg[^<]*)*<svg\b"), "svg"),
    (re.compile(rb"DDS "), "dds"),
    (re.compile(rb"qoif"), "qoi"),
    (re.compile(rb"\x1aE\xdf\xa3"), "webm"),
)


class BrokenImage(Exception):
    """Why bytes could not be read as an image.

    ``reason`` is one of ``not_an_image unsupported_format too_many_pixels truncated corrupt
    zero_size empty``; ``detail`` says more, for people.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"


@dataclass(frozen=True)
class Header:
    """What the first bytes of an image say.

    ``width`` and ``height`` are pixels of the upright image: where ``orientation`` (EXIF, 1 to 8)
    is 5 or more they are swapped against the file. ``format`` is Pillow's name in lower case
    ("jpeg", also for MPO; "png", "webp", "jpeg2000"). ``mode`` is Pillow's mode of the file ("RGB",
    "P", "CMYK", "I;16"). ``frames`` counts those that can be walked to without decoding.
    """

    format: str
    width: int
    height: int
    orientation: int
    mode: str
    frames: int


def read_header(data: bytes) -> Header:
    """Format and size of an encoded image; decodes no pixel (of an ICO, its icon). Raises ``BrokenImage``."""
    with _pillow(data):
        image = _open(data)
        orientation = _orientation(image)
        width, height = image.size
        if orientation >= 5 and image.format != "TIFF":  # Pillow's TIFF size is upright already
            width, height = height, width
        name = "jpeg" if image.format == "MPO" else str(image.format).lower()
        return Header(name, width, height, orientation, image.mode, _frames(image))


def read_small(data: bytes) -> np.ndarray:
    """``View.SMALL``: uint8 [h, w, 3] sRGB, upright, alpha on white, short side 64 to 127 px.

    Less where the image is smaller, and where it is so thin that its long side would pass 4096 px.
    A JPEG is decoded at the smallest DCT scale that leaves both sides at least 64 px. Raises
    ``BrokenImage``.
    """
    with _pillow(data):
        image = _open(data)
        orientation = _orientation(image)
        image.draft("RGB", (_SMALL_SHORT_SIDE, _SMALL_SHORT_SIDE))
        image.decodermaxblock = len(data)  # one piece, not one of 64 KiB at a time: 4 % faster
        image.load()
        # Turned before it is shrunk: boxes are counted from the upright left and top.
        small = to_srgb(image, lambda pixels: _shrink(_upright(pixels, image, orientation)))
        return np.array(small)


def read_full(data: bytes) -> Image.Image:
    """``View.FULL``: mode RGB, sRGB, upright, alpha on white. Raises ``BrokenImage``."""
    with _pillow(data):
        image = _open(data)
        orientation = _orientation(image)
        image.load()
        return to_srgb(image, lambda pixels: _upright(pixels, image, orientation))


def ext_for(data: bytes) -> str:
    """File extension for encoded bytes, by their first bytes; "bin" where they say nothing."""
    head = data[:1024]
    for pattern, ext in _MAGIC:
        if pattern.match(head):
            return ext
    return "bin"


@contextmanager
def _pillow(data: bytes) -> Iterator[None]:
    """Let Pillow neither warn nor raise anything but ``BrokenImage`` about ``data``."""
    limit = Image.MAX_IMAGE_PIXELS
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # Pillow refuses twice its limit, also inside containers (a PNG in an ICO).
            Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2
            yield
    except _PARSER_ERRORS as error:
        raise _broken(data, error) from error
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _open(data: bytes) -> ImageFile.ImageFile:
    if not data:
        raise BrokenImage("empty", "the file has no bytes")
    image = Image.open(io.BytesIO(data), formats=FORMATS)
    if image.format == "PNG" and "transparency" in image.info:
        image.info["transparency"] = _key_8(image, depth=data[24])
    return image


def _key_8(image: Image.Image, depth: int) -> Any:
    """A PNG's transparent color at the depth at which Pillow gives the pixels."""
    key = image.info["transparency"]
    if image.mode == "RGB" and depth == 16:
        return tuple(value >> 8 for value in key)
    if image.mode == "L" and depth < 8:
        return key * 255 // (2**depth - 1)
    return key


def _shrink(image: Image.Image) -> Image.Image:
    """Boxes of pixels averaged, so that the short side has 64 to 127 px."""
    factor = max(
        min(image.size) // _SMALL_SHORT_SIDE,
        -(-max(image.size) // _SMALL_LONG_SIDE_MAX),
    )
    return image.reduce(factor) if factor > 1 else image


def _upright(pixels: Image.Image, image: Image.Image, orientation: int) -> Image.Image:
    """``pixels`` turned as ``image`` asks; Pillow turns a TIFF itself."""
    if orientation == 1 or image.format == "TIFF":
        return pixels
    return pixels.transpose(_UPRIGHT[orientation])


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 to 8; 1 where there is none or it cannot be read."""
    if image.format == "TIFF":
        image.info.pop("xmp", None)  # or loading would turn the image by it
        found = image.tag_v2.get(0x0112, 1)  # type: ignore[attr-defined]
    else:
        exif = image.info.get("exif")
        found = exif_orientation(exif) if exif else 1
    return found if found in _UPRIGHT else 1


def _frames(image: Image.Image) -> int:
    try:
        return int(getattr(image, "n_frames", 1))
    except _PARSER_ERRORS:
        return 1  # a broken later frame does not spoil the first


def _broken(data: bytes, error: BaseException) -> BrokenImage:
    """The reason code for what Pillow raised about ``data``."""
    detail = f"{type(error).__name__}: {error}"
    message = str(error).lower()
    ext = ext_for(data)
    cut = ext == "webp" and len(data) < int.from_bytes(data[4:8], "little") + 8
    if isinstance(error, (Image.DecompressionBombError, MemoryError)):
        return BrokenImage("too_many_pixels", detail)
    if cut or "truncated" in message or "not enough image data" in message:
        return BrokenImage("truncated", detail)
    if isinstance(error, UnidentifiedImageError):
        if ext == "bin":
            return BrokenImage("not_an_image", "no image format that is read")
        if ext not in _READ_EXTENSIONS:
            return BrokenImage("unsupported_format", f"looks like {ext}")
        if _announces_no_pixels(data, ext):
            return BrokenImage("zero_size", "the header announces a side of 0 pixels")
        return BrokenImage("corrupt", f"starts as {ext}, but its header cannot be read")
    if isinstance(error, EOFError):
        return BrokenImage("truncated", detail)
    if message.startswith("unsupported"):
        return BrokenImage("unsupported_format", detail)
    return BrokenImage("corrupt", detail)


def _announces_no_pixels(data: bytes, ext: str) -> bool:
    """Whether a side is 0 in the headers that Pillow then calls unidentified."""
    starts = {"png": (">II", 16), "gif": ("<HH", 6), "bmp": ("<ii", 18), "psd": (">II", 14)}
    layout, at = starts.get(ext, ("", 0))
    if ext == "jpg" and (frame := re.search(rb"\xff[\xc0-\xc2]\x00[\x08-\x20]\x08", data)):
        layout, at = ">HH", frame.end()
    if ext == "jp2" and (sizes := data.find(b"\xff\x51", 0, 4096)) >= 0:
        layout, at = ">4I", sizes + 6
    if not layout or at + struct.calcsize(layout) > len(data):
        return False
    sides = struct.unpack_from(layout, data, at)
    return 0 in sides[:2] or any(map(eq, sides[:2], sides[2:]))
