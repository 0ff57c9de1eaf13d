"""The tiny world's UNet teacher: SD 1.x in small, epsilon, trained from random weights.

    python -m tinyworld start unet start/unet
    mashbill distill tiny-unet --set student=start/unet

3.4 million parameters, 64 px by a VAE of factor 4. What it took and how well it draws: the card in
``tinyworld/models/unet``.
"""

from distill_runs.densities import Uniform
from distill_runs.methods.finetune import Finetune
from distill_runs.packs import Data
from distill_runs.settings import AdamW, Ema, Run, Samples, Stage, Validation

PROMPTS = (
    "A flat illustration of a red circle on a plain cream background.",
    "A blue star to the left of a yellow heart on a plain mint background, with dark outlines.",
    "A glossy rendering of three green squares in a row on a navy and maroon checkerboard.",
    "A crayon drawing of a purple triangle above an orange ring on pale blue and peach stripes.",
    "A night picture of a white crescent in a dark meadow under a night sky.",
    "a pink cross",
    "a turquoise ring right of a brown square",
    "four yellow stars in a square",
)
"""One of each style, relation and background, for the picture grid."""


def tiny_unet() -> Run:
    """AdamW at 1e-3, min-SNR weights, a long average; the weights of the lowest validation loss."""
    return Run(
        name="tiny-unet",
        dataset="tiny-scenes",
        student="start/unet",
        method=Finetune(density=Uniform(), min_snr=5.0),
        stages=(
            Stage(
                data=Data(resolution=64, batch_size=32, captions="first", latents=True),
                steps=20_000,
                optimizers=(AdamW(learning_rate=1e-3, warmup_steps=200, cooldown_steps=5_000),),
            ),
        ),
        ema=Ema(decay=0.9995),
        caption_dropout=0.1,
        log_every=50,
        checkpoint_every=500,
        validation=Validation(every=1_000, samples=512),
        samples=Samples(every=1_000, prompts=PROMPTS, inference_steps=25, guidance_scale=3.0),
    )
