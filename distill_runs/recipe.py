"""The settings of a run, as flat typed values. Imports without torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import PurePath

from store.errors import UsageError

NORM_GROUPS = 8
"""Every channel count is split into this many groups by the group norms of the UNet."""


@dataclass(frozen=True)
class Finetune:
    """An epsilon finetune of a tiny pixel-space ``UNet2DConditionModel`` on one pack.

    Equal settings, pack, package versions and thread count give equal metrics and weights on a CPU.
    Raises ``UsageError`` when a value is out of its range.
    """

    name: str
    """Name of the run."""
    dataset: str
    """``NAME`` or ``NAME@VERSION`` of the dataset; a pack of another one is refused."""
    split: str
    """``train`` or ``validation``: the shards of the pack to read."""
    resolution: int
    """Side in pixels of the square training image; the pack's images are scaled down to it."""
    steps: int
    """Optimizer steps, at least 1."""
    batch_size: int
    """Samples per step, at least 1."""
    learning_rate: float
    """AdamW learning rate after the warm-up, above 0."""
    warmup_steps: int
    """Steps over which the learning rate rises linearly to its value; 0 for none."""
    max_grad_norm: float
    """The gradient's L2 norm is clipped to this, above 0."""
    caption_dropout: float
    """Share of captions replaced by the empty one, in [0, 1]; guidance needs some."""
    seed: int
    """Names every random draw of the run, at least 0."""
    block_out_channels: tuple[int, ...]
    """Channels per UNet level, finest first, at least two levels, each a multiple of 8."""
    layers_per_block: int
    """Residual blocks per UNet level, at least 1."""
    text_channels: int
    """Channels of the text encoder and of the cross-attention, a multiple of 8."""
    text_buckets: int
    """Rows of the hashed word table, at least 1."""
    max_words: int
    """Words of a caption that are read; the rest is cut off. At least 1."""
    log_every_steps: int
    """A row of ``metrics.jsonl`` every so many steps; step 1 and the last step always have one."""
    sample_every_steps: int
    """A picture grid ``samples/step-000020.png`` every so many steps; 0 for only the one at the end."""
    sample_prompts: tuple[str, ...]
    """Prompts of the picture grid; empty takes the first different captions that the run reads."""
    num_samples: int
    """How many captions to take when ``sample_prompts`` is empty, at least 1."""
    num_sample_steps: int
    """DDIM steps per picture, in [1, 1000]."""
    guidance_scale: float
    """g of u + g (c - u), at least 0: 1 is the conditional model alone, 0 the unconditional one."""

    def __post_init__(self) -> None:
        _check_texts(self)
        _check_numbers(self)
        _check_sizes(self)


def _refuse(run: Finetune, field: str, expected: str) -> None:
    raise UsageError(
        f"recipe {run.name!r}: {field}={getattr(run, field)!r} is not possible; expected {expected}."
    )


def _check_texts(run: Finetune) -> None:
    if not run.name or PurePath(run.name).name != run.name:
        _refuse(run, "name", "a non-empty name without slashes")
    if not run.dataset.partition("@")[0]:
        _refuse(run, "dataset", "NAME or NAME@VERSION")
    if run.split not in ("train", "validation"):
        _refuse(run, "split", "'train' or 'validation'")


def _check_numbers(run: Finetune) -> None:
    at_least_one = ("steps", "batch_size", "layers_per_block", "text_buckets", "max_words")
    for field in (*at_least_one, "log_every_steps", "num_samples"):
        if getattr(run, field) < 1:
            _refuse(run, field, "a whole number of at least 1")
    for field in ("warmup_steps", "sample_every_steps", "seed"):
        if getattr(run, field) < 0:
            _refuse(run, field, "a whole number of at least 0")
    for field in ("learning_rate", "max_grad_norm"):
        value = getattr(run, field)
        if not (math.isfinite(value) and value > 0):
            _refuse(run, field, "a finite number above 0")
    if not (math.isfinite(run.guidance_scale) and run.guidance_scale >= 0):
        _refuse(run, "guidance_scale", "a finite number of at least 0")
    if not 0 <= run.caption_dropout <= 1:
        _refuse(run, "caption_dropout", "a share in [0, 1]")
    if not 1 <= run.num_sample_steps <= 1000:
        _refuse(run, "num_sample_steps", "a whole number in [1, 1000]")


def _check_sizes(run: Finetune) -> None:
    channels = run.block_out_channels
    if len(channels) < 2 or any(c < NORM_GROUPS or c % NORM_GROUPS for c in channels):
        _refuse(run, "block_out_channels", f"two or more multiples of {NORM_GROUPS}")
    if run.text_channels < NORM_GROUPS or run.text_channels % NORM_GROUPS:
        _refuse(run, "text_channels", f"a multiple of {NORM_GROUPS}")
    coarsest = 2 ** (len(channels) - 1)
    if run.resolution < coarsest or run.resolution % coarsest:
        _refuse(run, "resolution", f"a multiple of {coarsest}, the scale of the coarsest UNet level")
