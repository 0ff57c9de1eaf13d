"""Aspect buckets: which of a run's sizes an image is read at."""

from __future__ import annotations

from collections.abc import Sequence

from store.aspects import Size, nearest_aspect
from store.errors import UsageError


def nearest_bucket(size: Size, buckets: Sequence[Size]) -> int:
    """The bucket whose aspect ratio is nearest to that of ``size`` on a log scale; the first of equals."""
    return nearest_aspect(size[0] / size[1], [width / height for width, height in buckets])


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
            f"Set data.buckets to its sizes, or to (({resolution}, {resolution}),) for the middle squares."
        )
    width, height = sizes[0]
    scale = resolution / min(width, height)
    return round(width * scale), round(height * scale)
