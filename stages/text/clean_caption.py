"""Stage ``clean_caption``: the source's caption as plain text."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa

from stages.stage import Batch, MapStage

_SPACE = re.compile(r"\s+")
_HIDDEN = dict.fromkeys(
    code
    for code in (*range(0x20000), *range(0xE0000, 0xE1000))  # between them lie ideographs only
    if unicodedata.category(chr(code)) in ("Cc", "Cf", "Cs", "Co")
)
for _code in (0x09, 0x0A, 0x0D, 0x200C, 0x200D):  # tab and line ends part words; 200C and 200D shape them
    del _HIDDEN[_code]


@dataclass(frozen=True)
class CleanCaption(MapStage):
    """Unescapes HTML entities, applies NFC, drops control and invisible characters, joins white space.

    An empty result is null. ``caption_original`` keeps the words as they came.
    """

    name: ClassVar[str] = "clean_caption"
    version: ClassVar[int] = 1
    reads: ClassVar[tuple[str, ...]] = ("caption_original",)
    writes: ClassVar[pa.Schema] = pa.schema([("caption", pa.string())])

    def open(self) -> Callable[[Batch], dict[str, Sequence[Any]]]:
        return lambda batch: {"caption": [clean(c) for c in batch.columns["caption_original"]]}


def clean(caption: str | None) -> str | None:
    """One caption, cleaned; None when nothing is left."""
    if not caption:
        return None
    text = unicodedata.normalize("NFC", html.unescape(caption)).translate(_HIDDEN)
    return _SPACE.sub(" ", text).strip() or None
