"""How many edited copies of photographs are found, by kind of edit and by threshold.

    python -m benchmarks.near_duplicate_table FOLDER [--photos N]

Every photograph below FOLDER (different pictures, all ``*.jpg``) is edited in each way. The copies
of one edit and all the photographs are reduced together; a copy is found when it shares the cluster of
its photograph. Precision counts every image that is joined to a representative, over all edits at once.
"""

from __future__ import annotations

import argparse
import io
import tempfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
from PIL import Image, ImageDraw, ImageEnhance, ImageFont

from stages.dedup.near_duplicates import NearDuplicates
from stages.image.content_hash import ContentHash
from stages.image.perceptual_hash import PerceptualHash
from stages.image.picture import read_small
from stages.stage import Batch, View

SETTINGS = [(4, 10.0), (6, 4.0), (6, 6.0), (6, 8.0), (6, 10.0), (6, 12.0), (8, 10.0)]
ASKED = ("quality", "size", "crop 2", "crop 5", "brightness", "caption")
"""Kinds the bar is set for: re-encoding, resizing, mild crops, brightness, caption bars."""


def _scaled(factor: float) -> Callable[[Image.Image], Image.Image]:
    return lambda i: i.resize((round(i.width * factor), round(i.height * factor)), Image.Resampling.LANCZOS)


def _cropped(left: float, top: float, right: float, bottom: float) -> Callable[[Image.Image], Image.Image]:
    def crop(image: Image.Image) -> Image.Image:
        w, h = image.size
        return image.crop((round(w * left), round(h * top), round(w * (1 - right)), round(h * (1 - bottom))))

    return crop


def _brightness(factor: float) -> Callable[[Image.Image], Image.Image]:
    return lambda image: ImageEnhance.Brightness(image).enhance(factor)


def _caption(image: Image.Image) -> Image.Image:
    image = image.copy()
    top = image.height * 9 // 10
    pen = ImageDraw.Draw(image)
    pen.rectangle((0, top, image.width, image.height), fill=(0, 0, 0))
    pen.text((10, top + 4), "(c) stock photo 12345", fill=(255, 255, 255))
    return image


