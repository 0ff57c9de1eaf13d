"""Stage ``source_captions``: several captions that the dataset came with."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa

from stages.stage import Batch, MapStage
from stages.text.clean_caption import clean
from store.errors import UsageError


@dataclass(frozen=True)
class SourceCaptions(MapStage):
    """``captions``: those under ``fields`` of ``meta``, in that order, cleaned as ``clean_caption`` does.

    What is missing, no text, empty or there already is left out; where nothing is left, the caption there is
    stays alone. ``caption`` is the first of them, ``caption_before`` the one that was there.
    """

    name: ClassVar[str] = "source_captions"
    version: ClassVar[int] = 1
    reads: ClassVar[tuple[str, ...]] = ("meta", "caption")
    writes: ClassVar[pa.Schema] = pa.schema(
        [("caption", pa.string()), ("captions", pa.list_(pa.string())), ("caption_before", pa.string())]
    )
    fields: tuple[str, ...] = ("cogvlm_caption", "llava_caption")

    def __post_init__(self) -> None:
        if not self.fields or len(set(self.fields)) < len(self.fields):
            raise UsageError(f"source_captions.fields={self.fields}: expected one or more, each name once")

    def open(self) -> Callable[[Batch], dict[str, Sequence[Any]]]:
        def run(batch: Batch) -> dict[str, Sequence[Any]]:
            old = batch.columns["caption"]
            found = [self._captions(*row) for row in zip(batch.columns["meta"], old, strict=True)]
            return {
                "caption": [texts[0] if texts else None for texts in found],
                "captions": found,
                "caption_before": old,
            }

        return run

    def _captions(self, meta: str | None, old: str | None) -> list[str]:
        there = json.loads(meta) if meta else {}
        said = [there.get(name) for name in self.fields]
        texts = [clean(text) for text in said if isinstance(text, str)]
        return list(dict.fromkeys(text for text in texts if text)) or ([old] if old else [])
