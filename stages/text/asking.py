"""Asks for texts until they are good: styles of asking, and what came of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from stages.text.caption_guard import LANGUAGES, fault
from stages.text.caption_unwrap import unwrap
from stages.text.chat import Answering, Ask, seed_of
from store.errors import UsageError

BAD_REQUEST = "bad_request"
"""The fault of an ask that the server cannot read: it is not asked again."""
AGAIN_TEMPERATURE = 0.7
"""Of a further try where the first was colder: the likeliest words have failed already."""


@dataclass(frozen=True)
class Style:
    """One way to ask, and how its answer is drawn (see ``Ask``). ``name`` also seeds the drawing."""

    name: str
    prompt: str
    max_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9_]*", self.name):
            raise UsageError(
                f"style name {self.name!r}: expected lower-case letters, digits and _, such as long"
            )
        if not self.prompt.strip():
            raise UsageError(f"style {self.name}: its prompt is empty; say what the model shall do")
        if self.max_tokens < 1 or self.temperature < 0 or not 0 < self.top_p <= 1:
            raise UsageError(
                f"style {self.name}: max_tokens={self.max_tokens}, temperature={self.temperature}, "
                f"top_p={self.top_p}; expected 1 or more, 0 or more, and over 0 up to 1"
            )


@dataclass(frozen=True)
class Guard:
    """What counts as good. ``language`` is one of ``LANGUAGES``; a text is asked for ``tries`` times."""

    language: str = "en"
    tries: int = 3

    def __post_init__(self) -> None:
        if self.language not in LANGUAGES:
            raise UsageError(f"guard.language={self.language!r}: expected 'en', or nothing for any language")
        if self.tries < 1:
            raise UsageError(f"guard.tries={self.tries}: expected 1 or more")


@dataclass(frozen=True)
class Wanted:
    """A text that is wanted: ``text`` is the style's prompt with everything filled in."""

    sample_id: str
    style: Style
    text: str
    image: Any | None = None

    def ask(self, seed: int, tried: int) -> Ask:
        """The ask of one try; the first has the style's temperature, later ones are at least warm."""
        warmth = max(self.style.temperature, AGAIN_TEMPERATURE) if tried else self.style.temperature
        drawn = seed_of(seed, self.sample_id, self.style.name, tried)
        return Ask(self.text, self.image, self.style.max_tokens, warmth, self.style.top_p, drawn)


@dataclass
class Got:
    """What came of it: a good text, or None and the last try's fault. Counts are of all tries."""

    text: str | None = None
    fault: str | None = None
    requests: int = field(default=0)
    prompt_tokens: int = field(default=0)
    completion_tokens: int = field(default=0)


def ask_until_good(answer: Answering, wanted: Sequence[Wanted], guard: Guard, seed: int) -> list[Got]:
    """What came of each wanted text, in order."""
    got = [Got() for _ in wanted]
    waiting = list(range(len(wanted)))
    for tried in range(guard.tries):
        if not waiting:
            break
        answers = answer([wanted[i].ask(seed, tried) for i in waiting])
        for i, found in zip(waiting, answers, strict=True):
            text = unwrap(found.text)
            wrong = _fault(text, wanted[i], found.end, guard)
            got[i].text, got[i].fault = (None, wrong) if wrong else (text, None)
            got[i].requests += 1
            got[i].prompt_tokens += found.prompt_tokens
            got[i].completion_tokens += found.completion_tokens
        waiting = [i for i in waiting if got[i].fault not in (None, BAD_REQUEST)]
    return got


def _fault(text: str, wanted: Wanted, end: str, guard: Guard) -> str | None:
    """What was filled in may be said again, but not all of the message and nothing else."""
    if end in ("filtered", "bad"):
        return "refusal" if end == "filtered" else BAD_REQUEST
    if text and text.casefold() == " ".join(wanted.text.split()).casefold():
        return "echo"
    return fault(text, wanted.style.prompt, end == "length", guard.language)
