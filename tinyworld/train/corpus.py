"""What the tiny models learn from: scenes by seed, drawn small.

Seeds from ``EVALUATION_SEED`` on are for measuring and are never trained on.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from store.errors import UsageError
from tinyworld.draw import draw
from tinyworld.scene import Scene, near_miss, random_scene

EVALUATION_SEED = 10**9
IMAGE_SIZE = 64
_DRAWN_SIZE = 256
_CHUNK = 250


@dataclass(frozen=True)
class Corpus:
    """Scenes and their images, uint8 [0, 255] [N, H, W, C] at ``IMAGE_SIZE``, in the same order."""

    scenes: list[Scene]
    images: NDArray[np.uint8]


def training_scenes(count: int) -> list[Scene]:
    """Seeds from 0 on; every fourth scene is a near miss of the one before it."""
    scenes = [random_scene(seed) for seed in range(count)]
    return [near_miss(scenes[i - 1], i) if i % 4 == 3 else scene for i, scene in enumerate(scenes)]


def evaluation_scenes(count: int) -> list[Scene]:
    """Seeds from ``EVALUATION_SEED`` on, no near misses among them."""
    return [random_scene(EVALUATION_SEED + i) for i in range(count)]


def small_image(scene: Scene) -> NDArray[np.uint8]:
    """uint8 [H, W, C]: the scene drawn at 256 pixels and reduced to 64 with Lanczos, as packs are."""
    image = draw(scene, _DRAWN_SIZE, _DRAWN_SIZE)
    return np.asarray(image.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.LANCZOS))


def draw_all(scenes: Sequence[Scene], workers: int = 1) -> NDArray[np.uint8]:
    """uint8 [N, H, W, C]. About 2 ms an image and worker."""
    if workers == 1:
        return np.stack([small_image(scene) for scene in scenes])
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        return np.stack(pool.map(small_image, scenes, chunksize=_CHUNK))


def training_corpus(count: int, cache: Path | None = None, workers: int = 1) -> Corpus:
    """The first ``count`` training scenes; their images are kept in ``cache`` for the next trainer."""
    if count < 4:
        raise UsageError(f"cannot train on {count} scenes; use 4 or more")
    scenes = training_scenes(count)
    file = None if cache is None else cache / f"training-{count}.npy"
    if file is not None and file.is_file():
        return Corpus(scenes, np.load(file))
    images = draw_all(scenes, workers)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        np.save(file, images)
    return Corpus(scenes, images)


def evaluation_corpus(count: int) -> Corpus:
    """The first ``count`` evaluation scenes, drawn."""
    scenes = evaluation_scenes(count)
    return Corpus(scenes, draw_all(scenes))
