"""Stage ``recaption``: new captions by a model that looks at what the crop left."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pyarrow as pa

from stages.image.cropped import CROP, cropped
from stages.stage import Batch, MapStage, View
from stages.text.asking import Got, Guard, Style, Wanted, ask_until_good
from stages.text.chat import Chat
from stages.text.chat_local import Local
from stages.text.limit import Limit
from store.errors import UsageError

LONG = Style(
    "long",
    "Describe this image in one paragraph of three to five sentences, in English. Say what is there and how "
    "many, colors, where things are, the setting, the light and the style. Say only what can be seen, and "
    "nothing about yourself. Answer with the description alone.",
    max_tokens=300,
)
SHORT = Style(
    "short",
    "Write one caption for this image, in English, of at most twenty words. Answer with the caption alone.",
    max_tokens=60,
)


@dataclass(frozen=True)
class Recaption(MapStage):
    """A caption of every style for what is left of each image; ``{caption}`` in a prompt is the old one.

    ``caption`` is the first good one in the order of ``styles``. An answer that the guard finds faulty is
    asked for again, by another seed and at a temperature of 0.7 at least; where no style comes to a good
    one the old caption stays and ``recaption_reason`` says why (of the first style: empty, refusal, echo,
    language, loop, truncated, or bad_request where the server cannot read it). ``recaption_faults`` are the
    styles that came to none, with their reasons: "short: loop"; null where all did. ``captions`` are all
    good ones in order, with the old one behind them if ``keep_original``, or the old one alone where it
    stays. All are null where there is no image. A server or model that gives no answer at all is no reason
    but an error: the shard fails and is tried again.

    ``limits`` are of students: the report says which share of the captions each would not read whole.

    ``caption_before`` is the caption that was there. ``recaption_requests``, ``caption_prompt_tokens`` and
    ``caption_completion_tokens`` are of all styles and tries of the sample. Cost: one answer per style,
    thousands of times that of any other stage.
    """

    name: ClassVar[str] = "recaption"
    version: ClassVar[int] = 2
    reads: ClassVar[tuple[str, ...]] = ("sample_id", "caption", *CROP)
    view: ClassVar[View] = View.FULL
    writes: ClassVar[pa.Schema] = pa.schema(
        [
            ("caption", pa.string()),
            ("captions", pa.list_(pa.string())),
            ("caption_before", pa.string()),
            ("recaption_reason", pa.string()),
            ("recaption_faults", pa.string()),
            ("recaption_requests", pa.int32()),
            ("caption_prompt_tokens", pa.int32()),
            ("caption_completion_tokens", pa.int32()),
        ]
    )
    chat: Chat = Local()
    styles: tuple[Style, ...] = (LONG,)
    guard: Guard = Guard()
    keep_original: bool = False
    seed: int = 0
    limits: tuple[Limit, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        names = [style.name for style in self.styles]
        if not names or len(set(names)) < len(names):
            raise UsageError(f"recaption.styles={names}: expected one or more, each name once")

    @property
    def rows_at_once(self) -> int:  # type: ignore[override]
        return self.chat.asks_at_once

    def open(self) -> Callable[[Batch], dict[str, Sequence[Any]]]:
        answer = self.chat.open(images=True)

        def run(batch: Batch) -> dict[str, Sequence[Any]]:
            wanted = {i: self._wanted(batch, i) for i in range(batch.size)}
            flat = [item for items in wanted.values() for item in items]
            got = iter(ask_until_good(answer, flat, self.guard, self.seed))
            rows = [
                self._row(batch.columns["caption"][i], [next(got) for _ in items])
                for i, items in wanted.items()
            ]
            return {name: [row[j] for row in rows] for j, name in enumerate(self.writes.names)}

        return run

    def _wanted(self, batch: Batch, i: int) -> list[Wanted]:
        """A text for each style; nothing without an image."""
        image, key = cropped(batch, i), batch.columns["sample_id"][i]
        if image is None:
            return []
        old = batch.columns["caption"][i] or ""
        return [Wanted(key, s, s.prompt.replace("{caption}", old), image) for s in self.styles]

    def _row(self, old: str | None, got: list[Got]) -> list[Any]:
        if not got:
            return [None] * len(self.writes)
        good = [item.text for item in got if item.text is not None]
        kept = [old] if old and (self.keep_original or not good) and old not in good else []
        pairs = zip(self.styles, got, strict=True)
        faults = ", ".join(f"{style.name}: {item.fault}" for style, item in pairs if item.fault) or None
        reason = None if good else got[0].fault
        counts = [
            sum(item.requests for item in got),
            sum(item.prompt_tokens for item in got),
            sum(item.completion_tokens for item in got),
        ]
        return [good[0] if good else old, [*good, *kept], old, reason, faults, *counts]
