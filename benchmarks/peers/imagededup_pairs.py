"""imagededup: pHash of every image, pairs within 10 bits, which is its default.

python imagededup_pairs.py FOLDER RESULT.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from imagededup.methods import PHash  # type: ignore[import-not-found]


def main() -> None:
    folder, result = sys.argv[1:]
    hasher = PHash(verbose=False)
    hashes = hasher.encode_images(image_dir=folder, num_enc_workers=2)
    similar = hasher.find_duplicates(encoding_map=hashes, max_distance_threshold=10, num_dist_workers=2)
    pairs = {
        tuple(sorted((Path(name).stem, Path(other).stem)))
        for name, others in similar.items()
        for other in others
    }
    Path(result).write_text(json.dumps([{"pairs": sorted(pairs)}]))


if __name__ == "__main__":
    main()
