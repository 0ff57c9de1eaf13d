"""What is left of an image: the crop that was chosen for it."""

from __future__ import annotations

from typing import Any

from stages.stage import Batch

CROP = ("crop_left", "crop_top", "crop_right", "crop_bottom")
"""The columns that ``cropped`` reads."""


def cropped(batch: Batch, i: int) -> Any | None:
    """Row ``i`` of a batch of ``View.FULL`` within its crop: ``PIL.Image``, RGB; None without an image."""
    image = batch.images[i]
    box = tuple(batch.columns[name][i] for name in CROP)
    if image is None or None in box:
        return None
    return image if box == (0, 0, *image.size) else image.crop(box)
