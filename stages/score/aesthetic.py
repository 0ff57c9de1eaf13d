"""Stage ``aesthetic``: how pleasing people would call what is left of the picture."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from stages.image.cropped import CROP, cropped
from stages.pretrained import load
from stages.score.batching import Batching
from stages.score.dual_encoder import open_dual_encoder
from stages.stage import Batch, MapStage, View
from store.errors import MashbillError

Layers = list[tuple[Any, Any]]
"""Weight [out, in] and bias [out] of each linear layer, float32, in order."""


@dataclass(frozen=True)
class Aesthetic(MapStage):
    """``aesthetic``: a regression head on the CLIP embedding of the crop, scaled to length 1 (LAION, 2022).

    ``head`` is a file, or a folder or hub id that holds ``head_file`` (``.pth`` or ``.safetensors``): linear
    layers one after another without activations, as in LAION's v1 (768 to 1) and v2 (768, 1024, 128, 64,
    16, 1). Both were fitted to ratings of 1 to 10 on embeddings of OpenAI's ViT-L/14; LAION-Aesthetics
    keeps 4.5, 5 or 6 and more. A head means nothing on another model's embeddings.

    Null without an image or a crop. Cost: that of the image encoder; the head adds nothing to speak of.
    """

    name: ClassVar[str] = "aesthetic"
    version: ClassVar[int] = 1
    reads: ClassVar[tuple[str, ...]] = CROP
    writes: ClassVar[pa.Schema] = pa.schema([("aesthetic", pa.float32())])
    view: ClassVar[View] = View.FULL
    models: ClassVar[tuple[tuple[str, str], ...]] = (("model", "revision"), ("head", "head_revision"))
    model: str = "openai/clip-vit-large-patch14"
    revision: str = "main"
    head: str = ""
    head_file: str = ""
    head_revision: str = "main"
    batch_size: int = field(default=32, compare=False)

    @property
    def rows_at_once(self) -> int:  # type: ignore[override]
        return self.batch_size

    def open(self) -> Callable[[Batch], dict[str, Sequence[Any]]]:
        layers = self._layers()
        encoder = open_dual_encoder(self.model, self.revision, "aesthetic.model")
        batching = Batching(self.name, self.batch_size)

        def rate(images: Sequence[Any]) -> list[float]:
            return self._rated(layers, encoder.embed_images(images))

        def run(batch: Batch) -> dict[str, Sequence[Any]]:
            images: list[Any] = [cropped(batch, i) for i in range(batch.size)]
            rows = [i for i, image in enumerate(images) if image is not None]
            ratings = batching.scored(rate, [images[i] for i in rows])
            rated = dict(zip(rows, ratings, strict=True))
            return {"aesthetic": [rated.get(i) for i in range(batch.size)]}

        return run

    def _layers(self) -> Layers:
        state = load(_Head, self.head, self.head_revision, "aesthetic.head", file=self.head_file)
        try:
            return layers_of(state)
        except ValueError as error:
            raise MashbillError(
                f"aesthetic.head={self.head!r} {self.head_file}: {error}. Expected linear layers one after "
                "another, down to one number: the head of another predictor cannot be read"
            ) from error

    def _rated(self, layers: Layers, embeddings_BD: Any) -> list[float]:
        import torch

        fits = layers[0][0].shape[1]
        if embeddings_BD.shape[1] != fits:
            raise MashbillError(
                f"aesthetic.head={self.head!r} reads embeddings of {fits} numbers, and aesthetic.model="
                f"{self.model!r} makes {embeddings_BD.shape[1]}: give the model that the head was fitted on"
            )
        with torch.inference_mode():
            for weight, bias in layers:
                embeddings_BD = torch.nn.functional.linear(embeddings_BD, weight, bias)
        return [float(value) for value in embeddings_BD[:, 0]]


def layers_of(state: dict[str, Any]) -> Layers:
    """The linear layers that a state dict holds, in the order of the numbers in their names.

    Raises:
        ValueError: there is anything else in it, or the layers do not fit one another.
    """
    names = sorted((key for key in state if key.split(".")[-1] == "weight"), key=_numbers)
    others = set(state) - set(names) - {_bias(name) for name in names}
    missing = [_bias(name) for name in names if _bias(name) not in state]
    if not names or others or missing:
        raise ValueError(f"it holds {', '.join(sorted(state)[:8]) or 'nothing'}")
    layers = [(state[name].float(), state[_bias(name)].float()) for name in names]
    widths = None
    for name, (weight, bias) in zip(names, layers, strict=True):
        shape = tuple(weight.shape)
        if len(shape) != 2 or tuple(bias.shape) != shape[:1] or widths not in (None, shape[1]):
            raise ValueError(f"{name} is {shape} with a bias of {tuple(bias.shape)} after {widths} numbers")
        widths = shape[0]
    if widths != 1:
        raise ValueError(f"its last layer gives {widths} numbers")
    return layers


def _bias(name: str) -> str:
    return name.removesuffix("weight") + "bias"


def _numbers(name: str) -> list[int]:
    return [int(digits) for digits in re.findall(r"\d+", name)]


class _Head:
    """Reads a file of weights the way a model's class does, so that the same errors get the same words."""

    @staticmethod
    def from_pretrained(source: str, revision: str, file: str) -> dict[str, Any]:
        path = Path(source)
        if path.is_dir():
            path = path / file
        elif not path.is_file():
            from huggingface_hub import hf_hub_download

            path = Path(hf_hub_download(source, file, revision=revision))
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        import torch

        state = torch.load(path, map_location="cpu", weights_only=True)  # no code of a stranger runs
        if not (isinstance(state, dict) and all(isinstance(v, torch.Tensor) for v in state.values())):
            raise ValueError(f"{path.name} holds no state dict")
        return state
