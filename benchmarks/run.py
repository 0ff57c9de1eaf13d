"""Every benchmark that needs nothing but this repository, one after the other: ``make bench``.

    python -m benchmarks.run [FOLDER]

FOLDER holds JPEG files; without one, 600 scenes of the tiny world are drawn for it.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from store.tar import TarWriter
from tinyworld.draw import draw
from tinyworld.scene import random_scene

IMAGES = 600


def draw_images(folder: Path) -> None:
    for seed in range(IMAGES):
        side = 400 + 40 * (seed % 10)
        draw(random_scene(seed), side, 480).save(folder / f"{seed:06d}.jpg", quality=90)


def write_tars(images: Path, folder: Path) -> list[str]:
    """The images in tars of 100."""
    files = sorted(images.glob("*.jpg"))
    tars = []
    for start in range(0, len(files), 100):
        path = folder / f"{start:06d}.tar"
        with path.open("wb") as file:
            tar = TarWriter(file)
            for image in files[start : start + 100]:
                tar.add(image.name, image.read_bytes())
            tar.close()
        tars.append(str(path))
    return tars


def run(*arguments: str) -> None:
    print(f"\n## python -m benchmarks.{' '.join(arguments[:1])}\n", flush=True)
    subprocess.run([sys.executable, "-m", f"benchmarks.{arguments[0]}", *arguments[1:]], check=True)


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        images = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(scratch) / "images"
        if len(sys.argv) == 1:
            images.mkdir()
            draw_images(images)
        tars = Path(scratch) / "tars"
        tars.mkdir()
        run("headers", str(images))
        run("fused_pass", str(images))
        run("pool_overhead", *write_tars(images, tars), "--repeat", "5")
        run("corrupt_row")
        run("crop_retention", "--tiny-world", "500")


if __name__ == "__main__":
    main()
