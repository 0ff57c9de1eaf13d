"""fastdup: neighbors by its embedding, at its default similarity (0.96) and at 0.90.

    python fastdup_pairs.py FOLDER RESULT.json

Its licence allows no commercial use; it is here to be measured, and nothing of ours needs it.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import fastdup  # type: ignore[import-not-found]


def main() -> None:
    folder, result = sys.argv[1:]
    with tempfile.TemporaryDirectory() as scratch:
        run = fastdup.create(work_dir=scratch, input_dir=folder)
        run.run(ccthreshold=0.96, overwrite=True, num_threads=2)
        similar = run.similarity()
    sides = zip(similar["filename_from"], similar["filename_to"], similar["distance"], strict=True)
    scored = [(*sorted((Path(one).stem, Path(two).stem)), score) for one, two, score in sides]
    results = [
        {
            "pairs": sorted({(one, two) for one, two, score in scored if score >= least and one != two}),
            "note": f"similarity {least:.2f} and more",
        }
        for least in (0.96, 0.90)
    ]
    Path(result).write_text(json.dumps(results))


if __name__ == "__main__":
    main()
