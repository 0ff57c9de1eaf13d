"""One file of the crawl: a scene drawn, edited as re-uploads are, encoded, perhaps damaged.

A ``Picture`` is the order for it, ``render`` fills it: the same bytes on every machine with the
same Pillow. Boxes follow the pixels through every edit.
"""

from __future__ import annotations

import io
import math
import os
import random
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import parent_process
from pathlib import Path

from PIL import Image, ImageDraw, ImageEnhance, ImageFont, ImageOps

from tinyworld.draw import draw
from tinyworld.scene import Scene, boxes
from tinyworld.shapes import RGB

Boxes = list[tuple[int, int, int, int]]
Shown = tuple[int, int, Boxes]
"""Width and height of a file's upright image, and the subjects' boxes in it."""


@dataclass(frozen=True)
class Picture:
    """``content``: a scene, or one color. ``width`` and ``height``: as drawn, before ``edit``.

    ``edit`` is a key of ``EDITS``, ``encoding`` of ``ENCODINGS``, ``damage`` of ``DAMAGES``;
    ``seed`` settles what an edit leaves open. ``quality``: JPEG and WebP, 1..95.
    """

    content: Scene | RGB
    width: int
    height: int
    edit: str | None = None
    encoding: str = "jpeg"
    quality: int = 90
    damage: str | None = None
    seed: int = 0


@dataclass(frozen=True)
class Rendered:
    """The file, the size of its upright image in pixels, and the subjects' boxes in it."""

    data: bytes
    width: int
    height: int
    boxes: Boxes


def render(picture: Picture) -> Rendered:
    """The file that ``picture`` orders."""
    rng = random.Random(f"tiny world picture {picture.seed}")
    found: Boxes = []
    if isinstance(picture.content, Scene):
        image = draw(picture.content, picture.width, picture.height)
        for left, top, right, bottom, _ in boxes(picture.content, *image.size):
            found.append((left, top, right, bottom))
    else:
        image = Image.new("RGB", (picture.width, picture.height), picture.content)
    if picture.edit:
        image, found = EDITS[picture.edit](image, found, rng)
    data = ENCODINGS[picture.encoding](image, picture.quality)
    if picture.damage:
        data = DAMAGES[picture.damage](data)
    return Rendered(data, image.width, image.height, found)


def end_with_parent() -> None:
    """Start of a drawing process: it ends when the process that started it is gone, even if killed."""
    parent = parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def write_file(job: tuple[str, Picture]) -> Shown:
    """Render ``job[1]`` into the file ``job[0]``; here, so that a drawing process loads little else."""
    path, picture = job
    rendered = render(picture)
    Path(path).write_bytes(rendered.data)
    return rendered.width, rendered.height, rendered.boxes


def _scaled(image: Image.Image, found: Boxes, factor: float) -> tuple[Image.Image, Boxes]:
    size = round(image.width * factor), round(image.height * factor)
    fx, fy = size[0] / image.width, size[1] / image.height
    moved = [
        (math.floor(a * fx), math.floor(b * fy), math.ceil(c * fx), math.ceil(d * fy)) for a, b, c, d in found
    ]
    return image.resize(size, Image.Resampling.LANCZOS), moved


def _smaller(image: Image.Image, found: Boxes, rng: random.Random) -> tuple[Image.Image, Boxes]:
    # An edited copy on the web is seldom full size; it also settles which copy is the best.
    return _scaled(image, found, rng.uniform(0.8, 0.95))


def _resize(image: Image.Image, found: Boxes, rng: random.Random) -> tuple[Image.Image, Boxes]:
    return _scaled(image, found, rng.uniform(0.5, 0.9))


def _crop(image: Image.Image, found: Boxes, rng: random.Random) -> tuple[Image.Image, Boxes]:
    width, height = image.size
    left, right = (round(width * rng.uniform(0.02, 0.05)) for _ in range(2))
    top, bottom = (round(height * rng.uniform(0.02, 0.05)) for _ in range(2))
    image = image.crop((left, top, width - right, height - bottom))
    return image, [_clipped(b, (left, top), image.size) for b in found]


def _clipped(
    box: tuple[int, int, int, int], origin: tuple[int, int], size: tuple[int, int]
) -> tuple[int, int, int, int]:
    """The box seen from a new origin, cut at the edges of an image of this size."""
    (left, top, right, bottom), (x, y) = box, origin
    return (
        min(max(left - x, 0), size[0]),
        min(max(top - y, 0), size[1]),
        min(max(right - x, 0), size[0]),
        min(max(bottom - y, 0), size[1]),
    )


def _flip(image: Image.Image, found: Boxes, rng: random.Random) -> tuple[Image.Image, Boxes]:
    mirrored = [(image.width - c, b, image.width - a, d) for a, b, c, d in found]
    return _smaller(ImageOps.mirror(image), mirrored, rng)


def _brightness(image: Image.Image, found: Boxes, rng: random.Random) -> tuple[Image.Image, Boxes]:
    return _smaller(ImageEnhance.Brightness(image).enhance(rng.choice((0.8, 1.2))), found, rng)


