"""Every file of two public collections of odd and broken images, read in one process."""

from __future__ import annotations

import io
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from stages.image.picture import BrokenImage, read_full, read_header, read_small

ROOT = Path(__file__).resolve().parents[3]
PEAK_BYTES_MAX = 600_000_000
SECONDS_MAX = 5.0

# Pillow's own complaint, by how it starts, and the code that says it.
CODES = {
    "Unsupported BMP": "unsupported_format",
    "Image size": "too_many_pixels",
    "image file is truncated": "truncated",
    "not enough image data": "truncated",
    "cannot load this image": "corrupt",  # no pixel data at all
    "invalid palette size": "corrupt",
    "buffer overrun": "corrupt",
    "broken data stream": "corrupt",
    "decoder error": "corrupt",
    "cannot identify": "corrupt",
}

# Where the code is another than Pillow's words suggest, and why.
DIFFERENT = {
    "l2rgb_read.bmp": "too_many_pixels",  # 152 megapixels: Pillow warns and reads, we refuse
    "hopper.heif": "unsupported_format",  # a fine file of a format that is not read
    "zero_height.j2k": "zero_size",
    "zero_width.gif": "zero_size",
    "negative_size.ppm": "not_an_image",  # "P632": no magic number of any format
    "b5-cmap.tga": "not_an_image",  # TGA has no magic number
    "b5-unused-cmap.tga": "not_an_image",
    "xcrn0g04.png": "not_an_image",  # damaged in the PNG signature itself
    "xlfn0g04.png": "not_an_image",
    "xs1n0g01.png": "not_an_image",
    "xs2n0g01.png": "not_an_image",
    "xs4n0g01.png": "not_an_image",
    "xs7n0g01.png": "not_an_image",
}


def upright_size(check: dict[str, Any]) -> tuple[int, int]:
    width, height = check["size"]
    return (height, width) if check.get("orientation", 1) >= 5 else (width, height)


def check_file(path: Path, check: dict[str, Any]) -> str | None:
    """What is wrong with how the readers take one file, or None."""
    data = path.read_bytes()
    codes, sizes = [], []
    readers: tuple[Callable[[bytes], Any], ...] = (read_header, read_small, read_full)
    for read in readers:
        start = time.monotonic()
        try:
            got = read(data)
        except BrokenImage as error:
            codes.append(error.reason)
        else:
            if read is not read_small:
                sizes.append((got.width, got.height))
            elif got.ndim != 3 or got.shape[2] != 3 or min(got.shape[:2]) > 127:
                return f"small view of shape {got.shape}"
        if time.monotonic() - start > SECONDS_MAX:
            return f"{read} took too long"
    if check["pil"] == "ok":
        wrong = codes or set(sizes) != {upright_size(check)}
        return f"{codes} {sizes}" if wrong else None
    said = next(code for words, code in CODES.items() if check["error"].startswith(words))
    expected = DIFFERENT.get(path.name, said)
    # A header may be fine where the pixels are not; small and full views agree.
    fine = set(codes) == {expected} and len(codes) >= 2
    return None if fine else f"{codes}, expected {expected}"


def check_all(folder: Path) -> int:
    """Reads every listed file; prints what is wrong and returns the number of files read."""
    lines = (folder / "MANIFEST.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [row for row in map(json.loads, lines) if row["file"].startswith(("nasty/", "exif/"))]
    for row in rows:
        wrong = check_file(folder / row["file"], row["check"])
        if wrong:
            print("WRONG", row["file"], wrong)
    return len(rows)


def test_every_nasty_file(shared_data: Path | None) -> None:
    """In a process of its own, so that the peak of memory is that of reading."""
    if shared_data is None:
        return  # test_picture.py has every kind of damage by hand
    done = subprocess.run(
        [sys.executable, "-W", "error", __file__, str(shared_data)],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "WRONG" not in done.stdout, done.stdout
    count, peak_bytes = map(int, done.stdout.split()[-2:])
    assert count >= 500
    assert peak_bytes < PEAK_BYTES_MAX


def test_landscapes_are_one_upright_picture(shared_data: Path | None) -> None:
    if shared_data is None:
        return
    folder = shared_data / "exif"
    small = [read_small((folder / f"Landscape_{i}.jpg").read_bytes()) for i in range(9)]
    for i, view in enumerate(small):
        assert view.shape == small[1].shape, i
        # Each is a JPEG encoded anew of one scene with its number drawn on it.
        assert np.abs(view.astype(int) - small[1]).mean() < 4, i


@pytest.mark.parametrize("side", [1, 2, 63, 4_000])
def test_a_one_color_file_of_any_size_is_read_in_little_memory(side: int) -> None:
    out = io.BytesIO()
    Image.new("RGB", (side, side), (9, 9, 9)).save(out, "PNG")
    assert read_small(out.getvalue()).max() == 9


def peak_bytes() -> int:
    """Of this process alone: ``ru_maxrss`` begins with what the process that started it held."""
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    number = check_all(Path(sys.argv[1]))
    print(number, peak_bytes())
