"""The random states of one rank."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import torch


def seed_of(*parts: int) -> int:
    """A seed for these numbers that no others share."""
    return int(hashlib.sha256(":".join(map(str, parts)).encode()).hexdigest()[:15], 16)


def random_states(noise: torch.Generator, device: torch.device) -> dict[str, Any]:
    """Of the generator of noise, times and dropped captions, and of the networks' own dropout."""
    cuda = torch.cuda.get_rng_state() if device.type == "cuda" else None
    return {"noise": noise.get_state(), "torch": torch.get_rng_state(), "cuda": cuda}


def restore_random(noise: torch.Generator, states: Mapping[str, Any], device: torch.device) -> None:
    """Set all to what ``random_states`` gave."""
    noise.set_state(states["noise"])
    torch.set_rng_state(states["torch"])
    if states["cuda"] is not None and device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"])
