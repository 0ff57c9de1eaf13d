"""Ours and other people's tools on the same images, in turn, in one table.

    python -m benchmarks.peers.run FOLDER TRUTH.json --environments DIR [--rounds N]

FOLDER holds JPEG files with planted copies; ``TRUTH.json`` is a list of ``[file stem, stem of the original
or null, kind or null]``. Each tool gets a virtual environment of its own under DIR, made once. A round runs
every entrant once, so that all share the machine's good and bad minutes. CPU-seconds are of the whole tree
of processes, imports included. What cannot be installed, fails or does not end has a row that says so.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.corrupt_row import write_crawl
from benchmarks.peers.entrants import ENTRANTS, Entrant
from benchmarks.peers.environments import Environment, NotInstalled, python_of
from benchmarks.peers.process_tree import Spent, spend
from benchmarks.peers.score import Truth, read_truth, score

HERE = Path(__file__).resolve().parent
LIMIT_S = 900.0
TAR_IMAGES = 300
SAME_FOR_ALL = {
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONPATH": f"{HERE / 'without_cnn'}{os.pathsep}{HERE}",
    "SENTRY_OPT_OUT": "1",
    "DO_NOT_TRACK": "true",
    "DAFT_ANALYTICS_ENABLED": "0",
    "DAFT_PROGRESS_BAR": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "HF_HUB_OFFLINE": "1",
    "PIP_NO_INDEX": "1",  # Data-Juicer installs what it misses in the middle of a run
    "UV_OFFLINE": "1",
}


@dataclass(frozen=True)
class Outcome:
    """One entrant's one run: what it cost, and what it said (nothing when it failed)."""

    spent: Spent
    results: list[dict[str, Any]]


def make_inputs(images: Path, scratch: Path) -> dict[str, Path]:
    """What entrants read: the images as they lie, in tars, and a small crawl with broken rows."""
    folders = {"images": images.absolute(), "tars": scratch / "tars", "crawl": scratch / "crawl"}
    folders["tars"].mkdir()
    files = sorted(images.glob("*.jpg"))
    for start in range(0, len(files), TAR_IMAGES):
        with tarfile.open(folders["tars"] / f"{start // TAR_IMAGES:05d}.tar", "w") as tar:
            for file in files[start : start + TAR_IMAGES]:
                tar.add(file.resolve(), file.name)
    write_crawl(scratch / "crawl.tar")
    with tarfile.open(scratch / "crawl.tar") as tar:
        tar.extractall(folders["crawl"], filter="data")
    return folders


def install(folder: Path) -> dict[Environment | None, Path | NotInstalled]:
    """The Python of every environment, or why there is none."""
    pythons: dict[Environment | None, Path | NotInstalled] = {None: Path(sys.executable)}
    for environment in dict.fromkeys(each.environment for each in ENTRANTS):
        if environment is not None:
            try:
                pythons[environment] = python_of(environment, folder)
            except NotInstalled as error:
                pythons[environment] = error
    return pythons


def run_once(entrant: Entrant, python: Path | NotInstalled, folder: Path) -> Outcome:
    if isinstance(python, NotInstalled):
        return Outcome(Spent(0.0, 0.0, f"not installed: {python}"), [])
    first, *rest = entrant.command
    script = [first] if first == "-m" else [str(HERE / first)]
    with tempfile.TemporaryDirectory(prefix="peer") as scratch:
        result, log = Path(scratch) / "result.json", Path(scratch) / "log.txt"
        environment = {**os.environ, **SAME_FOR_ALL, "TMPDIR": scratch, "RAY_TMPDIR": scratch}
        command = [str(python), *script, *rest, str(folder), str(result)]
        spent = spend(command, environment, log, LIMIT_S)
        return Outcome(spent, [] if spent.problem else json.loads(result.read_text()))


def spread(values: list[float]) -> str:
    """The median, with the range when there is one."""
    median = f"{statistics.median(values):.1f}"
    return median if len(values) == 1 else f"{median} ({min(values):.1f} to {max(values):.1f})"


def rows_of(entrant: Entrant, outcomes: list[Outcome], truth: Truth) -> list[str]:
    """The table's rows of one entrant; a further result of the same run has a row without a cost."""
    who = f"| {entrant.task} | {entrant.name}"
    cost = " | ".join(
        spread(values)
        for values in ([each.spent.cpu_s for each in outcomes], [each.spent.wall_s for each in outcomes])
    )
    problems = [each.spent.problem for each in outcomes if each.spent.problem]
    if problems:
        return [f"{who} | | | {cost} | {len(problems)} of {len(outcomes)} failed: {problems[0]} |"]
    rows = []
    for result in outcomes[-1].results:
        found, false = score(result, truth) or ("", "")
        rows.append(f"{who} | {found} | {false} | {cost} | {result.get('note', '')} |")
        cost = "the same run | "
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("truth", type=Path)
    parser.add_argument("--environments", type=Path, required=True, help="where the environments are made")
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    truth, pythons = read_truth(options.truth), install(options.environments)
    outcomes: dict[Entrant, list[Outcome]] = {entrant: [] for entrant in ENTRANTS}
    loads = []
    with tempfile.TemporaryDirectory() as scratch:
        folders = make_inputs(options.folder, Path(scratch))
        for entrant in ENTRANTS * options.rounds:
            loads.append(os.getloadavg()[0])
            outcome = run_once(entrant, pythons[entrant.environment], folders[entrant.reads])
            outcomes[entrant].append(outcome)
            print(f"load {loads[-1]:.1f}", *rows_of(entrant, [outcome], truth), file=sys.stderr, flush=True)
    print(f"| task | run | found of {truth.planted} | false pairs | CPU-seconds | wall seconds | note |")
    print("| --- " * 7 + "|")
    for entrant in ENTRANTS:
        print("\n".join(rows_of(entrant, outcomes[entrant], truth)))
    print(f"\n{len(truth.origin)} images, {options.rounds} rounds; load {min(loads):.1f} to {max(loads):.1f}")


if __name__ == "__main__":
    main()
