"""Stage ``decontaminate``: which samples copy an image or a caption of an evaluation set."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import pyarrow as pa

from stages.dedup.caption_copies import CaptionIndex
from stages.dedup.evaluation_captions import caption_items
from stages.dedup.evaluation_images import READS, Limits, described, image_copies
from stages.dedup.evaluation_set import summary
from stages.dedup.thumbnails import check_match
from stages.stage import Reduction
from store.errors import MashbillError, UsageError

_ROWS_AT_ONCE = 65536


@dataclass(frozen=True)
class Decontaminate(Reduction):
    """Names the evaluation item that each sample copies; null where it copies none.

    ``images``: folders (searched to the bottom) and tars of evaluation images; ``captions``: files of
    evaluation captions. Without them the columns are null and nothing is read.

    An image is copied by the same bytes, and by what ``near_duplicates`` calls a near duplicate:
    ``radius``, ``tolerance`` and ``match_flips`` are its. A caption is copied by a ``caption`` or
    ``caption_original`` with the same words but for one added, left out or changed, whatever the case, the
    punctuation and the spaces; captions of fewer than ``min_words`` words are not looked for, or "a dog"
    would empty the dataset.

    ``evaluation_image``: "coco/000123.jpg". ``evaluation_caption``: "PartiPrompts:17", its 17th row.
    ``contents`` says what lies at the paths; it, not they, names the column set.
    """

    name: ClassVar[str] = "decontaminate"
    version: ClassVar[int] = 1
    writes: ClassVar[pa.Schema] = pa.schema(
        [("evaluation_image", pa.string()), ("evaluation_caption", pa.string())]
    )

    images: tuple[str, ...] = field(default=(), compare=False)
    captions: tuple[str, ...] = field(default=(), compare=False)
    radius: int = 6
    tolerance: float = 10.0
    match_flips: bool = True
    min_words: int = 5
    contents: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        check_match(self.radius, self.tolerance)
        if self.min_words < 2:
            raise UsageError(f"min_words={self.min_words}: expected 2 or more; one word may always differ")
        object.__setattr__(self, "contents", self._contents())

    def _contents(self) -> tuple[str, ...]:
        kinds = {"images": self.images, "captions": self.captions}
        return tuple(sorted(summary(kind, path) for kind, paths in kinds.items() for path in paths))

    @property
    def reads(self) -> tuple[str, ...]:  # type: ignore[override]  # only what the sets ask for
        captions = ("caption", "caption_original") if self.captions else ()
        return (*(READS if self.images else ()), *captions)

    def reduce(self, rows: pa.Table, scratch: str) -> pa.Table:
        if self._contents() != self.contents:
            raise MashbillError(
                f"the evaluation sets changed since the build began ({', '.join(self.contents)}). "
                "Start it again: the columns are named by what the sets held."
            )
        columns = {name: pa.nulls(rows.num_rows, pa.string()) for name in self.writes.names}
        if self.images:
            columns["evaluation_image"] = self._image(rows, scratch)
        if self.captions:
            columns["evaluation_caption"] = self._caption(rows)
        return pa.table(columns, schema=self.writes)

    def _image(self, rows: pa.Table, scratch: str) -> pa.Array:
        evaluation = described(self.images)
        limits = Limits(self.radius, self.tolerance, self.match_flips)
        found = image_copies(rows, evaluation, limits, scratch)
        return evaluation["name"].combine_chunks().take(pa.array(found, mask=found < 0))

    def _caption(self, rows: pa.Table) -> pa.Array:
        items = sorted(item for path in self.captions for item in caption_items(path))
        index = CaptionIndex.of([text for _, text in items], self.min_words)
        found = np.fromiter(_found(rows, index), np.int64, rows.num_rows)
        return pa.array([name for name, _ in items]).take(pa.array(found, mask=found < 0))


def _found(rows: pa.Table, index: CaptionIndex) -> Iterator[int]:
    """Of each row the number of the evaluation caption it copies, or -1."""
    for batch in rows.select(("caption", "caption_original")).to_batches(_ROWS_AT_ONCE):
        for caption, original in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            number = index.find(caption)
            if number is None and original != caption:
                number = index.find(original)
            yield -1 if number is None else number
