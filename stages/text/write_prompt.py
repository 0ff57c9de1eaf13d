"""Stage ``write_prompt``: a language model's words for the attributes that a prompt was asked to have."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa

from stages.stage import Batch, MapStage
from stages.text.asking import Got, Guard, Style, Wanted, ask_until_good
from stages.text.chat import Chat
from stages.text.chat_local import Local
from store.errors import UsageError

HOLDERS = ("{asked}", "{values}", "{caption}")
PROMPT = Style(
    "prompt",
    "Write one prompt for a text-to-image model: one or two plain sentences in English, at most sixty words. "
    "Everything in this list must be seen in the image, and nothing may contradict it: {asked}. Answer with "
    "the prompt alone.",
    max_tokens=160,
    temperature=1.0,
    top_p=0.95,
)


@dataclass(frozen=True)
class WritePrompt(MapStage):
    """``caption`` in a model's words for ``meta["asked"]``, an object of attribute and value.

    In the style's prompt ``{asked}`` is "light: dusk, count: two", ``{values}`` is "dusk, two" and
    ``{caption}`` the words there are, such as a grammar's. An answer that the guard finds faulty is asked
    for again; then those words stay, and ``write_prompt_reason`` says why (empty, refusal, echo, language,
    loop, truncated, bad_request, or nothing_asked where ``meta`` has no such object). Counts are of all
    tries, 0 where nothing was asked.
    """

    name: ClassVar[str] = "write_prompt"
    version: ClassVar[int] = 1
    reads: ClassVar[tuple[str, ...]] = ("sample_id", "meta", "caption")
    writes: ClassVar[pa.Schema] = pa.schema(
        [
            ("caption", pa.string()),
            ("write_prompt_reason", pa.string()),
            ("write_prompt_requests", pa.int32()),
            ("writer_prompt_tokens", pa.int32()),
            ("writer_completion_tokens", pa.int32()),
        ]
    )
    chat: Chat = Local()
    style: Style = PROMPT
    guard: Guard = Guard()
    seed: int = 0

    def __post_init__(self) -> None:
        if not any(holder in self.style.prompt for holder in HOLDERS):
            raise UsageError(
                f"write_prompt.style.prompt={self.style.prompt!r} asks for the same each time: it must hold "
                f"one of {', '.join(HOLDERS)}"
            )

    @property
    def rows_at_once(self) -> int:  # type: ignore[override]
        return self.chat.asks_at_once

    def open(self) -> Callable[[Batch], dict[str, Sequence[Any]]]:
        answer = self.chat.open(images=False)

        def run(batch: Batch) -> dict[str, Sequence[Any]]:
            wanted = [self._wanted(batch, i) for i in range(batch.size)]
            flat = [item for item in wanted if item is not None]
            got = iter(ask_until_good(answer, flat, self.guard, self.seed))
            pairs = zip(batch.columns["caption"], wanted, strict=True)
            rows = [_row(old, None if item is None else next(got)) for old, item in pairs]
            return {name: [row[j] for row in rows] for j, name in enumerate(self.writes.names)}

        return run

    def _wanted(self, batch: Batch, i: int) -> Wanted | None:
        asked = asked_in(batch.columns["meta"][i])
        if not asked:
            return None
        listed = ", ".join(f"{name}: {value}" for name, value in asked.items())
        filled = {"{asked}": listed, "{values}": ", ".join(asked.values())}
        filled["{caption}"] = batch.columns["caption"][i] or ""
        text = self.style.prompt
        for holder in HOLDERS:
            text = text.replace(holder, filled[holder])
        return Wanted(batch.columns["sample_id"][i], self.style, text)


def asked_in(meta: str | None) -> dict[str, str]:
    """Attribute and value under ``asked`` of a ``meta`` object, in its order; values of a list are joined.

    Empty where there is none, or something else: the field is the source's, not ours.
    """
    asked = json.loads(meta).get("asked") if meta else None
    if not isinstance(asked, dict):
        return {}
    return {
        name.replace("_", " "): " and ".join(map(str, value)) if isinstance(value, list) else str(value)
        for name, value in asked.items()
        if value not in (None, "", [])
    }


def _row(old: str | None, got: Got | None) -> list[Any]:
    if got is None:
        return [old, "nothing_asked", 0, 0, 0]
    text = old if got.text is None else got.text
    return [text, got.fault, got.requests, got.prompt_tokens, got.completion_tokens]
