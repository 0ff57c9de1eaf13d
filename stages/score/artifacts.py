"""Stage ``artifacts``: what compression, exposure and sensors did to a picture, measured without a model.

H W pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stages.stage import Batch, MapStage, View

_BLOCK = 8
_MOST_PX = 4096
_DARK, _BRIGHT = 5, 250
_FLAT_DEVIATION = 2

Luma = NDArray[np.int16]


@dataclass(frozen=True)
class Artifacts(MapStage):
    """Five measures of the luma (0 to 255) of the whole source image, pixel for pixel.

    ``blockiness``: (B - A) / (B + A), where B is the mean absolute difference of neighboring pixels across
    the lines of an 8 x 8 grid and A that of all others (both after Wang, Sheikh and Bovik, ICIP 2002),
    rows and columns together, at the offset of the grid that shows most. About 0 to 0.02 without a grid,
    1 where nothing but a grid is; smaller than 0 never.

    ``noise``: standard deviation of the noise in levels of luma (Immerkaer, Computer Vision and Image
    Understanding 64, 1996): sqrt(pi / 2) / (6 (W - 2) (H - 2)) times the sum of |I * N|, N = (1, -2, 1) by
    (1, -2, 1). Fine texture counts as noise.

    ``overexposed``, ``underexposed``: share, 0 to 1, of pixels of 250 and more, of 5 and less.

    ``flatness``: share, 0 to 1, of 8 x 8 tiles whose standard deviation is under 2 levels.

    They need source pixels: a small view has neither grid nor noise left. Of an image over 4096 px its
    middle 4096 are measured. All sums are of whole numbers. Null without an image or under 16 x 16 px.
    Cost: see docs/scores.md.
    """

    name: ClassVar[str] = "artifacts"
    version: ClassVar[int] = 1
    writes: ClassVar[pa.Schema] = pa.schema(
        [
            ("blockiness", pa.float32()),
            ("noise", pa.float32()),
            ("overexposed", pa.float32()),
            ("underexposed", pa.float32()),
            ("flatness", pa.float32()),
        ]
    )
    view: ClassVar[View] = View.FULL

    def open(self) -> Callable[[Batch], dict[str, Sequence[Any]]]:
        def run(batch: Batch) -> dict[str, Sequence[Any]]:
            rows = [self._row(image) for image in batch.images]
            return {name: [row[i] for row in rows] for i, name in enumerate(self.writes.names)}

        return run

    def _row(self, image: Any) -> tuple[float | None, ...]:
        if image is None or min(image.size) < 2 * _BLOCK:
            return (None,) * len(self.writes)
        luma = _middle(image).convert("L")
        counts = luma.histogram()
        pixels = luma.width * luma.height
        luma_HW = np.asarray(luma).astype(np.int16)
        exposed = sum(counts[_BRIGHT:]) / pixels, sum(counts[: _DARK + 1]) / pixels
        return blockiness(luma_HW), noise(luma_HW), *exposed, flatness(luma_HW)


def _middle(image: Any) -> Any:
    wide, tall = min(image.width, _MOST_PX), min(image.height, _MOST_PX)
    left, top = (image.width - wide) // 2, (image.height - tall) // 2
    return image if (wide, tall) == image.size else image.crop((left, top, left + wide, top + tall))


def blockiness(luma_HW: Luma) -> float:
    """How much of an 8 x 8 grid is seen, 0 to 1; 0 of an image without any edge."""
    steps = [np.abs(np.diff(luma_HW, axis=axis)).sum(axis=1 - axis, dtype=np.int64) for axis in (0, 1)]
    across, total, lines, places = 0, 0, 0, 0
    for axis, sums in enumerate(steps):
        by_offset = [sums[offset::_BLOCK] for offset in range(_BLOCK)]
        grid = max(by_offset, key=lambda some: int(some.sum()) / len(some))
        length = luma_HW.shape[1 - axis]
        across, lines = across + int(grid.sum()), lines + len(grid) * length
        total, places = total + int(sums.sum()), places + len(sums) * length
    on = across / lines
    off = (total - across) / (places - lines)
    return (on - off) / (on + off) if total else 0.0


def noise(luma_HW: Luma) -> float:
    """Standard deviation of the noise, in levels of luma."""
    twice = np.diff(np.diff(luma_HW, n=2, axis=1), n=2, axis=0)  # within 16 * 255 either way
    return math.sqrt(math.pi / 2) * int(np.abs(twice).sum(dtype=np.int64)) / (6 * twice.size)


def flatness(luma_HW: Luma) -> float:
    """Share of whole 8 x 8 tiles, from the left and top, that are nearly of one level."""
    tall, wide = (side // _BLOCK for side in luma_HW.shape)
    tiles = luma_HW[: tall * _BLOCK, : wide * _BLOCK].reshape(tall, _BLOCK, wide, _BLOCK).astype(np.int32)
    sums, squares = tiles.sum(axis=(1, 3)), (tiles * tiles).sum(axis=(1, 3))
    count = _BLOCK * _BLOCK
    # n * sum of squares - (sum)^2 = n^2 * variance, in whole numbers
    return float(np.mean(count * squares - sums * sums < (count * _FLAT_DEVIATION) ** 2))