def _caption_below(image: Image.Image) -> Image.Image:
    taller = Image.new("RGB", (image.width, image.height * 11 // 10), (255, 255, 255))
    taller.paste(image, (0, 0))
    ImageDraw.Draw(taller).text((10, image.height + 4), "when you see it", fill=(0, 0, 0))
    return taller


def _logo(image: Image.Image) -> Image.Image:
    image = image.copy()
    w, h = image.size
    side = min(w, h) // 8
    pen = ImageDraw.Draw(image)
    pen.rectangle((w - side - 8, h - side // 2 - 8, w - 8, h - 8), fill=(250, 250, 250))
    pen.text((w - side - 4, h - side // 2 - 6), "LOGO", fill=(200, 0, 0))
    return image


def _watermark(image: Image.Image) -> Image.Image:
    veil = Image.new("RGBA", image.size, (0, 0, 0, 0))
    font = ImageFont.load_default(max(10, min(image.size) // 16))
    ImageDraw.Draw(veil).text((8, 8), "photo: A. Nonymous", fill=(255, 255, 255, 150), font=font)
    return Image.alpha_composite(image.convert("RGBA"), veil).convert("RGB")


EDITS: dict[str, tuple[Callable[[Image.Image], Image.Image], int]] = {
    "quality 60": (Image.Image.copy, 60),
    "quality 30": (Image.Image.copy, 30),
    "size x 0.5": (_scaled(0.5), 88),
    "size x 1.5": (_scaled(1.5), 88),
    "crop 2 % each side": (_cropped(0.02, 0.02, 0.02, 0.02), 90),
    "crop 5 % each side": (_cropped(0.05, 0.05, 0.05, 0.05), 90),
    "crop 2 to 5 %, uneven": (_cropped(0.02, 0.045, 0.05, 0.03), 90),
    "crop 10 % each side": (_cropped(0.1, 0.1, 0.1, 0.1), 90),
    "brightness + 20 %": (_brightness(1.2), 88),
    "brightness - 20 %": (_brightness(0.8), 88),
    "brightness + 25 %": (_brightness(1.25), 88),
    "caption bar over 10 %": (_caption, 88),
    "caption bar below": (_caption_below, 88),
    "gray": (lambda image: image.convert("L").convert("RGB"), 88),
    "mirrored": (lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), 90),
    "logo": (_logo, 88),
    "watermark": (_watermark, 88),
}


def described(files: dict[str, bytes]) -> pa.Table:
    """What near_duplicates reads; every image counts as equally large and sharp, so that the
    photograph (the longer caption) represents."""
    names, data = list(files), list(files.values())
    count = len(names)
    columns: dict[str, pa.Array] = {
        "sample_id": pa.array(names),
        "caption": pa.array(["" if " | " in name else "photograph" for name in names]),
        "width": pa.array([1] * count, pa.int32()),
        "height": pa.array([1] * count, pa.int32()),
        "sharpness": pa.array([0.0] * count, pa.float32()),
        "num_bytes": pa.array([1] * count, pa.int64()),
    }
    small = [read_small(each) for each in data]
    for stage in (ContentHash(), PerceptualHash()):
        images = data if stage.view is View.BYTES else small
        written = stage.open()(Batch(count, {}, images, [None] * count))
        for field in stage.writes:
            if field.name not in columns:
                columns[field.name] = pa.array(written[field.name], field.type)
    return pa.table(columns)


def edited(photos: list[Path]) -> pa.Table:
    parts = []
    for number, path in enumerate(photos):
        source = path.read_bytes()
        files = {f"{number}": source}
        with Image.open(io.BytesIO(source)) as opened:
            image = opened.convert("RGB")
        for name, (edit, quality) in EDITS.items():
            buffer = io.BytesIO()
            edit(image).save(buffer, "JPEG", quality=quality)
            files[f"{number} | {name}"] = buffer.getvalue()
        parts.append(described(files))
    return pa.concat_tables(parts)


def measured(rows: pa.Table, radius: int, tolerance: float) -> tuple[dict[str, float], float]:
    """Share found of each edit, and precision over all that were joined."""
    with tempfile.TemporaryDirectory() as scratch:
        written = NearDuplicates(radius=radius, tolerance=tolerance).reduce(rows, scratch)
    found: dict[str, list[bool]] = {name: [] for name in EDITS}
    right = wrong = 0
    for name, cluster in zip(rows["sample_id"].to_pylist(), written["cluster_id"].to_pylist(), strict=True):
        photo, _, edit = name.partition(" | ")
        same = cluster.partition(" | ")[0] == photo
        if edit:
            found[edit].append(cluster == photo)
        if cluster != name:
            right, wrong = right + same, wrong + (not same)
    recall = {name: sum(hits) / len(hits) for name, hits in found.items()}
    return recall, right / max(1, right + wrong)


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Recall and precision of near-duplicates on edited photographs."
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--photos", type=int, default=None, help="only the first N, by name")
    arguments = parser.parse_args()
    photos = sorted(arguments.folder.glob("**/*.jpg"))[: arguments.photos]
    rows = edited(photos)
    results = [measured(rows, radius, tolerance) for radius, tolerance in SETTINGS]
    print(f"{len(photos)} photographs, {rows.num_rows} images\n")
    print("| radius, tolerance | " + " | ".join(f"{r}, {t:g}" for r, t in SETTINGS) + " |")
    print("|---" * (len(SETTINGS) + 1) + "|")
    for name in EDITS:
        print(f"| {name} | " + " | ".join(f"{recall[name]:.3f}" for recall, _ in results) + " |")
    asked = [name for name in EDITS if name.startswith(ASKED)]
    means = [sum(recall[name] for name in asked) / len(asked) for recall, _ in results]
    print("| **recall, asked kinds** | " + " | ".join(f"{mean:.3f}" for mean in means) + " |")
    print("| **precision** | " + " | ".join(f"{precision:.4f}" for _, precision in results) + " |")


if __name__ == "__main__":
    main()
