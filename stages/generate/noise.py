"""The seed of each generated image, and the noise drawn from it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any


def image_seed(seed: int, prompt: str, index: int) -> int:
    """63 bits that depend only on the seed, the prompt, and the number of the image among the prompt's."""
    digest = hashlib.sha256(f"{seed}\0{index}\0{prompt}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generators(seeds: Sequence[int]) -> list[Any]:
    """A ``torch.Generator`` for each image, on the CPU: noise depends on neither batch nor device.

    Pipelines draw from them the initial noise, and what a stochastic scheduler adds on the way.
    """
    import torch

    return [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
