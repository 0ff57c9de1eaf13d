"""Stage ``clip_similarity``: how well words fit what is left of the picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pyarrow as pa

from stages.image.cropped import CROP, cropped
from stages.score.batching import Batching
from stages.score.dual_encoder import DualEncoder, open_dual_encoder
from stages.stage import Batch, MapStage, View
from store.errors import UsageError


@dataclass(frozen=True)
class ClipSimilarity(MapStage):
    """Cosine of the embeddings of the crop and of each caption (Radford et al. 2021), -1 to 1.

    ``captions`` are columns; the picture is encoded once for all of them. ``caption`` is scored in
    ``clip_similarity``, ``caption_short`` in ``clip_similarity_short``. ``clip_cut`` (``clip_cut_short``)
    is true where the caption has more tokens than the model reads: it was cut on the right and the score
    is of its beginning. All null without an image, a crop or that caption.

    It is a cosine, not CLIPScore (2.5 max(cosine, 0), Hessel et al. 2021). Its values compare within one
    model only: right pairs have 0.2 to 0.35 with OpenAI's models, 0.05 to 0.2 with SigLIP. CLIP models see
    the middle square of a crop that is not square.

    ``model`` is a ``transformers`` id, folder or shipped name, or ``open_clip:NAME/PRETRAINED``. Cost: see
    docs/scores.md.
    """

    name: ClassVar[str] = "clip_similarity"
    version: ClassVar[int] = 1
    view: ClassVar[View] = View.FULL
    models: ClassVar[tuple[tuple[str, str], ...]] = (("model", "revision"),)
    model: str = "openai/clip-vit-large-patch14"
    revision: str = "main"
    captions: tuple[str, ...] = ("caption",)
    batch_size: int = field(default=32, compare=False)

    def __post_init__(self) -> None:
        listed = isinstance(self.captions, tuple) and self.captions
        if not listed or len(set(self.captions)) < len(self.captions):
            raise UsageError(
                f"clip_similarity.captions={self.captions!r}: expected names of columns, each once, such as "
                "('caption', 'caption_original')"
            )

    @property
    def reads(self) -> tuple[str, ...]:  # type: ignore[override]  # the captions are a field
        return (*CROP, *self.captions)

    @property
    def writes(self) -> pa.Schema:
        kinds = {"clip_similarity": pa.float32(), "clip_cut": pa.bool_()}
        return pa.schema([(n + _suffix(c), kind) for c in self.captions for n, kind in kinds.items()])

    @property
    def rows_at_once(self) -> int:  # type: ignore[override]
        return self.batch_size

    def open(self) -> Callable[[Batch], dict[str, Sequence[Any]]]:
        encoder = open_dual_encoder(self.model, self.revision, "clip_similarity.model")
        batching = Batching(self.name, self.batch_size)
        return lambda batch: self._scores(encoder, batching, batch)

    def _scores(self, encoder: DualEncoder, batching: Batching, batch: Batch) -> dict[str, Sequence[Any]]:
        images: list[Any] = [cropped(batch, i) for i in range(batch.size)]
        worded = [any(batch.columns[c][i] for c in self.captions) for i in range(batch.size)]
        rows = [i for i in range(batch.size) if images[i] is not None and worded[i]]
        seen = batching.scored(lambda some: list(encoder.embed_images(some)), [images[i] for i in rows])
        seen_at = dict(zip(rows, seen, strict=True))
        written: dict[str, Sequence[Any]] = {}
        for column in self.captions:
            similarity, cut = _of_one(encoder, batching, batch.columns[column], seen_at)
            written["clip_similarity" + _suffix(column)] = similarity
            written["clip_cut" + _suffix(column)] = cut
        return written


def _of_one(
    encoder: DualEncoder, batching: Batching, texts: list[str | None], seen_at: dict[int, Any]
) -> tuple[list[float | None], list[bool | None]]:
    """Similarity and cut of one caption column; ``seen_at`` holds an embedding [D] by row."""

    def run(some: Sequence[str]) -> Sequence[tuple[Any, bool | None]]:
        embeddings_BD, cut = encoder.embed_texts(some)
        return list(zip(embeddings_BD, cut, strict=True))

    rows = [(i, text) for i, text in enumerate(texts) if text and i in seen_at]
    told = batching.scored(run, [text for _, text in rows])
    similarity: list[float | None] = [None] * len(texts)
    cuts: list[bool | None] = [None] * len(texts)
    for (i, _), (embedding_D, cut) in zip(rows, told, strict=True):
        similarity[i], cuts[i] = float(seen_at[i] @ embedding_D), cut
    return similarity, cuts


def _suffix(column: str) -> str:
    """``caption`` gives "", ``caption_short`` gives ``_short``, any other column its name."""
    return "" if column == "caption" else "_" + column.removeprefix("caption_")
