"""Perceptual hashes: equal to imagehash, true for mirror images and parts, silent about nothing."""

from __future__ import annotations

import io
import pickle
from pathlib import Path

import imagehash
import numpy as np
import pytest
from PIL import Image, ImageDraw

from stages.image.perceptual_hash import (
    CHROMA_SIDE,
    FLIPPED,
    HASH_COLUMNS,
    LUMA_SIDE,
    REGIONS,
    THUMBNAIL_BYTES,
    PerceptualHash,
)
from stages.image.picture import read_small
from stages.stage import Batch


def drawn(seed: int, width: int = 120, height: int = 90) -> np.ndarray:
    """uint8 [h, w, 3]: a soft random background with twelve shapes."""
    rng = np.random.default_rng(seed)
    noise = Image.fromarray(rng.integers(0, 255, (6, 8, 3), dtype=np.uint8))
    image = noise.resize((width, height), Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(image)
    for _ in range(12):
        x, y = rng.integers(0, width), rng.integers(0, height)
        w, h = rng.integers(2, 2 + width // 3), rng.integers(2, 2 + height // 3)
        pen.ellipse((int(x), int(y), int(x + w), int(y + h)), tuple(rng.integers(0, 255, 3).tolist()))
    return np.asarray(image)


def described(*images: np.ndarray | None) -> dict[str, list[object]]:
    written = PerceptualHash().open()(Batch(len(images), {}, images, [None] * len(images)))
    return {name: list(values) for name, values in written.items()}


def by_imagehash(pixels: np.ndarray) -> int:
    return int(str(imagehash.phash(Image.fromarray(pixels))), 16)


def bits_apart(one: object, two: object) -> int:
    assert isinstance(one, int)
    assert isinstance(two, int)
    return (one ^ two).bit_count()


def test_phash_is_that_of_imagehash() -> None:
    images = [drawn(seed, *size) for seed, size in enumerate([(64, 64), (127, 70), (80, 300), (9, 5)])]
    assert described(*images)["phash"] == [by_imagehash(image) for image in images]


def test_phash_is_that_of_imagehash_on_photographs(shared_data: Path | None) -> None:
    if shared_data is None:
        files = [io.BytesIO()]
        Image.fromarray(drawn(3, 640, 480)).save(files[0], "JPEG")
        views = [read_small(files[0].getvalue())]
    else:
        paths = sorted((shared_data / "photos").glob("**/*.jpg"))
        assert len(paths) > 100
        views = [read_small(path.read_bytes()) for path in paths]
    assert described(*views)["phash"] == [by_imagehash(view) for view in views]


def test_flipped_columns_are_the_hashes_of_the_mirror_image() -> None:
    images = [drawn(seed) for seed in range(8)]
    straight = described(*images)
    mirrored = described(*[np.ascontiguousarray(image[:, ::-1]) for image in images])
    for name in REGIONS:
        for one, two in zip(straight[name + FLIPPED], mirrored[name], strict=True):
            assert bits_apart(one, two) <= 2
        assert straight[name] != mirrored[name]


@pytest.mark.parametrize("name", list(REGIONS))
def test_each_part_has_the_hash_of_that_part_cut_out(name: str) -> None:
    part = REGIONS[name]
    for seed in range(8):
        large = drawn(seed, 1200, 900)
        box = (
            round(1200 * part.sides),
            round(900 * part.top),
            round(1200 * (1 - part.sides)),
            round(900 * (1 - part.bottom)),
        )
        cut = np.asarray(Image.fromarray(large).crop(box))
        written = described(large, cut)
        assert bits_apart(written[name][0], written["phash"][1]) <= 4


def test_pictures_without_detail_have_no_hash() -> None:
    rows, columns = np.mgrid[0:80, 0:100]
    solid = np.full((80, 100, 3), 137, np.uint8)
    across = np.repeat((columns * 2.5)[..., None], 3, axis=2).astype(np.uint8)
    corner = np.repeat((columns + rows)[..., None], 3, axis=2).astype(np.uint8)
    halves = np.repeat((columns > 49)[..., None] * 200, 3, axis=2).astype(np.uint8)
    noise = np.random.default_rng(0).normal(128, 3, (80, 100, 3)).astype(np.uint8)
    written = described(solid, across, corner, halves, noise, drawn(1))
    for name in HASH_COLUMNS:
        assert written[name][:5] == [None] * 5
        assert written[name][5] is not None
    assert all(isinstance(d, float) and d < 0.5 for d in written["detail"][:5])
    assert all(thumbnail is not None for thumbnail in written["thumbnail"])


def test_a_row_without_image_is_null_and_spoils_no_neighbor() -> None:
    alone, together = described(drawn(1)), described(None, drawn(1), None)
    for name, values in together.items():
        assert values == [None, alone[name][0], None]
    assert described(None, None) == {name: [None, None] for name in PerceptualHash.writes.names}


def test_the_thumbnail_is_luma_then_chroma() -> None:
    image = np.zeros((96, 96, 3), np.uint8)
    image[:48], image[48:] = (255, 0, 0), (0, 0, 255)
    (thumbnail,) = described(image)["thumbnail"]
    assert isinstance(thumbnail, bytes)
    assert len(thumbnail) == THUMBNAIL_BYTES
    values = np.frombuffer(thumbnail, np.uint8)
    luma = values[: LUMA_SIDE**2].reshape(LUMA_SIDE, LUMA_SIDE)
    blue, red = values[LUMA_SIDE**2 :].reshape(2, CHROMA_SIDE, CHROMA_SIDE)
    assert abs(int(luma[2, 2]) - 76) <= 1
    assert abs(int(luma[-3, 2]) - 29) <= 1
    assert abs(int(blue[0, 0]) - 85) <= 1
    assert int(red[0, 0]) == 255
    assert int(blue[-1, 0]) == 255
    assert abs(int(red[-1, 0]) - 107) <= 1


def test_the_stage_pickles_and_repeats() -> None:
    stage = pickle.loads(pickle.dumps(PerceptualHash(min_detail=0.7)))
    assert stage == PerceptualHash(min_detail=0.7)
    assert described(drawn(1), drawn(2)) == described(drawn(1), drawn(2))
