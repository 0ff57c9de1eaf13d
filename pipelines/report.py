"""The report of a version: one HTML file that needs nothing else, for a person to look at."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import jinja2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines import caption_gain, histograms
from pipelines.contact_sheet import NO_IMAGE, SourceRow, Thumbnail, Wanted, source_rows, thumbnails
from pipelines.coverage import coverage
from pipelines.decision_words import decisions_line
from pipelines.histograms import Axis, Histogram, SizeMap
from pipelines.reason_words import meaning
from pipelines.report_data import CROP, SHOWN, Chosen, Row, choose
from pipelines.truth import measure
from stages.image.crop_scorers import boxes_in
from store.sources import StoredSource
from store.versions import Version

SHEET_SIDE = 192
CROP_SIDE = 320
KEPT_SIDE = 208
"""Longer sides of the pictures, in pixels."""

Box = tuple[float, float, float, float]
"""Left, top, width, height in percent of the image."""

READS = tuple(dict.fromkeys((*SHOWN, "sharpness", *caption_gain.READS)))
"""Every column that a report looks at."""


@dataclass(frozen=True)
class Tile:
    """One sample on the page. ``row`` is its columns, ``detail`` the source's own words."""

    row: Row
    picture: Thumbnail
    detail: str | None
    window: Box | None = None
    subjects: tuple[Box, ...] = ()


@dataclass(frozen=True)
class ReasonSheet:
    """Some of the samples dropped for one reason: those with a picture to show, else all as ``rows``.

    ``broken``: there are files, but none that shows a picture.
    """

    reason: str
    meaning: str
    count: int
    tiles: list[Tile]
    rows: list[Tile]
    broken: bool


def write_report(version: Version, source: StoredSource, manifest: dict[str, Any], samples: pa.Table) -> None:
    """Write ``report/index.html`` into the version's folder.

    ``samples`` has ``READS``, as far as there are such columns. The bytes depend on the samples, the
    manifest and the images alone. Only the images that are shown are read.
    """
    page = _templates().get_template("report.html").render(_context(source, manifest, samples))
    (version.location / "report" / "index.html").write_bytes(page.encode())


def _context(source: StoredSource, manifest: dict[str, Any], samples: pa.Table) -> dict[str, Any]:
    """What the template shows; every name it uses is here."""
    truth = measure(samples)
    wrong = truth["reasons"]["disagreements"] if truth else []
    chosen = choose(samples, manifest["dropped"], (key for entry in wrong for key in entry["sample_ids"]))
    rows = source_rows(source, chosen.rows())
    pictures = thumbnails(rows, _wanted(chosen))
    tile = partial(_tile, rows, pictures)
    field = next((s["field"] for s in manifest["recipe"]["columns"] if s["name"] == "subject_kept"), "")
    return {
        "manifest": manifest,
        "fields": _fields,
        "decisions": [decisions_line(entry) for entry in manifest["decisions"]],
        "reasons": [
            _reason_sheet(reason, manifest["dropped"][reason], [tile(r) for r in some])
            for reason, some in chosen.reasons.items()
        ],
        "clusters": [(c.size, [tile(r) for r in c.members]) for c in chosen.clusters],
        "crops": [tile(r, side=CROP_SIDE, subjects=field) for r in chosen.crops],
        "kept": [tile(r, side=KEPT_SIDE, box=_crop(r)) for r in chosen.kept],
        "drawings": _drawings(samples, manifest),
        "sizes": _sizes(samples, manifest),
        "subjects": _subjects(samples),
        "coverage": coverage(samples),
        "gain": manifest["captions"],
        "truth": truth,
        "examples": {key: tile(row) for key, row in chosen.examples.items()},
    }


def _crop(row: Row) -> tuple[int, int, int, int] | None:
    """None for a sample without an image."""
    left, top, right, bottom = (row[name] for name in CROP)
    return None if left is None else (left, top, right, bottom)


def _wanted(chosen: Chosen) -> list[Wanted]:
    whole = [row for some in chosen.reasons.values() for row in some]
    whole += [row for cluster in chosen.clusters for row in cluster.members]
    whole += chosen.examples.values()
    return [
        *(Wanted(row["sample_id"], SHEET_SIDE) for row in whole),
        *(Wanted(row["sample_id"], CROP_SIDE) for row in chosen.crops),
        *(Wanted(row["sample_id"], KEPT_SIDE, _crop(row)) for row in chosen.kept),
    ]


def _tile(
    rows: dict[str, SourceRow],
    pictures: dict[Wanted, Thumbnail],
    row: Row,
    side: int = SHEET_SIDE,
    box: tuple[int, int, int, int] | None = None,
    subjects: str = "",
) -> Tile:
    key = row["sample_id"]
    picture, detail = pictures[Wanted(key, side, box)], rows[key].detail
    if side != CROP_SIDE:
        return Tile(row, picture, detail)
    size = row["width"], row["height"]
    known = boxes_in(row["meta"], subjects) if subjects else []
    inside = tuple(_percent((b[0], b[1], b[2], b[3]), size) for b in known)
    window = _crop(row)
    assert window is not None  # of samples whose crop is shown
    return Tile(row, picture, detail, _percent(window, size), inside)


