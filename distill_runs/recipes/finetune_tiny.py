"""The tiny world's UNet, finetuned on what a build made: a run to look at, in a minute on a laptop.

    mashbill distill finetune-tiny

One CPU core: about a minute. Expected: the loss stays near 0.1, for the model knows the tiny world already;
the pictures show it.
"""

from distill_runs.methods.finetune import Finetune
from distill_runs.packs import Data
from distill_runs.settings import AdamW, Ema, Run, Samples, Stage


def finetune_tiny() -> Run:
    """40 steps of 16 samples of ``l-pp`` at 64 px, epsilon with min-SNR weights."""
    return Run(
        name="finetune-tiny",
        dataset="l-pp",
        student="tinyworld/models/unet",
        method=Finetune(min_snr=5.0),
        stages=(
            Stage(
                data=Data(resolution=64, batch_size=16, captions="first"),
                steps=40,
                optimizers=(AdamW(learning_rate=1e-4, warmup_steps=10),),
            ),
        ),
        ema=Ema(decay=0.99),
        log_every=1,
        checkpoint_every=20,
        samples=Samples(every=20, count=8, inference_steps=20, guidance_scale=3.0),
    )
