"""How much of a caption a student reads."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limit:
    """How many tokens, with its ends, a student reads: 77 of CLIP, 256 (SD3.5) or 300 (PixArt) of T5.

    ``tokenizer`` is a hub id, a folder or a shipped name.
    """

    name: str
    tokenizer: str
    tokens: int
    revision: str = "main"
