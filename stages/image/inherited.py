"""Stage ``inherited``: what the parts of a mixture said of their samples."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa

from stages.image.synthetic import Synthetic
from stages.stage import Batch, MapStage

INHERITED = pa.schema(
    [
        ("caption", pa.string()),
        ("captions", pa.list_(pa.string())),
        ("sha256", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("crop_left", pa.int32()),
        ("crop_top", pa.int32()),
        ("crop_right", pa.int32()),
        ("crop_bottom", pa.int32()),
        ("crop_aspect", pa.float64()),
        ("crop_choice", pa.string()),
        ("split", pa.string()),
        ("clip_similarity", pa.float32()),
        ("cluster_id", pa.string()),
        *Synthetic.writes,
    ]
)
"""Columns that a mixture takes over from its parts; null where a part has none, but for ``synthetic``."""


@dataclass(frozen=True)
class Inherited(MapStage):
    """The columns of ``INHERITED`` as source ``mixture`` wrote them into ``meta``; ``part``: whose it was.

    Nothing is computed again, so a part's crop, words and split hold in the mixture too.
    """

    name: ClassVar[str] = "inherited"
    version: ClassVar[int] = 1
    reads: ClassVar[tuple[str, ...]] = ("meta",)
    writes: ClassVar[pa.Schema] = INHERITED.append(pa.field("part", pa.string()))

    def open(self) -> Callable[[Batch], dict[str, Sequence[Any]]]:
        def columns(batch: Batch) -> dict[str, Sequence[Any]]:
            rows = [_of_a_mixture(meta) for meta in batch.columns["meta"]]
            written: dict[str, Sequence[Any]] = {"part": [row.get("part") for row in rows]}
            for name in INHERITED.names:
                written[name] = [row["inherited"].get(name) if row else None for row in rows]
            written["synthetic"] = [bool(said) for said in written["synthetic"]]
            return written

        return columns


def _of_a_mixture(meta: str | None) -> dict[str, Any]:
    """The fields of ``meta``; empty where a mixture did not write it."""
    fields = json.loads(meta) if meta else {}
    return fields if isinstance(fields.get("inherited"), dict) else {}
