"""Stage ``image_embedding``: where what is left of the picture lies in a model's space."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pyarrow as pa

from stages.image.cropped import CROP, cropped
from stages.score.batching import Batching
from stages.score.dual_encoder import open_dual_encoder
from stages.stage import Batch, MapStage, View


@dataclass(frozen=True)
class ImageEmbedding(MapStage):
    """``embedding``: the embedding of the crop by a CLIP or SigLIP, of length 1, as float16 numbers.

    ``semantic_duplicates`` finds what looks alike by it, ``embedding_plane`` makes a map of it. Null without
    an image or a crop. ``model`` as in ``clip_similarity``. Cost: that of the image encoder, and two bytes a
    number (1.5 KB a sample with ViT-L/14).
    """

    name: ClassVar[str] = "image_embedding"
    version: ClassVar[int] = 1
    reads: ClassVar[tuple[str, ...]] = CROP
    writes: ClassVar[pa.Schema] = pa.schema([("embedding", pa.list_(pa.float16()))])
    view: ClassVar[View] = View.FULL
    models: ClassVar[tuple[tuple[str, str], ...]] = (("model", "revision"),)
    model: str = "openai/clip-vit-large-patch14"
    revision: str = "main"
    batch_size: int = field(default=32, compare=False)

    @property
    def rows_at_once(self) -> int:  # type: ignore[override]
        return self.batch_size

    def open(self) -> Callable[[Batch], dict[str, Sequence[Any]]]:
        encoder = open_dual_encoder(self.model, self.revision, "image_embedding.model")
        batching = Batching(self.name, self.batch_size)

        def embed(images: Sequence[Any]) -> list[Any]:
            return list(encoder.embed_images(images).half().numpy())

        def run(batch: Batch) -> dict[str, Sequence[Any]]:
            images: list[Any] = [cropped(batch, i) for i in range(batch.size)]
            rows = [i for i, image in enumerate(images) if image is not None]
            found = dict(zip(rows, batching.scored(embed, [images[i] for i in rows]), strict=True))
            return {"embedding": [found.get(i) for i in range(batch.size)]}

        return run
