"""Artifacts of hand-made pictures, and of one photo at several qualities."""

from __future__ import annotations

import io
import itertools
from typing import Any

import numpy as np
import pytest
from PIL import Image

from stages.score.artifacts import Artifacts, blockiness, flatness, noise
from stages.stage import Batch


def measured(image: Image.Image | None) -> dict[str, Any]:
    written = Artifacts().open()(Batch(1, {}, [image], [None]))
    return {name: values[0] for name, values in written.items()}


def gray(luma_HW: Any) -> Image.Image:
    return Image.fromarray(np.asarray(luma_HW, np.uint8)).convert("RGB")


def saved(image: Image.Image, quality: int) -> Image.Image:
    sink = io.BytesIO()
    image.save(sink, "JPEG", quality=quality)
    return Image.open(sink).convert("RGB")


@pytest.fixture(scope="module")
def scene() -> Image.Image:
    """A drawn picture with grain, 250 x 330 px: sides that are no multiples of eight."""
    from tinyworld.draw import draw
    from tinyworld.scene import random_scene

    return draw(random_scene(3), 250, 330)


def test_blocks_of_one_level_are_nothing_but_grid() -> None:
    tiles = np.random.default_rng(0).integers(0, 256, (6, 9)).repeat(8, 0).repeat(8, 1)
    assert blockiness(tiles.astype(np.int16)) == 1
    assert blockiness(tiles[3:, 5:].astype(np.int16)) == 1  # cropped off its grid, still seen
    assert blockiness(np.full((32, 32), 7, np.int16)) == 0
    ramp = np.arange(64, dtype=np.int16)[None, :] + np.zeros((64, 1), np.int16)
    assert blockiness(ramp) == 0


def test_blockiness_by_hand() -> None:
    """One row repeated: steps of 3 on the grid's lines, of 1 elsewhere. (3 - 1) / (3 + 1), in columns."""
    steps = [3 if (x + 1) % 8 == 0 else 1 for x in range(39)]
    row = np.cumsum([0, *steps]).astype(np.int16)
    picture = row[None, :] + row[:, None]
    assert blockiness(picture) == pytest.approx(0.5)


def test_quality_orders_blockiness(scene: Image.Image) -> None:
    found = [measured(saved(scene, quality))["blockiness"] for quality in (95, 50, 25, 10)]
    assert found == sorted(found)
    assert found[3] > found[0] + 0.1
    cut = saved(scene, 10).crop((3, 5, 240, 320))
    assert measured(cut)["blockiness"] == pytest.approx(found[3], abs=0.03)
    turned = saved(scene, 10).transpose(Image.Transpose.ROTATE_180)
    assert measured(turned)["blockiness"] == pytest.approx(found[3], abs=1e-6)


def test_noise_is_what_was_added() -> None:
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:200, :200]
    plain = 100 + 0.2 * x + 0.1 * y
    assert noise(plain.round().astype(np.int16)) < 1
    for sigma in (5.0, 10.0, 20.0):
        noisy = (plain + rng.normal(0, sigma, plain.shape)).round().astype(np.int16)
        assert noise(noisy) == pytest.approx(sigma, rel=0.03)
    single = np.zeros((16, 16), np.int16)
    single[8, 8] = 90  # |I * N| sums to 90 * (4 + 4 * 2 + 4 * 1)
    assert noise(single) == pytest.approx((np.pi / 2) ** 0.5 * 90 * 16 / (6 * 14 * 14))


def test_exposure_counts_pixels() -> None:
    luma = np.full((20, 40), 128)
    luma[:5], luma[5:7] = 250, 5
    luma[7, 0], luma[7, 1] = 249, 6  # just not
    found = measured(gray(luma))
    assert (found["overexposed"], found["underexposed"]) == (0.25, 0.1)


def test_flatness_counts_whole_tiles() -> None:
    luma = np.zeros((35, 33), np.int16)
    luma[:16, :16] = np.indices((16, 16)).sum(0) % 2 * 4  # deviation of exactly 2: not flat
    luma[16:24, :8] = np.indices((8, 8)).sum(0) % 2 * 3  # 1.5
    assert flatness(luma) == 12 / 16


def test_small_pictures_and_none_are_null() -> None:
    for image in (None, gray(np.zeros((15, 90))), gray(np.zeros((90, 15)))):
        assert set(measured(image).values()) == {None}
    assert None not in measured(gray(np.zeros((16, 16)))).values()


def test_of_a_huge_picture_the_middle_is_measured() -> None:
    luma = np.zeros((16, 4296), np.uint8)
    luma[:, 100:4196] = 255
    assert measured(gray(luma))["overexposed"] == 1


def test_ranges_hold_for_any_picture() -> None:
    rng = np.random.default_rng(2)
    for height, width in itertools.product((16, 17, 64, 103), repeat=2):
        found = measured(gray(rng.integers(0, 256, (height, width))))
        assert all(0 <= found[name] <= 1 for name in found if name != "noise")
        assert found["noise"] > 20
