"""64-bit perceptual hashes of the picture, of its mirror image and of parts of it.

``phash`` equals ``imagehash.phash`` of the small view: the picture as luma, 32 x 32 by Lanczos, DCT-II,
the 8 x 8 lowest coefficients, a bit for each that is above their median. Half of the bits are set, so
two hashes differ in an even number of bits.

The other hashes are computed from the same 32 x 32 luma: a part (``REGIONS``) by band-limited
interpolation, the mirror image by the sign of the odd horizontal coefficients. They let a cropped,
captioned or mirrored copy meet its original. ``thumbnail`` is the second signal of a match.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from PIL import Image

from stages.stage import Batch, MapStage, View

SIDE = 32
"""Side of the luma picture that every hash is computed from, in pixels."""
LUMA_SIDE = 24
CHROMA_SIDE = 12
THUMBNAIL_BYTES = LUMA_SIDE**2 + 2 * CHROMA_SIDE**2


@dataclass(frozen=True)
class Region:
    """Part of a picture: shares of its width and height left out at the sides and at the bottom."""

    sides: float = 0.0
    bottom: float = 0.0

    @property
    def top(self) -> float:
        return self.bottom if self.sides else 0.0


REGIONS: dict[str, Region] = {
    "phash": Region(),
    "phash_inset_2": Region(sides=0.025, bottom=0.025),
    "phash_inset_5": Region(sides=0.05, bottom=0.05),
    "phash_inset_10": Region(sides=0.1, bottom=0.1),
    "phash_above_9": Region(bottom=0.09),
    "phash_above_12": Region(bottom=0.12),
}
"""Hash column -> the part of the picture it describes. An inset leaves out the top as well.

