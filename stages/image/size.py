"""Size and format from the header; no pixel is decoded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa

from stages.image.picture import Header
from stages.stage import Batch, MapStage, View


@dataclass(frozen=True)
class Size(MapStage):
    """``width`` and ``height`` in pixels of the upright image, ``format`` ("jpeg", "png", ...).

    All null where there is no image or no readable header; ``header_error`` then holds the reason
    code of the header, and is null where there was no image at all.
    """

    name: ClassVar[str] = "size"
    version: ClassVar[int] = 1
    writes: ClassVar[pa.Schema] = pa.schema(
        [
            ("width", pa.int32()),
            ("height", pa.int32()),
            ("format", pa.string()),
            ("header_error", pa.string()),
        ]
    )
    view: ClassVar[View] = View.HEADER

    def open(self) -> Callable[[Batch], dict[str, Sequence[Any]]]:
        return _sizes


def _sizes(batch: Batch) -> dict[str, Sequence[Any]]:
    headers: Sequence[Header | None] = batch.images
    return {
        "width": [header and header.width for header in headers],
        "height": [header and header.height for header in headers],
        "format": [header and header.format for header in headers],
        "header_error": list(batch.broken),
    }
