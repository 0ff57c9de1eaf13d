"""What answers messages, with or without an image: a model in this process, or a server."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal


@dataclass(frozen=True)
class Ask:
    """One user message, and how its answer is drawn.

    ``image`` is a ``PIL.Image`` in mode RGB, or None. ``temperature`` 0 takes the likeliest token each
    time; above it tokens are drawn from the likeliest that together hold ``top_p`` (over 0, up to 1) of
    the mass, by ``seed`` (31 bits). An answer ends after ``max_tokens`` at the latest.
    """

    text: str
    image: Any | None
    max_tokens: int
    temperature: float
    top_p: float
    seed: int


@dataclass(frozen=True)
class Answer:
    """What came back.

    ``end``: "stop" (it came to its own end), "length" (cut at ``max_tokens``) or "filtered" (the server
    refused to give it). Tokens are counted as the model or the server counts them.
    """

    text: str
    end: Literal["stop", "length", "filtered"]
    prompt_tokens: int
    completion_tokens: int


Answering = Callable[[Sequence[Ask]], list[Answer]]
"""An answer for each ask, in order; raises ``MashbillError`` where one cannot be had at all."""


class Chat(ABC):
    """Answers chat messages. A frozen value; its fields are what changes the answers."""

    kind: ClassVar[str]
    version: ClassVar[int] = 1

    @abstractmethod
    def open(self, images: bool) -> Answering:
        """Load what is needed. ``images``: whether the asks bring one (all or none of them)."""


def seed_of(*parts: object) -> int:
    """31 bits from whatever names one ask: the same parts give the same seed on any machine."""
    digest = hashlib.sha256("\0".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1