Insets meet copies that were cropped; the part above the lowest 9 % meets the original of a copy with
a caption bar added below, the part above the lowest 12 % one with a bar drawn over it."""
FLIPPED = "_flipped"
"""Ending of the column with the hash of the mirror image of the same part."""
HASH_COLUMNS = tuple(name + flip for name in REGIONS for flip in ("", FLIPPED))

_FREQUENCY = np.arange(SIDE)
_DCT = 2 * np.cos(np.pi * _FREQUENCY[:, None] * (2 * _FREQUENCY[None, :] + 1) / (2 * SIDE))
_MIRROR = np.where(np.arange(8) % 2, -1.0, 1.0)


@dataclass(frozen=True)
class PerceptualHash(MapStage):
    """Hashes, ``detail`` and ``thumbnail`` of each readable image; all null where there is none.

    ``detail``: a quarter of the 64 bits rest on differences smaller than this, in gray levels of an
    orthonormal DCT. 0 for solid and half-and-half pictures, below 0.4 for gradients and plain noise,
    above 1 for 168 of 168 photographs. Below ``min_detail`` the hashes say nothing and are null.
    """

    name: ClassVar[str] = "perceptual_hash"
    version: ClassVar[int] = 1
    view: ClassVar[View] = View.SMALL
    writes: ClassVar[pa.Schema] = pa.schema(
        [pa.field(name, pa.uint64()) for name in HASH_COLUMNS]
        + [pa.field("detail", pa.float32()), pa.field("thumbnail", pa.binary(THUMBNAIL_BYTES))]
    )

    min_detail: float = 0.5

    def open(self) -> Callable[[Batch], dict[str, Sequence[Any]]]:
        return self._describe

    def _describe(self, batch: Batch) -> dict[str, Sequence[Any]]:
        columns: dict[str, list[Any]] = {name: [None] * batch.size for name in self.writes.names}
        rows = [row for row, image in enumerate(batch.images) if image is not None]
        if not rows:
            return dict(columns)
        luma, chroma = _shrink([batch.images[row] for row in rows])
        described: dict[str, list[Any]] = {name: hashes.tolist() for name, hashes in _hashes(luma).items()}
        detail = _detail(luma)
        for name, values in described.items():
            for row, value, enough in zip(rows, values, detail >= self.min_detail, strict=True):
                columns[name][row] = value if enough else None
        for row, value, thumbnail in zip(rows, detail, _thumbnails(luma, chroma), strict=True):
            columns["detail"][row] = float(value)
            columns["thumbnail"][row] = thumbnail
        return dict(columns)


def _shrink(images: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """uint8 [n, 32, 32] luma and uint8 [n, 12, 12, 3] RGB of uint8 [h, w, 3] images of any size."""
    luma = np.empty((len(images), SIDE, SIDE), np.uint8)
    color = np.empty((len(images), CHROMA_SIDE, CHROMA_SIDE, 3), np.uint8)
    for row, pixels in enumerate(images):
        image = Image.fromarray(pixels)
        luma[row] = np.asarray(image.convert("L").resize((SIDE, SIDE), Image.Resampling.LANCZOS))
        cells = image.resize((CHROMA_SIDE, CHROMA_SIDE), Image.Resampling.BOX, reducing_gap=1.0)
        color[row] = np.asarray(cells)
    return luma, color


def _lowest_frequencies(start: float, stop: float) -> np.ndarray:
    """float64 [8, 32]: from 32 samples of an axis to the 8 lowest DCT-II coefficients of its part
    from ``start`` to ``stop`` (shares), resampled to 32 samples between the given ones by their
    own cosine series."""
    sample = SIDE * (start + (stop - start) * (_FREQUENCY + 0.5) / SIDE)
    series = np.cos(np.pi * _FREQUENCY[None, :] * sample[:, None] / SIDE) / SIDE
    series[:, 0] /= 2
    return np.asarray(_DCT[:8] @ series @ _DCT)


def _coefficients(luma: np.ndarray, region: Region) -> np.ndarray:
    """float64 [n, 8, 8], vertical frequency first, of part of uint8 [n, 32, 32]."""
    down = _lowest_frequencies(region.top, 1 - region.bottom)
    across = _lowest_frequencies(region.sides, 1 - region.sides)
    return np.asarray(down @ luma.astype(np.float64) @ across.T)


def _hashes(luma: np.ndarray) -> dict[str, np.ndarray]:
    """Hash column -> uint64 [n]."""
    hashes = {}
    for name, region in REGIONS.items():
        coefficients = _coefficients(luma, region)
        hashes[name] = _bits(coefficients)
        hashes[name + FLIPPED] = _bits(coefficients * _MIRROR)
    return hashes


def _bits(coefficients: np.ndarray) -> np.ndarray:
    """uint64 [n] of [n, 8, 8]; the first coefficient is the highest bit, as imagehash prints it."""
    flat = coefficients.reshape(-1, 64)
    above = flat > np.median(flat, axis=1, keepdims=True)
    return np.packbits(above, axis=1).view(">u8")[:, 0].astype(np.uint64)


def _detail(luma: np.ndarray) -> np.ndarray:
    """float64 [n]: the 16 least certain of the 64 bits are decided by at most this much."""
    flat = _coefficients(luma, Region()).reshape(-1, 64) / (2 * SIDE)
    margin = np.abs(flat - np.median(flat, axis=1, keepdims=True))
    return np.asarray(np.partition(margin, 16, axis=1)[:, 16]).round(3)


def _thumbnails(luma: np.ndarray, color: np.ndarray) -> list[bytes]:
    """24 x 24 luma, then 12 x 12 Cb and Cr around 128 (ITU-R BT.601), row by row."""
    cover = _area_means(SIDE, LUMA_SIDE)
    y = cover @ luma.astype(np.float64) @ cover.T
    rgb = color.astype(np.float64)
    light = rgb @ [0.299, 0.587, 0.114]
    blue, red = (rgb[..., 2] - light) * 0.564 + 128, (rgb[..., 0] - light) * 0.713 + 128
    planes = [plane.reshape(len(luma), -1) for plane in (y, blue, red)]
    packed = np.concatenate(planes, axis=1).round().clip(0, 255).astype(np.uint8)
    return [row.tobytes() for row in packed]


def _area_means(samples: int, cells: int) -> np.ndarray:
    """float64 [cells, samples]: mean of the samples that each of ``cells`` equal parts covers."""
    edges = np.linspace(0, samples, cells + 1)
    left = np.maximum(edges[:-1, None], np.arange(samples))
    right = np.minimum(edges[1:, None], np.arange(1, samples + 1))
    return np.asarray((right - left).clip(0) * cells / samples)
