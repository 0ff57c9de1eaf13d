"""What ``mashbill plan`` says beside what builds really take.

    python -m benchmarks.plan_error FOLDER [--sizes 300,3000,12000] [--workers 1] [--costs FILE]

Builds l-pp from the first so many images of FOLDER (with their captions), each size in a store of its own,
and compares CPU-seconds, bytes written and wall seconds with the plan made before. The plan is told what
nobody can know before: the share that the rules keep.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

IMAGES = (".jpg", ".jpeg", ".png", ".webp")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sizes", default="300,3000,12000")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--costs", default="")
    options = parser.parse_args()
    costs = ["--costs", options.costs] if options.costs else []
    print("| images | | planned | measured | planned / measured |\n| --- | --- | --- | --- | --- |")
    for size in map(int, options.sizes.split(",")):
        with tempfile.TemporaryDirectory() as scratch:
            for what, planned, real in compared(options.folder, size, options.workers, costs, Path(scratch)):
                print(
                    f"| {size:,} | {what} | {planned:,.1f} | {real:,.1f} | {planned / real:.2f} |", flush=True
                )
        print(f"load afterwards: {os.getloadavg()[0]:.1f}", file=sys.stderr)


def compared(
    folder: Path, size: int, workers: int, costs: list[str], scratch: Path
) -> list[tuple[str, float, float]]:
    """(what, planned, measured) of one build."""
    some = scratch / "images"
    some.mkdir()
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in IMAGES)[:size]
    for file in files:
        for beside in (file, file.with_suffix(".txt")):
            if beside.exists():
                (some / beside.name).symlink_to(beside.resolve())
    source = ["--set", "source.kind=folder", "--set", f"source.path={some}"]
    store = scratch / "store"
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    built = _run("build", "l-pp", *source, "--store", store, "--workers", workers, "--json")
    wall, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    written = sum(file.stat().st_size for file in store.rglob("*") if file.is_file())
    kept = built["kept"] / len(files)
    elsewhere = ["--store", scratch / "none", "--cpus", workers, "--json"]
    planned = _run("plan", "l-pp", *source, "--kept", kept, *elsewhere, *costs)
    cpu_planned = planned["cpu_hours"] * 3600
    return [
        ("CPU-seconds", cpu_planned, cpu),
        ("MB written", planned["bytes_written"] / 1e6, written / 1e6),
        ("wall seconds", planned["wall_s"], wall),
    ]


def _run(*words: object) -> Any:
    command = [sys.executable, "-m", "pipelines", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
