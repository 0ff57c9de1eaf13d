"""Source ``asked``: prompts to a specification, a sample each, without images."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa

from stages.prompt.grammar import check_templates, worded
from stages.prompt.quotas import draw
from stages.prompt.specification import UNSAID, Specification
from stages.stage import Source
from store.digest import fingerprint, settings
from store.errors import UsageError
from store.sources import RawSample


@dataclass(frozen=True)
class Asked(Source):
    """``samples`` prompts whose attributes meet the shares of ``specification`` exactly.

    The caption is the grammar's; ``meta.asked`` holds the attributes for a writer with better words
    (``stages.text.write_prompt``) and for the report of what was asked and got. A prompt keeps its id while
    specification, number and seed stay.
    """

    kind: ClassVar[str] = "asked"
    specification: Specification
    samples: int = 1000
    seed: int = 0
    shard_size: int = 10_000

    def __post_init__(self) -> None:
        if self.samples < 1 or self.shard_size < 1:
            raise UsageError(
                f"source.samples={self.samples}, shard_size={self.shard_size}: expected 1 or more"
            )
        check_templates(self.specification)

    def identity(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "specification": settings(self.specification),
            "samples": self.samples,
            "seed": self.seed,
        }

    def plan(self) -> Iterator[pa.Table]:
        codes = draw(self.specification, self.samples, self.seed)
        names = [attribute.name for attribute in self.specification.attributes]
        values = [self.specification.values(number) for number in range(len(names))]
        for start in range(0, self.samples, self.shard_size):
            part = codes[start : start + self.shard_size]
            columns = {f"={name}": [values[a][code] for code in part[:, a]] for a, name in enumerate(names)}
            yield pa.table({"number": range(start, start + len(part)), **columns})

    def read(self, portion: pa.Table, scratch: str) -> Iterator[RawSample]:
        name = fingerprint(self.identity())
        nouns = [value for attribute in self.specification.attributes for value in attribute.values]
        plurals = {value.name: value.plural for value in nouns if value.plural}
        for row in portion.to_pylist():
            number = row.pop("number")
            asked = {column[1:]: value for column, value in row.items() if value != UNSAID}
            prompt = worded(self._template(number), asked, plurals)
            meta = json.dumps({"asked": asked}, sort_keys=True, ensure_ascii=False)
            yield RawSample(f"asked:{name}:{number}", f"{number:08d}", prompt, None, meta=meta)

    def _template(self, number: int) -> str:
        digest = hashlib.sha256(f"{self.seed}:template:{number}".encode()).digest()
        templates = self.specification.templates
        return templates[int.from_bytes(digest[:8], "big") % len(templates)]
