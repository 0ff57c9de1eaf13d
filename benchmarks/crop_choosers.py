"""How much of the subjects a square crop keeps by who chooses it: nobody, CLIP, or the known boxes.

    python -m benchmarks.crop_choosers [--pictures 200] [--model tinyworld/models/clip]

Pictures are scenes of the tiny world that no shipped model was trained on, drawn at 480 x 320, 640 x 360
and turned, in three groups: things at one end, in the middle, and as ``random_scene`` places them. The
known boxes give the best of the three windows: no chooser can keep more. ± is the standard error of the mean.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

from PIL import Image

from stages.image.crop import Crop, candidates
from stages.image.crop_scorers import Clip, mean_kept
from stages.stage import Batch
from tinyworld.caption import caption
from tinyworld.draw import draw
from tinyworld.scene import Scene, boxes, random_scene

FIRST_SEED = 1_000_000_000
"""No tiny model was trained on scenes from here on."""
SIZES = ((480, 320), (320, 480), (640, 360), (360, 640))
MARGINS = (0.0, 0.05)
GROUPS: dict[str, Callable[[Scene, int], Scene]] = {
    "at one end": lambda scene, number: replace(scene, anchor=float(number // 4 % 2)),
    "in the middle": lambda scene, number: replace(scene, anchor=0.5),
    "as drawn": lambda scene, number: scene,
}


class Picture(NamedTuple):
    image: Image.Image
    caption: str
    boxes: list[list[float]]


def pictures(group: str, count: int) -> Iterator[Picture]:
    for number in range(count):
        scene = GROUPS[group](random_scene(FIRST_SEED + number), number)
        width, height = SIZES[number % len(SIZES)]
        found = [[float(side) for side in b[:4]] for b in boxes(scene, width, height)]
        yield Picture(draw(scene, width, height), caption(scene), found)


def measure(model: str, group: str, count: int) -> dict[str, list[float]]:
    """The share of the subjects that is kept, of each picture, by way of choosing."""
    choosers = {"centre": Crop().open()}
    choosers |= {
        f"CLIP, margin {margin}": Crop(scorer=Clip(model=model), margin=margin).open() for margin in MARGINS
    }
    kept: dict[str, list[float]] = {name: [] for name in (*choosers, "known boxes")}
    for picture in pictures(group, count):
        width, height = picture.image.size
        columns: dict[str, list[Any]] = {"width": [width], "height": [height], "caption": [picture.caption]}
        for name, choose in choosers.items():
            written = choose(Batch(1, columns, [picture.image], [None]))
            left, top, right, bottom = (written[f"crop_{s}"][0] for s in ("left", "top", "right", "bottom"))
            kept[name].append(mean_kept(picture.boxes, (left, top, right, bottom)))
        windows = candidates(width, height, 1.0).values()
        kept["known boxes"].append(max(mean_kept(picture.boxes, window) for window in windows))
    return kept


def line(name: str, values: list[float]) -> str:
    error = statistics.stdev(values) / math.sqrt(len(values))
    whole = statistics.mean(value > 0.99 for value in values)
    return f"| {name} | {statistics.mean(values):.3f} ± {error:.3f} | {whole:.2f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--model", default="tinyworld/models/clip")
    options = parser.parse_args()
    for group in GROUPS:
        started = time.perf_counter()
        kept = measure(options.model, group, options.pictures)
        print(f"\nThings {group}, {options.pictures} pictures\n")
        print("| chosen by | subjects kept | pictures with all of them |\n| --- | --- | --- |")
        for name, values in kept.items():
            print(line(name, values))
        print(f"\n{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
