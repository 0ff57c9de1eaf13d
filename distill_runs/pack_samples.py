"""From the bytes of a sample to what a model is given. C channels, H W pixels, h w latent grid."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from distill_runs.packs import Data, Pack
from distill_runs.texts import Encoded
from distill_runs.visits import chance
from store.aspects import Size, covering
from store.errors import MashbillError

Box = tuple[float, float, float, float]

ONE_WAY = re.compile(
    r"\b(left|right|lefthand|righthand|east|west|clockwise|counterclockwise|text|texts|word|words|letter|"
    r"letters|lettering|writing|written|writes|reads|says|saying|title|titled|caption|captioned|label|"
    r"labels|labeled|labelled|logo|sign|signs|slogan|typography|font|number|numbers|quote|quotes|"
    r"inscription|watermark|map|flag|clock|license plate)\b|[\"“”«»]",
    re.IGNORECASE,
)
"""Words of captions whose image would not be true mirrored: sides, directions, and anything written."""


@dataclass(frozen=True)
class Picture:
    """One sample as a run reads it."""

    pixels: NDArray[Any]
    """uint8 [H, W, 3] sRGB, or float32 [C, h, w] latents as cached."""
    caption: str
    original_size: Size | None
    """(width, height) of the source image, where the pack says."""
    crop: Box | None
    """left, top, right, bottom: what is seen of the source image, in its pixels; likewise."""
    flipped: bool
    text: Encoded = field(default_factory=dict)
    """Of the caption, where the run reads text encodings."""
    extras: dict[str, NDArray[Any]] = field(default_factory=dict)
    """Captured arrays by name, as they were captured."""


def chosen_caption(texts: list[str], data: Data, visit: str) -> int:
    """The number of a sample's caption: the first, or one that the visit's name draws."""
    if data.captions == "first" or len(texts) == 1:
        return 0
    return int(chance(f"{visit}:caption") * len(texts))


def is_flipped(texts: list[str], data: Data, visit: str) -> bool:
    """Whether the visit mirrors the image: never where any of its captions would become untrue."""
    if not data.flip or chance(f"{visit}:flip") >= data.flip:
        return False
    return not any(ONE_WAY.search(text) for text in texts)


def decoded(data: bytes, size: Size, bucket: Size, flipped: bool) -> NDArray[np.uint8]:
    """The image scaled to cover ``bucket``, its middle; uint8 [H, W, 3].

    Args:
        size: what ``pack.json`` says of the image.

    Raises:
        MashbillError: it cannot be decoded or has another size; the message does not name it.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.size != size:
                raise MashbillError(
                    f"has {image.width}x{image.height} pixels, and its .json says {size[0]}x{size[1]}"
                )
            picture = _fitted(image, bucket)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise MashbillError(f"cannot be decoded ({error})") from error
    if flipped:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return np.asarray(picture)


def _fitted(image: Image.Image, bucket: Size) -> Image.Image:
    if image.size == bucket:
        return image.convert("RGB")
    box = covering(image.size, bucket)
    scale = bucket[0] / (box[2] - box[0])
    whole = image.size
    # Decoding at a fraction of the scale costs a fraction; Lanczos keeps a factor 2 to work on.
    image.draft("RGB", (int(2 * scale * whole[0]), int(2 * scale * whole[1])))
    ratio = image.size[0] / whole[0], image.size[1] / whole[1]
    left, top, right, bottom = (edge * ratio[i % 2] for i, edge in enumerate(box))
    box = left, top, min(right, image.size[0]), min(bottom, image.size[1])
    return image.convert("RGB").resize(bucket, Image.Resampling.LANCZOS, box=box)


def latent(data: bytes, bucket: Size, pack: Pack) -> NDArray[np.float32]:
    """The cached latent, float32 [C, h, w]; raises MashbillError where it is not what the pack says."""
    factor, channels = pack.latents["factor"], pack.latents["channels"]
    expected = (channels, bucket[1] // factor, bucket[0] // factor)
    try:
        found = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise MashbillError(f"has a latent that cannot be read ({error})") from error
    if found.shape != expected or found.dtype != np.float16:
        raise MashbillError(f"has a latent of {found.dtype} {found.shape}; expected float16 {expected}")
    if not np.isfinite(found).all():
        raise MashbillError("has a latent with values that are not numbers")
    return np.asarray(found, np.float32)


def captured_array(data: bytes, name: str, pack: Pack) -> NDArray[Any]:
    """A captured array; raises MashbillError where it is not what the pack says."""
    about = pack.captured["arrays"][name]
    try:
        found = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise MashbillError(f"has a captured {name} that cannot be read ({error})") from error
    if list(found.shape) != about["shape"] or str(found.dtype) != about["dtype"]:
        raise MashbillError(
            f"has a captured {name} of {found.dtype} {found.shape}; expected {about['dtype']} "
            f"{tuple(about['shape'])}"
        )
    return np.asarray(found)


def box_in_source(crop: Box, size: Size, bucket: Size) -> Box:
    """What remains of the source image, when the packed crop is fitted to a bucket."""
    left, top, right, bottom = covering(size, bucket)
    x, y = (crop[2] - crop[0]) / size[0], (crop[3] - crop[1]) / size[1]
    return crop[0] + left * x, crop[1] + top * y, crop[0] + right * x, crop[1] + bottom * y
