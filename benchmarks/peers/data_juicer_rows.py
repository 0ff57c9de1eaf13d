"""Data-Juicer's own command on a folder: one row per image, or one row per caption without an image.

python data_juicer_rows.py deduplicate|filter|keep_all|captions FOLDER RESULT.json
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

OPERATORS: dict[str, list[dict[str, Any]]] = {
    "deduplicate": [{"image_deduplicator": {"method": "phash"}}],
    "filter": [
        {"image_shape_filter": {"min_width": 300, "min_height": 300}},
        {"image_aspect_ratio_filter": {"min_ratio": 0.5, "max_ratio": 2.0}},
    ],
    "keep_all": [{"image_shape_filter": {"min_width": 1, "min_height": 1}}],
    "captions": [{"ray_image_deduplicator": {"method": "phash"}}],
}
ON_RAY = {"executor_type": "ray", "ray_address": "local"}


def rows_of(folder: Path, captions: bool) -> list[dict[str, Any]]:
    """Rows as the tool wants them; its token in the text says where the image stands."""
    if captions:
        alone = [path for path in folder.glob("*.txt") if not path.with_suffix(".jpg").exists()]
        return [{"id": path.stem, "text": path.read_text(), "images": []} for path in sorted(alone)]
    images = sorted(folder.absolute().glob("*.jpg"))
    return [{"id": path.stem, "text": "<__dj__image>", "images": [str(path)]} for path in images]


def read_rows(exported: Path) -> list[dict[str, Any]]:
    """The rows of one file, or of a folder of files, as Ray writes."""
    files = sorted(exported.glob("*.json*")) if exported.is_dir() else [exported]
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def main() -> None:
    operation, folder, result = sys.argv[1:]
    rows = rows_of(Path(folder), operation == "captions")
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        (scratch / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        recipe: dict[str, Any] = {
            "project_name": operation,
            "dataset_path": str(scratch / "rows.jsonl"),
            "export_path": str(scratch / "out" / "rows.jsonl"),
            "np": 2,
            "use_cache": False,
            "process": OPERATORS[operation],
            **(ON_RAY if operation == "captions" else {}),
        }
        (scratch / "recipe.yaml").write_text(json.dumps(recipe))
        command = Path(sys.executable).with_name("dj-process")
        code = subprocess.run([command, "--config", scratch / "recipe.yaml"]).returncode
        if code != 0:
            sys.exit(code)  # its own last line says why
        kept = [row["id"] for row in read_rows(scratch / "out" / "rows.jsonl")]
    answer: dict[str, Any] = {"note": f"{len(rows)} rows in, {len(kept)} kept"}
    if operation == "deduplicate":
        answer["kept"] = kept
    Path(result).write_text(json.dumps([answer]))


if __name__ == "__main__":
    main()
