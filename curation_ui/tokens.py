"""How many tokens a text has for the encoders that will read it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from store.errors import MashbillError, UsageError
from store.shipped import shipped

_PART = 10_000
"""Texts that are counted together."""


@dataclass(frozen=True)
class Counter:
    """One encoder's tokenizer. ``limit``: tokens it reads, those that begin and end a text among them."""

    name: str
    limit: int
    tokenizer: Any

    def count(self, text: str) -> int:
        return len(self.tokenizer.encode(text).ids)

    def counts(self, texts: Sequence[str]) -> np.ndarray:
        """int32, one for each text."""
        found: list[int] = []
        for start in range(0, len(texts), _PART):
            found += [
                len(encoded.ids) for encoded in self.tokenizer.encode_batch(texts[start : start + _PART])
            ]
        return np.array(found, np.int32)


def open_counter(said: str) -> Counter:
    """From ``NAME=FOLDER_OR_ID:LIMIT``: a folder with ``tokenizer.json``, one that comes with mashbill
    (``tinyworld/models/clip-text``), or a hub id.

    Raises:
        UsageError: it is not said so.
        MashbillError: there is no tokenizer.
    """
    name, _, rest = said.partition("=")
    source, _, limit = rest.rpartition(":")
    if not name.isidentifier() or not source or not limit.isdigit() or int(limit) < 1:
        raise UsageError(
            f"--tokens {said!r}: expected NAME=FOLDER_OR_ID:LIMIT, such as clip=tinyworld/models/clip-text:77"
        )
    from tokenizers import Tokenizer

    file = Path(shipped(source)) / "tokenizer.json"
    try:
        tokenizer = Tokenizer.from_file(str(file)) if file.exists() else Tokenizer.from_pretrained(source)
    except Exception as error:  # tokenizers raises plain Exception for everything
        said_first = str(error).splitlines()[0]
        raise MashbillError(
            f"no tokenizer at {source} ({said_first}). Expected a folder with tokenizer.json, or a hub id "
            "that can be reached."
        ) from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return Counter(name, int(limit), tokenizer)
