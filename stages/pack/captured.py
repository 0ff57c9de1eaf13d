"""Arrays that were captured while an image was made, carried into a pack with what they were made with.

C latent channels, h w latent cells.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from store.aspects import Size
from store.errors import UsageError
from store.extras import extra_places
from store.location import Location

NAMES = ("noise", "latents", "trajectory")
"""What source ``generated`` can capture; see ``stages/generate/capture.py``."""
MADE_WITH = (
    "generator",
    "revision",
    "pipeline",
    "scheduler",
    "steps",
    "guidance_scale",
    "negative_prompt",
    "dtype",
)
"""Fields of ``meta`` that must be equal in all samples of a pack with captured arrays."""


def member(name: str) -> str:
    """The extension of a captured array in a pack."""
    return f"captured.{name}.npy"


def read_captured(row: Mapping[str, Any], names: Sequence[str]) -> dict[str, bytes]:
    """The ``.npy`` files of a sample by name, byte for byte as they were captured.

    Raises:
        UsageError: the sample has no such array.
    """
    places = extra_places(row)
    missing = [name for name in names if name not in places]
    if missing:
        raise UsageError(
            f"sample {row['sample_id']} has no captured {missing[0]!r} (it has: "
            f"{', '.join(places) or 'none'}), and pack.extras asks for it. Generate the images "
            "with source.capture, or take it out of pack.extras."
        )
    found = Location.of(row["tar"]).read_ranges([places[name] for name in names])
    return dict(zip(names, found, strict=True))


def about_captured(
    row: Mapping[str, Any], arrays: Mapping[str, bytes], size: Size, crop: Sequence[float]
) -> dict[str, Any]:
    """What ``pack.json`` says of the arrays of one sample, and of all: their shapes, what made them, at
    which times the trajectory is, and the VAE whose latents they are.

    Args:
        size: of the image as it is packed.
        crop: what of it is packed, left, top, right, bottom; it has to be the whole.

    Raises:
        UsageError: the image as it is packed is not the one that the arrays are of.
    """
    meta = json.loads(row["meta"])
    vae = meta.get("vae")
    if not vae:
        raise UsageError(
            f"sample {row['sample_id']} does not say of which VAE its captured arrays are: an older mashbill "
            "made it, or its pipeline has no AutoencoderKL. Generate it again, or leave pack.extras empty."
        )
    found = {name: np.load(io.BytesIO(data)) for name, data in arrays.items()}
    shapes = {name: {"shape": list(a.shape), "dtype": str(a.dtype)} for name, a in found.items()}
    for array in found.values():
        height, width = (cells * vae["factor"] for cells in array.shape[-2:])
        if size != (width, height) or tuple(crop) != (0, 0, width, height):
            raise UsageError(
                f"sample {row['sample_id']} was made at {width}x{height} pixels; of it the box {list(crop)} "
                f"is packed at {size[0]}x{size[1]}, which is not what the captured arrays are of. Pack whole "
                "images at the size they were made at, or leave pack.extras empty."
            )
    about: dict[str, Any] = {"arrays": shapes, "vae": vae, **{name: meta.get(name) for name in MADE_WITH}}
    return about | ({"trajectory_times": meta["trajectory_times"]} if "trajectory" in arrays else {})


def check_same(one: Mapping[str, Any], other: Mapping[str, Any]) -> None:
    """Raises UsageError where two samples of a pack were made in different ways."""
    differ = [name for name in one.keys() | other.keys() if one.get(name) != other.get(name)]
    if differ:
        name = min(differ)
        raise UsageError(
            f"pack.extras={', '.join(one['arrays'])}: samples were made in different ways, {name} is "
            f"{one.get(name)!r} of some and {other.get(name)!r} of others. Pack each way as a dataset of "
            "its own."
        )
