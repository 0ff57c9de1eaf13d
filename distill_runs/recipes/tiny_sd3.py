"""The tiny world's SD3 teacher: SD3.5-Medium in small, a rectified flow, two CLIP encoders and T5.

    python -m tinyworld start sd3 start/sd3
    mashbill distill tiny-sd3 --set student=start/sd3

2.2 million parameters, a VAE of 16 channels: its pack is built with ``pack.latents=tinyworld/models/vae-16``.
What it took and how well it draws: the card in ``tinyworld/models/sd3``.
"""

from dataclasses import replace

from distill_runs.densities import LogitNormal
from distill_runs.methods.finetune import Finetune
from distill_runs.recipes.tiny_unet import tiny_unet
from distill_runs.settings import Run


def tiny_sd3() -> Run:
    """As ``tiny_unet``, with another student, the velocity as its target, and logit-normal times."""
    return replace(tiny_unet(), name="tiny-sd3", student="start/sd3", method=Finetune(density=LogitNormal()))
