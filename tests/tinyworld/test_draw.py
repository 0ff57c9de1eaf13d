"""Drawn pixels against boxes, colors and each other."""

from __future__ import annotations

import hashlib
import io
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from store.errors import UsageError
from tinyworld.draw import draw
from tinyworld.scene import MONOCHROME, Background, Scene, Thing, boxes, near_miss, random_scene
from tinyworld.shapes import COLORS, SHAPES

SCENES = [random_scene(seed) for seed in range(60)]


def pixels(scene: Scene, width: int, height: int) -> NDArray[np.int16]:
    return np.asarray(draw(scene, width, height)).astype(np.int16)


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (37, 11), (64, 64), (1300, 200), (1100, 1050)])
def test_any_size(size: tuple[int, int]) -> None:
    for scene in SCENES[:5]:
        image = draw(scene, *size)
        assert image.size == size
        assert image.mode == "RGB"


def test_no_size_is_refused() -> None:
    with pytest.raises(UsageError, match="0 x 20"):
        draw(SCENES[0], 0, 20)


def test_same_scene_same_pixels_and_two_scenes_differ() -> None:
    digests = [hashlib.sha256(draw(s, 96, 80).tobytes()).hexdigest() for s in SCENES]
    assert digests == [hashlib.sha256(draw(s, 96, 80).tobytes()).hexdigest() for s in SCENES]
    assert len(set(digests)) == len(SCENES)


@pytest.mark.parametrize("size", [(240, 240), (320, 180), (90, 130)])
def test_boxes_hold_all_that_a_thing_paints_and_no_more(size: tuple[int, int]) -> None:
    for scene in SCENES[:30]:
        full = pixels(scene, *size)
        for i, box in enumerate(boxes(scene, *size)):
            without = replace(scene, things=scene.things[:i] + scene.things[i + 1 :])
            changed = np.abs(full - pixels(without, *size)).max(axis=2) > 0
            rows, columns = np.nonzero(changed)
            assert columns.min() >= box.left
            assert rows.min() >= box.top
            assert columns.max() < box.right
            assert rows.max() < box.bottom
            # Tight to within two pixels: the outermost may be almost uncovered.
            assert columns.min() - box.left <= 2
            assert rows.min() - box.top <= 2
            assert box.right - 1 - columns.max() <= 2
            assert box.bottom - 1 - rows.max() <= 2


def test_boxes_hold_the_color_they_name() -> None:
    for scene in SCENES:
        image = pixels(scene, 160, 160)
        for thing, box in zip(scene.things, boxes(scene, 160, 160), strict=True):
            inside = image[box.top : box.bottom, box.left : box.right].reshape(-1, 3)
            table = np.array(list(COLORS.values()))
            nearest = np.abs(inside[:, None, :] - table).sum(axis=2).argmin(axis=1)
            share = (nearest == list(COLORS).index(thing.color)).mean()
            assert share > 0.12, (thing, share)


def test_every_shape_has_its_own_silhouette() -> None:
    seen = []
    for shape in SHAPES:
        scene = Scene(Background("plain", ("cream",)), "flat", (Thing(shape, "blue", 0.8, 0.5, 0.5),))
        image = pixels(scene, 64, 64)
        seen.append(np.abs(image - np.array(COLORS["blue"])).sum(axis=2) < 120)
    for i, a in enumerate(seen):
        assert 0.05 < a.mean() < 0.55
        assert all((a != b).mean() > 0.04 for b in seen[:i])


def test_small_and_large_look_the_same() -> None:
    for scene in SCENES[:8]:
        small = pixels(scene, 64, 64)
        large = draw(scene, 1024, 1024).resize((64, 64), Image.Resampling.BOX)
        difference = np.abs(small - np.asarray(large).astype(np.int16))
        assert difference.mean() < 10, scene


def test_a_near_miss_is_another_picture_in_the_changed_place_only() -> None:
    for seed, scene in enumerate(SCENES):
        other = near_miss(scene, seed)
        changed = np.abs(pixels(scene, 200, 200) - pixels(other, 200, 200)).max(axis=2) > 40
        assert 0.002 < changed.mean() < 0.45


def test_monochrome_has_no_color() -> None:
    image = pixels(replace(SCENES[3], style=MONOCHROME), 80, 80)
    assert (image[..., 0] == image[..., 1]).all()
    assert (image[..., 1] == image[..., 2]).all()


def test_jpeg_sizes_are_like_those_of_photographs() -> None:
    for scene in SCENES[:20]:
        file = io.BytesIO()
        draw(scene, 384, 384).save(file, "JPEG", quality=90)
        assert 15_000 < file.tell() < 120_000
