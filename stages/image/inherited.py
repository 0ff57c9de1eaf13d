"""Stage ``inherited``: what the dataset versions that a source reads said of their samples."""

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
        ("decided_by_person", pa.bool_()),
        ("caption_by_person", pa.bool_()),
        ("crop_by_person", pa.bool_()),
    ]
)
"""Columns that a source takes over from the versions it reads; null where one has none, but for ``FLAGS``."""
FLAGS = ("synthetic", "decided_by_person", "caption_by_person", "crop_by_person")
"""False where nothing is said."""


@dataclass(frozen=True)
class Inherited(MapStage):
    """The columns of ``INHERITED`` as sources ``mixture`` and ``curated`` wrote them into ``meta``; ``part``:
    which part of a mixture it was.

    Nothing is computed again, so crop, words and split hold in what is made of a version too. Stages behind
    this one leave words and crops of people as they are (``pipelines/outranked.py``).
    """

    name: ClassVar[str] = "inherited"
    version: ClassVar[int] = 1
    reads: ClassVar[tuple[str, ...]] = ("meta",)
    writes: ClassVar[pa.Schema] = INHERITED.append(pa.field("part", pa.string()))

    def open(self) -> Callable[[Batch], dict[str, Sequence[Any]]]:
        def columns(batch: Batch) -> dict[str, Sequence[Any]]:
            rows = [_fields(meta) for meta in batch.columns["meta"]]
            written: dict[str, Sequence[Any]] = {"part": [row.get("part") for row in rows]}
            for name in INHERITED.names:
                written[name] = [row["inherited"].get(name) if row else None for row in rows]
            for name in FLAGS:
                written[name] = [bool(said) for said in written[name]]
            return written

        return columns


def _fields(meta: str | None) -> dict[str, Any]:
    """The fields of ``meta``; empty where neither source wrote it."""
    fields = json.loads(meta) if meta else {}
    return fields if isinstance(fields.get("inherited"), dict) else {}