def _watermark(image: Image.Image, found: Boxes, rng: random.Random) -> tuple[Image.Image, Boxes]:
    image, found = _smaller(image, found, rng)
    text = rng.choice(("© tinystock", "tinyworld.example", "SAMPLE 20417", "photo: A. Nonymous"))
    font = ImageFont.load_default(max(10, min(image.size) // 16))
    veil = Image.new("RGBA", image.size, (0, 0, 0, 0))
    pen = ImageDraw.Draw(veil)
    _, _, width, height = (math.ceil(v) for v in pen.textbbox((0, 0), text, font=font))
    margin = min(image.size) // 40
    x = rng.choice((margin, image.width - width - margin))
    y = rng.choice((margin, image.height - height - margin))
    pen.text((x + 1, y + 1), text, font=font, fill=(0, 0, 0, 110))
    pen.text((x, y), text, font=font, fill=(255, 255, 255, 150))
    return Image.alpha_composite(image.convert("RGBA"), veil).convert("RGB"), found


def _caption_bar(image: Image.Image, found: Boxes, rng: random.Random) -> tuple[Image.Image, Boxes]:
    """A bar over the lowest 8 to 12 % where that hides no subject, else added below the picture."""
    image, found = _smaller(image, found, rng)
    bar = round(image.height * rng.uniform(0.08, 0.12))
    width, height = image.size
    if any(bottom > height - bar for _, _, _, bottom in found):
        bar = min(bar, round(height * 0.1))
        # Picture and bar together keep the size: never more pixels than the original.
        image, found = _scaled(image, found, (height - bar) / height)
        bar, width = height - image.height, image.width
        image = ImageOps.expand(image, (0, 0, 0, bar), (18, 18, 20))
    else:
        image.paste((18, 18, 20), (0, height - bar, width, height))
    text = rng.choice(("When you see it", "Breaking news", "Follow for more", "Best of today"))
    font = ImageFont.load_default(max(9, round(bar * 0.55)))
    place = (width / 2, height - bar / 2)
    ImageDraw.Draw(image).text(place, text, font=font, fill=(240, 240, 240), anchor="mm")
    return image, found


EDITS: dict[str, Callable[[Image.Image, Boxes, random.Random], tuple[Image.Image, Boxes]]] = {
    "resize": _resize,
    "crop": _crop,
    "flip": _flip,
    "brightness": _brightness,
    "watermark": _watermark,
    "caption_bar": _caption_bar,
}


def _saved(image: Image.Image, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, **options)  # type: ignore[arg-type]
    return file.getvalue()


def _jpeg(image: Image.Image, quality: int) -> bytes:
    return _saved(image, format="JPEG", quality=quality)


def _turned(orientation: int, turn: Image.Transpose) -> Callable[[Image.Image, int], bytes]:
    """A JPEG stored turned, with the EXIF orientation that sets it upright."""

    def encode(image: Image.Image, quality: int) -> bytes:
        exif = Image.Exif()
        exif[0x0112] = orientation
        return _saved(image.transpose(turn), format="JPEG", quality=quality, exif=exif)

    return encode


def _png_alpha(image: Image.Image, quality: int) -> bytes:
    """Transparent rounded corners over black, which must not show."""
    mask = Image.new("L", image.size, 0)
    edge = (0, 0, image.width - 1, image.height - 1)
    ImageDraw.Draw(mask).rounded_rectangle(edge, min(image.size) // 16, fill=255)
    backed = Image.composite(image, Image.new("RGB", image.size), mask)
    backed.putalpha(mask)
    return _saved(backed, format="PNG", compress_level=1)


def _gif(image: Image.Image, quality: int) -> bytes:
    first = image.quantize(128, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    others = [
        first.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        first.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
    ]
    return _saved(first, format="GIF", save_all=True, append_images=others, duration=200, loop=0)


ENCODINGS: dict[str, Callable[[Image.Image, int], bytes]] = {
    "jpeg": _jpeg,
    "gray": lambda image, quality: _jpeg(image.convert("L"), quality),
    "cmyk": lambda image, quality: _jpeg(image.convert("CMYK"), quality),
    "exif3": _turned(3, Image.Transpose.ROTATE_180),
    "exif6": _turned(6, Image.Transpose.ROTATE_90),
    "exif8": _turned(8, Image.Transpose.ROTATE_270),
    "png": lambda image, quality: _saved(image, format="PNG", compress_level=1),
    "png_alpha": _png_alpha,
    "webp": lambda image, quality: _saved(image, format="WEBP", quality=quality, method=2),
    "gif": _gif,
    "gif_still": lambda image, quality: _saved(image.quantize(2), format="GIF"),
}


def _flipped_bits(data: bytes) -> bytes:
    """A PNG whose deflate stream opens with an impossible block, with more bits flipped inside."""
    start = data.index(b"IDAT") + 4
    (size,) = struct.unpack(">I", data[start - 8 : start - 4])
    damaged = bytearray(data)
    damaged[start + 2] |= 0b110
    for i in range(start + size // 2, start + size // 2 + 24):
        damaged[i] ^= 0x5A
    return bytes(damaged)


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "html": lambda data: b"<!doctype html><html><title>Gone</title><p>This picture has moved.</html>\n",
    "text": lambda data: b"hotlinking is not allowed\n",
    "nul_bytes": lambda data: bytes(4096),
    "empty_body": lambda data: b"",
    "truncated": lambda data: data[: len(data) * 6 // 10],
    "png_flipped_bits": _flipped_bits,
}
