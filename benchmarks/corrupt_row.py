"""One corrupt image among 1,001, and rows without an image: what is kept, what is said.

    python -m benchmarks.corrupt_row

Peers on the same task: Data-Juicer 1.6.1 keeps 1 of 1,001 (the bad image empties its batch), its Ray
deduplicator keeps 1 of 5 rows without an image, NeMo Curator 1.4.0 loses captions and keys.
"""

from __future__ import annotations

import hashlib
import io
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from pipelines.build import build
from pipelines.executors import Serial
from pipelines.recipes.l_pp import l_pp
from pipelines.settings import apply_settings
from store.store import open_store
from store.tar import TarWriter
from store.versions import find_version


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / "crawl.tar"
        hashes = write_crawl(source)
        store = open_store(Path(scratch) / "store", create=True)
        dataset = apply_settings(
            l_pp(), ["source.kind=webdataset", f"source.path={source}", "pack.resolutions=0"]
        )
        result = build(store, dataset, Serial(), lambda *_: None)
        samples = find_version(store, "l-pp").samples().to_pylist()
    kept = [row for row in samples if row["kept"]]
    print(f"{result['samples_in']} in, {result['kept']} kept, dropped {result['dropped']}")
    print(f"captions right: {sum(r['caption'] == 'picture ' + r['source_key'] for r in kept)}")
    print(f"source bytes the same: {sum(r['sha256'] == hashes[r['source_key']] for r in kept)}")


def write_crawl(path: Path) -> dict[str, str]:
    """1,000 different JPEG, one file of text called .jpg, five captions without an image."""
    hashes = {}
    random = np.random.default_rng(0)
    with path.open("wb") as file:
        tar = TarWriter(file)
        for number in range(1001):
            key = f"{number:06d}"
            data = b"not an image" if number == 500 else picture(random)
            hashes[key] = hashlib.sha256(data).hexdigest()
            tar.add(f"{key}.jpg", data)
            tar.add(f"{key}.txt", f"picture {key}".encode())
        for number in range(5):
            tar.add(f"text-{number}.txt", b"a caption alone")
        tar.close()
    return hashes


def picture(random: np.random.Generator) -> bytes:
    coarse = Image.fromarray(random.integers(0, 255, (12, 12, 3), np.uint8))
    sink = io.BytesIO()
    coarse.resize((320, 320), Image.Resampling.BICUBIC).save(sink, "JPEG", quality=90)
    return sink.getvalue()


if __name__ == "__main__":
    main()
