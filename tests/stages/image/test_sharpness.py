"""Sharpness: known values, and the order of copies of one picture."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image, ImageFilter

from stages.image.picture import read_small
from stages.image.sharpness import Sharpness
from stages.stage import Batch


def sharpness(*small: np.ndarray | None) -> list[float | None]:
    written = Sharpness().open()(Batch(len(small), {}, small, [None] * len(small)))
    return list(pa.table(written, schema=Sharpness.writes)["sharpness"].to_pylist())


def of_image(image: Image.Image) -> float:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=92)
    (value,) = sharpness(read_small(out.getvalue()))
    assert value is not None
    return value


def test_known_values() -> None:
    flat = np.full((9, 9, 3), 200, np.uint8)
    checks = np.zeros((6, 6, 3), np.uint8)
    checks[(np.indices((6, 6)).sum(axis=0) % 2) == 1] = 255
    red = checks * np.array([1, 0, 0], np.uint8)
    ramp = np.repeat(np.arange(0, 200, 10, dtype=np.uint8)[None, :, None], 3, axis=2)
    assert sharpness(flat, checks) == [0.0, 1020.0**2]
    assert sharpness(red)[0] == pytest.approx((1020 * 0.299) ** 2)
    assert sharpness(np.repeat(ramp, 20, axis=0)) == [0.0]


def test_nothing_to_measure() -> None:
    assert sharpness(None, np.zeros((2, 90, 3), np.uint8), np.zeros((3, 3, 3), np.uint8)) == [
        None,
        None,
        0.0,
    ]


def check_order(image: Image.Image) -> None:
    width, height = image.size
    half = image.resize((width // 2, height // 2), Image.Resampling.BICUBIC)
    original = of_image(image)
    slight = of_image(image.filter(ImageFilter.GaussianBlur(1)))
    strong = of_image(image.filter(ImageFilter.GaussianBlur(4)))
    assert original > slight > strong
    assert original > of_image(half.resize((width, height), Image.Resampling.BICUBIC))


def test_order_of_copies_of_a_drawn_picture() -> None:
    rng = np.random.default_rng(3)
    blocks = rng.integers(0, 256, (60, 80, 3), dtype=np.uint8)
    image = Image.fromarray(blocks).resize((640, 480), Image.Resampling.NEAREST)
    check_order(image.filter(ImageFilter.GaussianBlur(0.6)))


def test_order_of_copies_of_photographs(shared_data: Path | None) -> None:
    if shared_data is None:
        return  # the drawn picture above is the part that needs no data
    photographs = sorted((shared_data / "photos").glob("*/*.jpg"))[::4]
    assert len(photographs) >= 20
    for path in photographs:
        with Image.open(path) as image:
            check_order(image.convert("RGB"))
