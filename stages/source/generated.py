"""Source ``generated``: images that a text-to-image pipeline makes of prompts."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from PIL import Image

from stages.generate.batches import Made, Maker, Order, ahead
from stages.generate.capture import Capture, vae_facts
from stages.generate.noise import image_seed
from stages.generate.pipelines import DTYPES, Call, check, opened
from stages.generate.schedulers import Scheduler
from stages.pinned import exact_revision, is_exact
from stages.source.meta import meta_json
from stages.source.prompts import PromptFile, Prompts, checked, prompt_id
from stages.stage import Source
from store.digest import FILES, fingerprint, settings
from store.errors import MashbillError, UsageError
from store.sources import RawSample
from store.store import Store

SAVED: dict[str, dict[str, Any]] = {"png": {}, "jpeg": {"quality": 95, "subsampling": 0}}
"""How Pillow writes each ``image_format``: PNG loses nothing."""
ROWS = pa.schema(
    [
        ("number", pa.int64()),
        ("locator", pa.string()),
        ("prompt", pa.string()),
        ("index", pa.int32()),
        ("fields", pa.string()),
        ("error", pa.string()),
    ]
)
"""What a portion holds: a row for each image to make, and one for each prompt that makes none."""


@dataclass(frozen=True)
class Generated(Source):
    """``images_per_prompt`` images of each prompt, by a pipeline of diffusers (hub id or folder).

    An image's noise follows from ``seed``, the prompt, and the image's number among the prompt's: a
    resumed build, another ``shard_size`` or more prompts make the same images; another ``batch_size``
    the same up to what a batch's size does to floating point. Blank and repeated prompts enter once each,
    as ``empty_prompt`` and ``repeated_prompt``; what a safety checker holds back as ``safety_checker``,
    an image that is all black as ``black_image``, one with NaN in it as ``not_finite``.

    None, 0 and "" leave a setting to the pipeline. ``dtype`` is that of the weights. A sample is named
    by its prompt, its number and all that makes the image; a model in a folder counts by its files, and
    ``generator`` in ``meta`` names its class and their hash.
    """

    kind: ClassVar[str] = "generated"
    models: ClassVar[tuple[tuple[str, str], ...]] = (("model", "revision"),)
    model: str = ""
    revision: str = "main"
    prompts: Prompts = PromptFile()
    images_per_prompt: int = 1
    steps: int | None = None
    guidance_scale: float | None = None
    width: int = 0
    height: int = 0
    dtype: str = "float32"
    scheduler: Scheduler = Scheduler()
    negative_prompt: str = ""
    max_sequence_length: int | None = None
    seed: int = 0
    image_format: str = "png"
    capture: Capture = Capture()
    shard_size: int = 1000
    batch_size: int = field(default=8, compare=False)

    def __post_init__(self) -> None:
        for name in ("images_per_prompt", "shard_size", "batch_size", "steps", "max_sequence_length"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"source.{name}={value}: expected 1 or more")
        for name in ("width", "height"):
            if getattr(self, name) < 0:
                raise UsageError(f"source.{name}={getattr(self, name)}: expected pixels, or 0")
        for name, valid in (("dtype", DTYPES), ("image_format", tuple(SAVED))):
            if getattr(self, name) not in valid:
                raise UsageError(f"source.{name}={getattr(self, name)}: expected {', '.join(valid)}")
        if self.negative_prompt and self.guidance_scale is not None and self.guidance_scale <= 1:
            raise UsageError(
                f"source.negative_prompt={self.negative_prompt!r} is not read at guidance_scale="
                f"{self.guidance_scale:g}: give a scale over 1, or no negative prompt"
            )

    def found_in(self, store: Store) -> Generated:
        return replace(self, prompts=self.prompts.found_in(store))

    def identity(self) -> dict[str, Any]:
        if bool(self.width) != bool(self.height):  # here, as --set changes one after the other
            raise UsageError(
                f"source.width={self.width} and source.height={self.height}: give both, or neither for the "
                "pipeline's own size; pipelines ignore one alone"
            )
        rest = {"capture": settings(self.capture), "images_per_prompt": self.images_per_prompt}
        identity = {"kind": self.kind, "made_by": self._made_by(), **rest}
        return identity | {"prompts": self.prompts.identity()}

    def plan(self) -> Iterator[pa.Table]:
        check(self.model, self.revision, self._call, self.scheduler)
        rows, generator, empty = self._rows(), fingerprint(self._made_by()), True
        while some := list(islice(rows, self.shard_size)):
            empty = False
            for row in some:
                row["locator"] = f"generated:{generator}:{row['locator']}"
            yield pa.Table.from_pylist(some, ROWS)
        if empty:
            raise MashbillError(f"source.prompts ({self.prompts.kind}) has no prompts")

    def _rows(self) -> Iterator[dict[str, Any]]:
        for number, prompt in enumerate(checked(self.prompts.read())):
            row = {"number": number, "prompt": prompt.text, "index": 0, "error": prompt.error}
            row["fields"] = meta_json(prompt.fields)
            if prompt.error:
                yield row | {"locator": f"{prompt.error}:{number}"}
                continue
            for index in range(self.images_per_prompt):
                yield row | {"locator": f"{prompt_id(prompt.text)}:{index}", "index": index}

    def read(self, portion: pa.Table, scratch: str) -> Iterator[RawSample]:
        rows = portion.to_pylist()
        orders = [Order(row["prompt"], self._seed(row)) for row in rows if not row["error"]]
        made: Iterator[Made] = iter(())
        about: dict[str, Any] = {}
        if orders:
            pipeline = opened(self.model, self.revision, self.dtype, self.scheduler)
            arguments = self._call.arguments(type(pipeline))
            maker = Maker(pipeline, arguments, self.capture, self.batch_size)
            made, about = ahead(maker.make, orders, self.batch_size), self._about(pipeline)
        for row in rows:
            yield self._refused(row) if row["error"] else self._sample(row, next(made), about)

    @property
    def _call(self) -> Call:
        return Call(
            self.steps,
            self.guidance_scale,
            self.width,
            self.height,
            self.negative_prompt,
            self.max_sequence_length,
        )

    @property
    def _exact(self) -> str:
        """The commit, or the hash of the model's files; a build has looked it up already.

        Raises:
            UsageError: no model is named.
            MashbillError: it is not there.
        """
        if not self.model:
            raise UsageError(
                "source.model is empty: give the hub id of a text-to-image pipeline, or its folder"
            )
        if is_exact(self.revision):
            return self.revision
        return exact_revision(self.model, self.revision, "source.model")

    @property
    def _by_id(self) -> bool:
        return not self._exact.startswith(FILES)

    def _seed(self, row: dict[str, Any]) -> int:
        return image_seed(self.seed, row["prompt"], row["index"])

    def _made_by(self) -> dict[str, Any]:
        """All that makes an image of a prompt and a number: two sources that differ here have other ids."""
        return {
            "model": [self.model if self._by_id else "", self._exact],
            "call": settings(self._call),
            "dtype": self.dtype,
            "scheduler": settings(self.scheduler),
            "seed": self.seed,
            "image_format": self.image_format,
        }

    def _about(self, pipeline: Any) -> dict[str, Any]:
        """What ``meta`` says of every image of this source."""
        return {
            "synthetic": True,
            "generator": self.model if self._by_id else f"{type(pipeline).__name__}@{self._exact}",
            "revision": self._exact,
            "pipeline": type(pipeline).__name__,
            "scheduler": type(pipeline.scheduler).__name__,
            "negative_prompt": self.negative_prompt or None,
            "dtype": self.dtype,
            **self._call.made_with(type(pipeline)),
            **({"vae": vae_facts(pipeline)} if self.capture.anything else {}),
        }

    def _refused(self, row: dict[str, Any]) -> RawSample:
        """The row of a prompt that makes no image."""
        locator, key, meta = row["locator"], str(row["number"]), meta_json(_fields(row) | {"synthetic": True})
        return RawSample(locator, key, row["prompt"], None, meta=meta, error=row["error"])

    def _sample(self, row: dict[str, Any], made: Made, about: dict[str, Any]) -> RawSample:
        own: dict[str, Any] = {
            "prompt": row["prompt"],
            "prompt_id": prompt_id(row["prompt"]),
            "prompt_index": row["index"],
            "seed": self._seed(row),
        }
        if made.times:
            own["trajectory_times"] = list(made.times)
        return RawSample(
            locator=row["locator"],
            source_key=f"{row['number']}-{row['index']}",
            caption=row["prompt"],
            image=None if made.pixels is None else _encoded(made.pixels, self.image_format),
            meta=meta_json(_fields(row) | about | own),
            error=made.error,
            extension=self.image_format,
            extra=made.extra,
        )


def _fields(row: dict[str, Any]) -> dict[str, Any]:
    """What came beside the prompt, in the words of its list."""
    return dict(json.loads(row["fields"])) if row["fields"] else {}


def _encoded(pixels_HWC: np.ndarray[Any, Any], image_format: str) -> bytes:
    """The file of an image; nothing is in it but the pixels: no prompt, no settings, no date."""
    sink = io.BytesIO()
    Image.fromarray(pixels_HWC).save(sink, image_format, **SAVED[image_format])
    return sink.getvalue()
