"""How many bytes the arrays of a pack will take, before any is made: from the shapes of what makes them."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from pipelines.dataset import Dataset
from pipelines.plan_command import bytes_words
from stages.pack.beside import texts_of
from stages.pack.latents import latent_bytes
from stages.pack.pack import Pack, pack_name
from stages.pack.text_shapes import text_encoders
from stages.text.recaption import Recaption
from store.aspects import Size, bucket_size


@dataclass(frozen=True)
class ArrayBytes:
    """Bytes in a pack's tars, headers and padding of the tar included.

    ``at_most``: of captions every token was counted that an encoder can read; what is not read is not stored.
    """

    latents: int = 0
    text: int = 0
    at_most: bool = False

    def __add__(self, other: ArrayBytes) -> ArrayBytes:
        return ArrayBytes(self.latents + other.latents, self.text + other.text, self.at_most or other.at_most)

    def times(self, count: int) -> ArrayBytes:
        return ArrayBytes(self.latents * count, self.text * count, self.at_most)

    def words(self) -> str:
        """Such as ``latents 1.2 GB, text encodings at most 3.4 GB``."""
        most = "at most " if self.at_most else ""
        said = [f"latents {bytes_words(self.latents)}"] if self.latents else []
        return ", ".join(said + ([f"text encodings {most}{bytes_words(self.text)}"] if self.text else []))


def bytes_of_sample(pack: Pack, size: Size, captions: int) -> ArrayBytes:
    """Of one sample of ``(width, height)`` pixels with so many captions; models' configurations are read.

    Raises:
        UsageError: a model is not there.
    """
    latents = latent_bytes(pack.latents, pack.latents_revision, size) if pack.latents else 0
    _, encoders = text_encoders(pack.text, pack.text_revision) if pack.text else ("", ())
    text = sum(encoder.room_bytes(captions) for encoder in encoders)
    return ArrayBytes(latents, text, any(encoder.masked for encoder in encoders))


def bytes_of_rows(pack: Pack, resolution: int, rows: pa.Table) -> ArrayBytes:
    """Of all samples of a table with ``crop_aspect, caption, caption_original`` and, if any, ``captions``."""
    names = [n for n in ("caption", "caption_original", "captions") if n in rows.column_names]
    texts = (max(len(texts_of(row)), 1) for row in rows.select(names).to_pylist())
    aspects = rows["crop_aspect"].to_pylist() if resolution else [1.0] * len(rows)
    total = ArrayBytes()
    for (aspect, captions), count in Counter(zip(aspects, texts, strict=True)).items():
        size = bucket_size(aspect, resolution) if resolution else (0, 0)
        total += bytes_of_sample(pack, size, captions).times(count)
    return total


def assumed_captions(dataset: Dataset) -> int:
    """Captions of a sample, as far as a recipe tells: one of each style and the old one; else that of the
    dataset and the one the sample came with."""
    return max((len(s.styles) + 1 for s in dataset.columns if isinstance(s, Recaption)), default=2)


def planned_arrays(dataset: Dataset) -> dict[str, dict[str, Any]]:
    """By pack: ``latents`` and ``text``, the bytes of a square sample with ``captions`` of them."""
    pack, captions = dataset.pack, assumed_captions(dataset)
    if not (pack.latents or pack.text):
        return {}
    return {
        pack_name(r): asdict(bytes_of_sample(pack, (r, r), captions)) | {"captions": captions}
        for r in pack.resolutions
    }
