"""Stage ``watermark``: how likely an image bears a watermark."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from typing import Any, ClassVar

import pyarrow as pa

from stages.score.image_probability import Asked
from stages.stage import Batch, MapStage, View


@dataclass(frozen=True)
class Watermark(MapStage):
    """``watermark``: probability, 0 to 1, from ``meta[field]`` where that is a number from 0 to 1 (LAION:
    ``pwatermark``, of the whole image), else from a classifier of the crop, where one is given.

    ``model`` is a ``transformers`` image classifier (hub id or folder), ``labels`` those of its classes
    that are watermarked. ``watermark_evidence`` says what spoke: ``meta:pwatermark`` or
    ``classifier:MODEL@REVISION``. Both are null when nothing did. Cost: without a model nothing to speak
    of, no image is read.
    """

    name: ClassVar[str] = "watermark"
    version: ClassVar[int] = 1
    writes: ClassVar[pa.Schema] = pa.schema(
        [("watermark", pa.float32()), ("watermark_evidence", pa.string())]
    )
    models: ClassVar[tuple[tuple[str, str], ...]] = (("model", "revision"),)
    field: str = "pwatermark"
    model: str = ""
    revision: str = "main"
    labels: tuple[str, ...] = ()
    batch_size: int = dataclass_field(default=32, compare=False)

    @property
    def reads(self) -> tuple[str, ...]:  # type: ignore[override]  # the model decides
        return self._asked().reads

    @property
    def view(self) -> View:  # type: ignore[override]
        return self._asked().view

    @property
    def rows_at_once(self) -> int:  # type: ignore[override]
        return self.batch_size

    def open(self) -> Callable[[Batch], dict[str, Sequence[Any]]]:
        return self._asked().open()

    def _asked(self) -> Asked:
        return Asked(self.name, self.field, self.model, self.revision, self.labels, self.batch_size)
