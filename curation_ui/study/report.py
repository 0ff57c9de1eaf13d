"""``mashbill study report``: a page for people, JSON for machines, and every vote as Parquet."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from curation_ui.study.design import Study
from curation_ui.study.load import load_pairs
from curation_ui.study.results import export, results
from curation_ui.study.server import database_of
from curation_ui.study.votes import read_trials, read_votes
from store.errors import MashbillError
from store.parquet import write_table

TEMPLATES = Path(__file__).parents[1] / "templates"
ROW_PX = 34
SHARES = (("win", "good"), ("both", "tie"), ("no_majority", "tie"), ("none", "none"), ("loss", "bad"))


@dataclass(frozen=True)
class Whisker:
    """A model on the Elo axis: percent of its width. ``detail`` is said when pointed at."""

    label: str
    at: float
    low: float
    high: float
    elo: float
    rank: str
    detail: str


@dataclass(frozen=True)
class Axis:
    """Models from best to worst, and round marks ``(percent, Elo)``."""

    whiskers: tuple[Whisker, ...]
    ticks: tuple[tuple[float, int], ...]


def write_report(study: Study, database: str = "") -> tuple[dict[str, Any], list[str]]:
    """Write ``report/``; returns the content of ``report.json`` and the paths of the three files.

    Raises:
        MashbillError: nobody has voted yet, or the study is not as it was frozen.
    """
    record, design = study.record(), study.design()
    if not database and not (study.location / "votes.sqlite").exists():
        raise MashbillError(
            f"nobody has voted in study {study.name} yet: mashbill study serve {study.name} lets people in"
        )
    opened = database_of(study, database)
    try:
        trials = opened.submit_read(read_trials).result()
        votes = opened.submit_read(read_votes).result()
    finally:
        opened.close()
    if not votes:
        raise MashbillError(f"nobody has voted in study {study.name} yet")
    models = [model["label"] for model in record["models"]]
    table = export(trials, votes, load_pairs(study, record), models)
    found, table = results(record, design, table)
    found["made_at"] = time.time()
    folder = study.location / "report"
    (folder / "report.html").write_bytes(page(found).encode())
    (folder / "report.json").write_json(found)
    write_table(folder / "votes.parquet", table)
    return found, [(folder / name).path for name in ("report.html", "report.json", "votes.parquet")]


def page(found: dict[str, Any]) -> str:
    """One HTML file that needs nothing else."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.filters |= {
        "n": lambda value: f"{value:,}",
        "pct": lambda value: f"{100 * value:.1f} %",
        "two": lambda value: "–" if value is None else f"{value:.2f}",
        "p": lambda value: "< 0.001" if value < 0.001 else f"{value:.3f}",
        "day": lambda value: time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(value)),
    }
    environment.globals |= {"axis": axis, "shares": SHARES, "json": json.dumps}
    return environment.get_template("study_report.html").render(study=found)


def axis(ratings: dict[str, Any]) -> Axis:
    """Where ratings stand on a common axis."""
    low, high = min(ratings["low"]), max(ratings["high"])
    low, high = min(low, *ratings["elo"]), max(high, *ratings["elo"])
    spread = max(high - low, 20.0)
    start, width = low - 0.06 * spread, 1.12 * spread

    def at(value: float) -> float:
        return float(round(100 * (value - start) / width, 3))

    found = [
        Whisker(
            label,
            at(ratings["elo"][i]),
            at(ratings["low"][i]),
            at(ratings["high"][i]),
            ratings["elo"][i],
            _range(ratings["rank_low"][i], ratings["rank_high"][i]),
            f"{ratings['low'][i]:.0f} to {ratings['high'][i]:.0f}",
        )
        for i, label in enumerate(ratings["models"])
    ]
    found.sort(key=lambda whisker: -whisker.elo)
    ticks = _ticks(start, start + width)
    return Axis(tuple(found), tuple((at(tick), tick) for tick in ticks))


def _ticks(low: float, high: float) -> Sequence[int]:
    """Round marks, at most seven."""
    steps = (10, 20, 50, 100, 200, 500, 1000, 2000)
    step = next((step for step in steps if (high - low) / step <= 6), 5000)
    return range(int(-(-low // step)) * step, int(high) + 1, step)


def _range(low: int, high: int) -> str:
    return str(low) if low == high else f"{low}–{high}"
