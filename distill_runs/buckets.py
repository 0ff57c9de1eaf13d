"""Aspect buckets: which of a run's sizes an image is read at, and how it is fitted there.

Sizes are ``(width, height)`` in pixels, as pictures state them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from store.errors import UsageError

Size = tuple[int, int]


def nearest_bucket(size: Size, buckets: Sequence[Size]) -> int:
    """The bucket whose aspect ratio is nearest to that of ``size`` on a log scale; the first of equals."""
    aspect = math.log(size[0] / size[1])
    return min(range(len(buckets)), key=lambda b: abs(math.log(buckets[b][0] / buckets[b][1]) - aspect))


def covering(size: Size, bucket: Size) -> tuple[float, float, float, float]:
    """The largest box of the bucket's aspect in the middle of an image: left, top, right, bottom in px."""
    scale = min(size[0] / bucket[0], size[1] / bucket[1])
    left, top = (size[0] - bucket[0] * scale) / 2, (size[1] - bucket[1] * scale) / 2
    return left, top, size[0] - left, size[1] - top


def run_buckets(
    sizes: Sequence[Size], buckets: Sequence[Size], resolution: int, where: str
) -> tuple[Size, ...]:
    """The buckets a run reads: those it asks for, or the one size of the pack at the run's resolution.

    Raises:
        UsageError: no buckets are asked for and the pack has several sizes, or a size would be enlarged.
    """
    found = tuple(buckets) or (_only(sizes, resolution, where),)
    for size in sizes:
        width, height = found[nearest_bucket(size, found)]
        if width > size[0] or height > size[1]:
            raise UsageError(
                f"the pack {where} has images of {size[0]}x{size[1]} pixels, which the bucket "
                f"{width}x{height} would enlarge. Pack the dataset larger, or choose a smaller bucket or "
                "resolution."
            )
    return found


def _only(sizes: Sequence[Size], resolution: int, where: str) -> Size:
    if len(sizes) != 1:
        some = ", ".join(f"{w}x{h}" for w, h in sizes[:5]) + (", ..." if len(sizes) > 5 else "")
        raise UsageError(
            f"the pack {where} has images of {len(sizes)} sizes ({some}), and the run names no buckets. "
            f"Set data.buckets, such as (({resolution}, {resolution}),) for the middle squares."
        )
    width, height = sizes[0]
    scale = resolution / min(width, height)
    return round(width * scale), round(height * scale)