def _percent(box: tuple[float, float, float, float], size: tuple[int, int]) -> Box:
    left, top, right, bottom = box
    across, down = 100 / size[0], 100 / size[1]
    edges = (left * across, top * down, (right - left) * across, (bottom - top) * down)
    left, top, right, bottom = (round(edge, 3) for edge in edges)
    return left, top, right, bottom


def _reason_sheet(reason: str, count: int, tiles: list[Tile]) -> ReasonSheet:
    came = [tile for tile in tiles if tile.picture.broken != NO_IMAGE]
    if any(tile.picture.uri for tile in came):
        return ReasonSheet(reason, meaning(reason), count, came, [], False)
    return ReasonSheet(reason, meaning(reason), count, [], tiles, bool(came))


def _numbers(samples: pa.Table, name: str) -> np.ndarray:
    """float64 [n], NaN where there is no value or no such column."""
    if name not in samples.column_names:
        return np.full(samples.num_rows, np.nan)
    return np.asarray(samples[name].cast(pa.float64()).to_numpy())


def _min_side(manifest: dict[str, Any]) -> float | None:
    rules = manifest["recipe"]["select"]
    return next((float(rule["min_px"]) for rule in rules if rule["name"] == "min_side"), None)


def _drawings(samples: pa.Table, manifest: dict[str, Any]) -> list[Histogram]:
    kept = samples["kept"].to_numpy(zero_copy_only=False)
    width, height = _numbers(samples, "width"), _numbers(samples, "height")
    captions = samples["caption"]
    chars = pc.utf8_length(captions).cast(pa.float64()).to_numpy()
    split = pc.ascii_split_whitespace(pc.ascii_trim_whitespace(captions))
    words = pc.if_else(pc.equal(chars, 0), 0, pc.list_value_length(split)).cast(pa.float64()).to_numpy()
    least = _min_side(manifest)
    guide = (least, f"min_side {least:g}") if least else None
    with np.errstate(divide="ignore", invalid="ignore"):
        aspect = np.where(height > 0, width / height, np.nan)
    side = Axis("Shorter side", "the smaller of width and height", " px", guide)
    shape = Axis("Aspect", "width over height; 1:1 is square")
    sharp = Axis("Sharpness", "variance of the Laplacian; larger is sharper")
    drawn = [
        histograms.logarithmic(side, np.fmin(width, height), kept, histograms.PIXELS),
        histograms.logarithmic(shape, aspect, kept, histograms.RATIOS),
        histograms.logarithmic(sharp, _numbers(samples, "sharpness"), kept, histograms.DECADES),
        histograms.counted(Axis("Caption length", "in characters", " characters"), chars, kept),
        histograms.counted(Axis("Caption length", "in words", " words"), words, kept),
    ]
    return [histogram for histogram in drawn if histogram is not None]


def _sizes(samples: pa.Table, manifest: dict[str, Any]) -> SizeMap | None:
    kept = samples["kept"].to_numpy(zero_copy_only=False)
    return histograms.size_map(
        _numbers(samples, "width"), _numbers(samples, "height"), kept, _min_side(manifest)
    )


def _subjects(samples: pa.Table) -> dict[str, Any] | None:
    """How much of the known subjects the crops of kept samples keep; None where none are known."""
    kept = samples["kept"].to_numpy(zero_copy_only=False)
    share = np.where(kept, _numbers(samples, "subject_kept"), np.nan)
    axis = Axis("Subject kept", "share of each known subject that lies in the crop", " %")
    drawn = histograms.counted(axis, np.floor(share * 100 + 1e-4), kept)
    if drawn is None:
        return None
    return {"histogram": drawn, "mean": float(np.nanmean(share)), "count": drawn.count}


def _fields(settings: dict[str, Any]) -> str:
    """The fields of a stage as ``name value``, those of its parts in brackets."""
    shown = []
    for name, value in settings.items():
        if name in ("name", "version"):
            continue
        if isinstance(value, dict):
            inner = _fields(value)
            value = value["name"] + (f" ({inner})" if inner else "")
        elif isinstance(value, list):
            value = " ".join(map(str, value))
        shown.append(f"{name} {value}")
    return ", ".join(shown)


def _templates() -> jinja2.Environment:
    """Autoescaped: every text of a crawl may be hostile."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pipelines"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"n": _thousands, "pct": _share_text, "shown": _shown}
    return environment


def _thousands(value: int) -> str:
    return f"{value:,}"


def _share_text(share: float | None) -> str:
    """0 to 1 as percent; never rounded up to all or down to nothing."""
    if share is None:
        return "none"
    text = f"{share * 100:.1f}"
    if text == "100.0":
        return "100 %" if share >= 1 else "> 99.9 %"
    if text == "0.0":
        return "0 %" if share <= 0 else "< 0.1 %"
    return f"{text} %"


def _shown(text: str | None, limit: int) -> str:
    """At most ``limit`` characters; those that print nothing, or turn the line around, become spaces."""
    part = (text or "")[: limit + 1]
    plain = "".join(c if c.isprintable() else " " for c in part)
    return plain if len(plain) <= limit else plain[: limit - 1].rstrip() + "…"
