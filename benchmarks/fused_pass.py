"""The fused pass beside the bare cost of one DCT-scaled decode and one hash per image.

    python -m benchmarks.fused_pass FOLDER [--images N]

Both run in one process. The pass does everything l-pp needs: content hash, size, decode check, twelve
perceptual hashes with thumbnails, sharpness, and writes the column sets. The bare loop reads the same
bytes and keeps one 64-bit number per image. Rounds alternate; the medians are compared.
"""

from __future__ import annotations

import argparse
import io
import os
import resource
import statistics
import tempfile
import time
from pathlib import Path

import imagehash
from PIL import Image

from pipelines.columns import make_columns
from pipelines.executors import Serial
from pipelines.intake import take_in
from pipelines.planner import Step, plan
from pipelines.recipes.l_pp import l_pp
from stages.source.folder import Folder
from stages.stage import View
from store.sources import StoredSource
from store.store import Store, open_store


def bare(source: StoredSource) -> float:
    """CPU-seconds to decode (smallest JPEG scale of 64 px or more) and hash every image once."""
    began = time.process_time()
    for shard in source.shards():
        rows = source.rows(shard, ["image_offset", "image_size"]).to_pydict()
        places = list(zip(rows["image_offset"], rows["image_size"], strict=True))
        for start in range(0, len(places), 32):
            for data in source.tar(shard).read_ranges(places[start : start + 32]):
                image = Image.open(io.BytesIO(data))
                image.draft("RGB", (64, 64))
                imagehash.phash(image)
    return time.process_time() - began


def fused(store: Store, source: StoredSource, steps: list[Step]) -> float:
    """CPU-seconds of the pass, columns written and committed."""
    for step in steps:
        store.column_set(step.stage.name, step.fingerprint).location.remove()
    began = time.process_time()
    make_columns(store, source, steps, Serial(), lambda *_: None)
    return time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        store = open_store(Path(scratch) / "store", create=True)
        folder = Folder(path=os.path.abspath(options.folder))
        source, _ = take_in(store, folder, Serial(), lambda *_: None)
        images = sum(shard.images for shard in source.shards())
        steps = [step for step in plan(l_pp(), source.fingerprint) if _sees_images(step)]
        times = [(bare(source), fused(store, source, steps)) for _ in range(options.rounds)]
    plain, ours = (statistics.median(column) for column in zip(*times, strict=True))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{images} images; stages: {', '.join(step.stage.name for step in steps)}")
    print("| way | ms per image (CPU) |\n| --- | --- |")
    print(f"| one DCT-scaled decode and one hash | {plain / images * 1e3:.2f} |")
    print(f"| fused pass, columns committed | {ours / images * 1e3:.2f} |")
    print(f"\nratio {ours / plain:.2f}; peak memory {peak:.0f} MiB")


def _sees_images(step: Step) -> bool:
    return getattr(step.stage, "view", View.NONE) > View.NONE


if __name__ == "__main__":
    main()
