"""A folder of drawn scenes with true captions: clean training data, for what is not to learn from the web."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from store.errors import UsageError
from tinyworld.caption import caption
from tinyworld.draw import draw
from tinyworld.scene import random_scene

QUALITY = 95
SHORT_OF_TEN = 3
"""So many of ten scenes get their short caption, so that a model learns to read both."""


def draw_gallery(folder: Path, samples: int, size: int, first_seed: int = 0, workers: int = 2) -> None:
    """Write ``00000000.jpg`` and ``00000000.txt``, and so on, one pair per seed from ``first_seed``.

    Args:
        size: pixels of both sides.

    Raises:
        UsageError: nothing to draw, or a folder that holds something.
    """
    if samples < 1 or size < 16:
        raise UsageError(f"samples={samples}, size={size}: expected 1 or more samples of 16 pixels or more")
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(f"{folder} is not empty; a gallery is drawn into a new folder")
    folder.mkdir(parents=True, exist_ok=True)
    seeds = range(first_seed, first_seed + samples)
    with ProcessPoolExecutor(workers) as pool:
        for _ in pool.map(partial(_draw_one, folder, size), seeds, chunksize=64):
            pass


def _draw_one(folder: Path, size: int, seed: int) -> None:
    scene = random_scene(seed)
    draw(scene, size, size).save(folder / f"{seed:08d}.jpg", quality=QUALITY, subsampling=0)
    words = caption(scene, "short" if seed % 10 < SHORT_OF_TEN else "long")
    (folder / f"{seed:08d}.txt").write_text(words)
