"""A tiny text-to-image model, trained from nothing on a pack for a minute.

Shows that a pack can be trained on and that the loss falls. 60 steps are far too few for pictures: the
samples are still mostly noise.
Run: ``mashbill distill finetune_tiny``. One CPU core: 40 seconds. 1.3 million parameters.
Expected: the loss falls from 1.1 to about 0.15.
"""

from distill_runs.recipe import Finetune


def finetune_tiny() -> Finetune:
    """60 steps of 16 samples at 32x32, epsilon objective."""
    return Finetune(
        name="finetune-tiny",
        dataset="l-pp",
        split="train",
        resolution=32,
        steps=60,
        batch_size=16,
        learning_rate=3e-3,
        warmup_steps=10,
        max_grad_norm=1.0,
        caption_dropout=0.1,
        seed=0,
        block_out_channels=(16, 32, 64),
        layers_per_block=1,
        text_channels=64,
        text_buckets=4096,
        max_words=48,
        log_every_steps=1,
        sample_every_steps=0,
        sample_prompts=(),
        num_samples=8,
        num_sample_steps=20,
        guidance_scale=2.0,
    )
