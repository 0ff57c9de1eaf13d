"""The tiny world's PixArt teacher: PixArt-Sigma in small, epsilon with learned variance, T5 alone.

    python -m tinyworld start pixart start/pixart
    mashbill distill tiny-pixart --set student=start/pixart

1.8 million parameters. What it took and how well it draws: the card in ``tinyworld/models/pixart``.
"""

from dataclasses import replace

from distill_runs.recipes.tiny_unet import tiny_unet
from distill_runs.settings import Run


def tiny_pixart() -> Run:
    """As ``tiny_unet``, with another student."""
    return replace(tiny_unet(), name="tiny-pixart", student="start/pixart")
