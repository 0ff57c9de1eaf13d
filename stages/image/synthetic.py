"""Stage ``synthetic``: which images a model made, and how."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa

from stages.stage import Batch, MapStage

FIELDS: dict[str, tuple[str, type | tuple[type, ...]]] = {
    "generator": ("generator", str),
    "generation_seed": ("seed", int),
    "generation_steps": ("steps", int),
    "generation_guidance": ("guidance_scale", (int, float)),
    "prompt_id": ("prompt_id", str),
    "prompt_parent": ("parent", str),
    "prompt_split": ("parent_split", str),
}
"""Of each column the field of ``meta`` that it comes from, and the kind of value that is one."""


@dataclass(frozen=True)
class Synthetic(MapStage):
    """Columns of what source ``generated`` wrote into ``meta``.

    ``synthetic`` is true where ``meta`` says so, else false, and then the others are null. ``generator``
    is the model as it was named, ``prompt_id`` the same for all images of one prompt; ``prompt_parent``: the
    sample of another dataset whose caption the prompt is, ``prompt_split``: which split it is in there.
    """

    name: ClassVar[str] = "synthetic"
    version: ClassVar[int] = 1
    reads: ClassVar[tuple[str, ...]] = ("meta",)
    writes: ClassVar[pa.Schema] = pa.schema(
        [
            ("synthetic", pa.bool_()),
            ("generator", pa.string()),
            ("generation_seed", pa.int64()),
            ("generation_steps", pa.int32()),
            ("generation_guidance", pa.float64()),
            ("prompt_id", pa.string()),
            ("prompt_parent", pa.string()),
            ("prompt_split", pa.string()),
        ]
    )

    def open(self) -> Callable[[Batch], dict[str, Sequence[Any]]]:
        def columns(batch: Batch) -> dict[str, Sequence[Any]]:
            rows = [json.loads(meta) if meta else {} for meta in batch.columns["meta"]]
            said = [row if row.get("synthetic") is True else None for row in rows]
            written: dict[str, Sequence[Any]] = {"synthetic": [row is not None for row in said]}
            for column, (name, kind) in FIELDS.items():
                written[column] = [_value(row, name, kind) for row in said]
            return written

        return columns


def _value(row: dict[str, Any] | None, name: str, kind: type | tuple[type, ...]) -> Any:
    """The field where it is of its kind: a crawl too may call an image synthetic, in words of its own."""
    value = row.get(name) if row else None
    odd = isinstance(value, bool) or not isinstance(value, kind)
    too_large = isinstance(value, int) and abs(value) >= 2 ** (31 if name == "steps" else 63)
    return None if odd or too_large else value
