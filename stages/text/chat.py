"""What answers messages, with or without an image: a model in this process, or a server."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from store.errors import UsageError


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

    ``end``: "stop" (it came to its own end), "length" (cut at ``max_tokens``), "filtered" (the server refused
    to give it) or "bad" (the server cannot read this ask, such as an image that is too large). Tokens are
    counted as the model or the server counts them.
    """

    text: str
    end: Literal["stop", "length", "filtered", "bad"]
    prompt_tokens: int
    completion_tokens: int


Answering = Callable[[Sequence[Ask]], list[Answer]]
"""An answer for each ask, in order; raises ``MashbillError`` where one cannot be had at all."""


class Chat(ABC):
    """Answers chat messages. A frozen value; its fields are what changes the answers."""

    kind: ClassVar[str]
    version: ClassVar[int] = 1

    @property
    @abstractmethod
    def asks_at_once(self) -> int:
        """Asks that it can use together; it changes no answer."""

    @abstractmethod
    def open(self, images: bool) -> Answering:
        """Load what is needed. ``images``: whether the asks bring one (all or none of them)."""


def seed_of(*parts: object) -> int:
    """31 bits from whatever names one ask: the same parts give the same seed on any machine."""
    digest = hashlib.sha256("\0".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def check_image_px(image_px: int) -> None:
    """Raises ``UsageError`` for a side in which no model sees anything."""
    if image_px < 16:
        raise UsageError(f"chat.image_px={image_px}: expected 16 or more")


def within(image: Any, most_px: int) -> Any:
    """A ``PIL.Image`` scaled so that its long side has at most so many pixels."""
    from PIL import Image

    scale = most_px / max(image.size)
    if scale >= 1:
        return image
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.LANCZOS)
