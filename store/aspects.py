"""Images of several aspects (width over height): which one an image gets, and what size it then has.

The crop, the pack and the run that reads it agree because all three ask here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

Size = tuple[int, int]
"""(width, height) in pixels, as pictures state them."""

STEP_PX = 16
"""Sides that are not those of a square are multiples of it: 8 pixels make a latent, 2 latents a patch of
PixArt and SD3."""


def bucket_size(aspect: float, resolution: int) -> Size:
    """The size of images of one aspect that have the area of a square of ``resolution`` pixels a side.

    Each side is the multiple of ``STEP_PX`` nearest to that of the exact rectangle. Where both come out
    alike, and so for aspect 1, it is the square itself. No two sizes of one resolution have one aspect.
    Under ``STEP_PX`` a size that is no square is larger than asked.
    """
    root = math.sqrt(aspect)
    sides = (resolution * root, resolution / root)
    width, height = (STEP_PX * max(1, round(side / STEP_PX)) for side in sides)
    return (resolution, resolution) if width == height else (width, height)


def nearest_aspect(aspect: float, aspects: Sequence[float]) -> int:
    """Which of ``aspects`` is nearest on a log scale; the first of equals."""
    # By the ratio, which is the same on every machine; a logarithm may differ in the last bit.
    return min(range(len(aspects)), key=lambda n: max(aspect / aspects[n], aspects[n] / aspect))


def covering(size: Size, bucket: Size) -> tuple[float, float, float, float]:
    """The largest box of the bucket's aspect in the middle of an image: left, top, right, bottom in px.

    Sides where nothing is cut are exactly those of the image.
    """
    wide, tall = float(size[0]), float(size[1])
    if size[0] * bucket[1] > size[1] * bucket[0]:
        wide = size[1] * bucket[0] / bucket[1]
    else:
        tall = size[0] * bucket[1] / bucket[0]
    left, top = (size[0] - wide) / 2, (size[1] - tall) / 2
    return left, top, size[0] - left, size[1] - top
