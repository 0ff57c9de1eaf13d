"""Size and aspect filter: headers only, beside a full decode of the same files.

    python -m benchmarks.headers FOLDER

Both keep images with a short side of 300 px and an aspect of at most 2. The keep sets must be equal.
"""

from __future__ import annotations

import argparse
import io
import time
from pathlib import Path

from PIL import Image

from stages.image.picture import BrokenImage, read_header


def fits(width: int, height: int) -> bool:
    return min(width, height) >= 300 and max(width, height) <= 2 * min(width, height)


def by_header(files: list[Path]) -> set[str]:
    kept = set()
    for file in files:
        try:
            header = read_header(file.read_bytes())
        except BrokenImage:
            continue
        if fits(header.width, header.height):
            kept.add(file.name)
    return kept


def by_decode(files: list[Path]) -> set[str]:
    kept = set()
    for file in files:
        image = Image.open(io.BytesIO(file.read_bytes()))
        image.load()
        if fits(*image.size):
            kept.add(file.name)
    return kept


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    files = sorted(parser.parse_args().folder.glob("*.jpg"))
    seconds, kept = {}, {}
    for name, run in (("headers", by_header), ("full decode", by_decode)):
        began = time.process_time()
        kept[name] = run(files)
        seconds[name] = time.process_time() - began
    print("| way | CPU-seconds | kept |\n| --- | --- | --- |")
    for name, spent in seconds.items():
        print(f"| {name} | {spent:.2f} | {len(kept[name])} of {len(files)} |")
    same = "the same" if kept["headers"] == kept["full decode"] else "DIFFERENT"
    print(f"\n{same} keep set; ratio {seconds['full decode'] / seconds['headers']:.0f}")


if __name__ == "__main__":
    main()
