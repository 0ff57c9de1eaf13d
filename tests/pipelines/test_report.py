"""The report is looked at by a person, so what a browser would see in it is tested."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image, ImageDraw

from pipelines.build import build
from pipelines.contact_sheet import MAX_FULL_PIXELS, NO_IMAGE, Wanted, source_rows, thumbnails
from pipelines.executors import Serial
from pipelines.histograms import Axis, counted, logarithmic, size_map
from pipelines.recipes.l_orig import l_orig
from pipelines.report import write_report
from pipelines.report_data import choose
from stages.source.folder import Folder
from store.location import Location
from store.sources import RawSample, StoredSource
from store.store import open_store
from store.tables import PLACES
from store.versions import Version

HOSTILE = "<script>alert(1)</script> \" onerror='x' \u202egnp.exe {{ 7 * 7 }} & <b>bold</b>"
VOID = {"meta", "img"}


class Page(HTMLParser):
    """Every tag with its attributes, and the text; a tag that is not closed fails."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open[-1:] != ["style"]:
            self.text += data

    def values(self, name: str) -> list[str]:
        return [value for _, attrs in self.tags if (value := attrs.get(name)) is not None]


def jpeg(seed: int, width: int = 96, height: int = 64) -> bytes:
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", (width, height), tuple(int(v) for v in rng.integers(0, 256, 3)))
    ImageDraw.Draw(image).ellipse((5, 5, 40, 40), fill=tuple(int(v) for v in rng.integers(0, 256, 3)))
    sink = io.BytesIO()
    image.save(sink, "JPEG")
    return sink.getvalue()


def stored(folder: Path, samples: list[RawSample]) -> StoredSource:
    source = StoredSource(Location.of(folder / "source"))
    source.write_plan([pa.table({"n": [0]})] * 2)
    half = len(samples) // 2
    source.write_shard(0, samples[:half], None)
    source.write_shard(1, samples[half:], None)
    source.complete_with({"kind": "metadata"})
    return source


def meta(group: str, kind: str, reason: str | None) -> str:
    return json.dumps(
        {
            "truth_group": group,
            "truth_kind": kind,
            "truth_reason": reason,
            "truth_boxes": json.dumps([[5, 5, 40, 40]]),
        }
    )


def raw(name: str, caption: str | None, image: bytes | None, truth: str, **more: Any) -> RawSample:
    return RawSample(
        name, name, caption, image, url=f"http://x.test/{name}", meta=truth, extension="jpg", **more
    )


SAMPLES = [
    raw("best", HOSTILE, jpeg(1), meta("a", "original", None)),
    raw("same", "the same bytes", jpeg(1), meta("a", "exact", "duplicate_exact")),
    raw("near", "a copy", jpeg(1, 90, 60), meta("a", "resize", "duplicate_near")),
    raw("other", "another", jpeg(2, 64, 96), meta("b", "original", None)),
    raw("missed", "another, missed", jpeg(2, 60, 90), meta("b", "resize", "duplicate_near")),
    raw("broken", "cut", jpeg(3)[:300], meta("c", "truncated", "truncated")),
    raw("gone", None, None, meta("d", "http_404", "http_404"), error="http_404", detail="<i>Not</i> Found"),
    raw("text", "no image", b"<html>", meta("e", "html", "not_an_image")),
]
NONE = raw("none", "x", None, "{}", error="dns")
REASONS = [None, "duplicate_exact", "duplicate_near", None, None, "truncated", "http_404", "not_an_image"]
CLUSTERS = ["best", "best", "best", "other", "missed", None, None, None]


@pytest.fixture
def source(tmp_path: Path) -> StoredSource:
    return stored(tmp_path, SAMPLES)


def placed(source: StoredSource) -> list[dict[str, Any]]:
    """The rows of a source, each with the shard it is in."""
    shards = source.shards()
    return [row | {"shard": shard.index} for shard in shards for row in source.rows(shard).to_pylist()]


def samples_table(source: StoredSource) -> pa.Table:
    """The samples as l-pp would have decided."""
    rows = {row["source_key"]: row for row in placed(source)}
    ids = {key: row["sample_id"] for key, row in rows.items()}
    found = []
    for sample, reason, cluster in zip(SAMPLES, REASONS, CLUSTERS, strict=True):
        row = rows[sample.source_key]
        readable = cluster is not None
        width, height = Image.open(io.BytesIO(sample.image)).size if readable else (None, None)
        found.append(
            {
                "sample_id": row["sample_id"],
                "url": row["url"],
                "source_key": row["source_key"],
                "caption": sample.caption,
                "caption_original": sample.caption,
                "width": width,
                "height": height,
                "kept": reason is None,
                "reason": reason,
                "meta": row["meta"],
                "crop_left": 0 if readable else None,
                "crop_top": 0 if readable else None,
                "crop_right": 60 if readable else None,
                "crop_bottom": 60 if readable else None,
                "crop_choice": "start" if readable else None,
                "crop_evidence": "known_boxes" if readable else None,
                "subject_kept": 0.75 if readable else None,
                "cluster_id": ids[cluster] if cluster else None,
                "duplicate_kind": "near" if reason == "duplicate_near" else None,
                "duplicate_distance": 4 if reason == "duplicate_near" else None,
                "sharpness": 12.5 if readable else None,
                "split": "train",
            }
            | {name: row[name] for name in PLACES}
        )
    return pa.Table.from_pylist(found).sort_by("sample_id")


def manifest() -> dict[str, Any]:
    dropped = {reason: REASONS.count(reason) for reason in sorted({r for r in REASONS if r})}
    rest = {reason: count for reason, count in dropped.items() if reason != "http_404"}
    return {
        "dataset": "l-pp",
        "version": "0123456789ab",
        "samples_in": 8,
        "kept": 3,
        "dropped": dropped,
        "selection": [
            {"name": "source", "samples_in": 8, "kept": 7, "dropped": {"http_404": 1}},
            {"name": "keep_best", "samples_in": 7, "kept": 3, "dropped": rest},
        ],
        "source": {"fingerprint": "fedcba987654", "settings": {"kind": "metadata", "tables": ["x"]}},
        "recipe": {
            "columns": [
                {"name": "crop", "version": 2, "aspects": [1.0], "scorer": {"name": "center", "version": 1}},
                {"name": "subject_kept", "version": 1, "field": "truth_boxes"},
            ],
            "select": [{"name": "min_side", "version": 1, "min_px": 32}],
            "pack": {"name": "pack", "version": 1, "resolutions": [512]},
        },
        "packs": {"512": {"splits": {"train": 2, "validation": 1}, "dropped": {}}},
        "packages": {"mashbill": "0.1.0"},
        "decisions": [],
        "captions": None,
    }


def written(folder: Path, source: StoredSource, samples: pa.Table, what: dict[str, Any]) -> str:
    version = Version("l-pp", "0123456789ab", Location.of(folder))
    write_report(version, source, what, samples)
    return (folder / "report" / "index.html").read_text("utf-8")


def page_of(tmp_path: Path, source: StoredSource) -> Page:
    return Page(written(tmp_path / "v", source, samples_table(source), manifest()))


def test_says_what_was_kept_and_why_the_rest_was_not(tmp_path: Path, source: StoredSource) -> None:
    page = page_of(tmp_path, source)
    text = " ".join(page.text.split())
    assert "8 in=3 kept+5 dropped" in text
    for words in (
        "min_px 32",
        "aspects 1.0, scorer center",
        "2 train",
        "1 validation",
        "3 copies of one picture",
    ):
        assert words in text
    for reason in ("duplicate_exact", "duplicate_near", "truncated", "http_404", "not_an_image"):
        assert f"reason-{reason}" in page.values("id")
    assert "the server has no such page (status 404)" in text
    assert "<i>Not</i> Found" in text  # the source's own words, as words


def test_links_inside_the_page_lead_somewhere(tmp_path: Path, source: StoredSource) -> None:
    page = page_of(tmp_path, source)
    targets = set(page.values("id"))
    assert {href[1:] for href in page.values("href")} <= targets


def test_asks_for_nothing_and_runs_nothing(tmp_path: Path, source: StoredSource) -> None:
    text = written(tmp_path / "v", source, samples_table(source), manifest())
    page = Page(text)
    assert not {"script", "link", "iframe", "object", "form"} & {tag for tag, _ in page.tags}
    assert all(src.startswith("data:image/webp;base64,") for src in page.values("src"))
    assert all(href.startswith("#") for href in page.values("href"))
    assert not [name for _, attrs in page.tags for name in attrs if name.startswith("on")]
    assert "url(" not in text
    assert "@import" not in text
    assert "default-src 'none'" in text


def test_a_hostile_caption_is_words(tmp_path: Path, source: StoredSource) -> None:
    page = page_of(tmp_path, source)
    assert "<script>alert(1)</script>" in page.text
    assert "{{ 7 * 7 }}" in page.text
    assert "\u202e" not in page.text


def test_same_samples_same_bytes_and_no_path(tmp_path: Path, source: StoredSource) -> None:
    samples = samples_table(source)
    first = written(tmp_path / "one", source, samples, manifest())
    assert first == written(tmp_path / "two", source, samples, manifest())
    assert str(tmp_path) not in first


def test_other_shards_same_bytes(tmp_path: Path, source: StoredSource) -> None:
    other = stored(tmp_path / "again", SAMPLES[::-1])
    first = written(tmp_path / "one", source, samples_table(source), manifest())
    assert first == written(tmp_path / "two", other, samples_table(other), manifest())


def test_crops_and_subjects_are_drawn_where_they_lie(tmp_path: Path, source: StoredSource) -> None:
    styles = page_of(tmp_path, source).values("style")
    assert "left:0.0%;top:0.0%;width:62.5%;height:93.75%" in styles  # 60 x 60 of 96 x 64
    assert "left:5.208%;top:7.812%;width:36.458%;height:54.688%" in styles  # 5..40 of the same


def test_kept_samples_are_shown_as_packed(tmp_path: Path, source: StoredSource) -> None:
    text = written(tmp_path / "v", source, samples_table(source), manifest())
    section = text[text.index('<section id="kept">') :]
    uris = re.findall(r'src="data:image/webp;base64,([^"]+)"', section[: section.index("</section>")])
    sizes = {Image.open(io.BytesIO(base64.b64decode(uri))).size for uri in uris}
    assert len(uris) == 3
    assert sizes == {(60, 60)}


def test_the_truth_is_told(tmp_path: Path, source: StoredSource) -> None:
    text = " ".join(page_of(tmp_path, source).text.split())
    assert "Against the truth" in text
    assert "100 %precision of copies" in text
    assert "75.0 %recall of copies" in text  # 3 of 4 pairs
    assert "1 truly duplicate_near, here kept" in text


def test_nothing_kept_and_nothing_but_the_needed_columns(tmp_path: Path) -> None:
    gone = [raw(f"gone{i}", None, None, "{}", error="dns") for i in range(2)]
    source = stored(tmp_path, gone)
    rows = pa.concat_tables(source.rows(shard) for shard in source.shards())
    nothing = pa.nulls(2, pa.int32())
    samples = pa.table(
        {name: rows[name] for name in ("sample_id", "url", "source_key", "caption_original")}
        | {"caption": pa.nulls(2, pa.string()), "kept": [False, False], "reason": ["dns", "dns"]}
        | {"width": nothing, "height": nothing}
        | {f"crop_{side}": nothing for side in ("left", "top", "right", "bottom")}
    )
    what = manifest() | {"samples_in": 2, "kept": 0, "dropped": {"dns": 2}, "packs": {}}
    what["selection"] = [{"name": "source", "samples_in": 2, "kept": 0, "dropped": {"dns": 2}}]
    text = " ".join(Page(written(tmp_path / "v", source, samples, what)).text.split())
    assert "the host name does not exist" in text
    assert "Against the truth" not in text
    assert "What you will train on" not in text


def folders(shared_data: Path | None) -> Iterator[tuple[str, Path]]:
    if shared_data is not None:
        yield "nasty", shared_data / "nasty"
        yield "exif", shared_data / "exif"


def test_report_of_a_build(tmp_path: Path, shared_data: Path | None) -> None:
    own = tmp_path / "photos"
    own.mkdir()
    for seed in range(3):
        (own / f"{seed}.jpg").write_bytes(jpeg(seed))
        (own / f"{seed}.txt").write_text(HOSTILE)
    (own / "cut.jpg").write_bytes(jpeg(9)[:200])
    for name, folder in (("own", own), *folders(shared_data)):
        dataset = l_orig()
        sized = {"resolutions": (64,), "quality": 80}
        pack = type(dataset.pack)(**sized)
        dataset = type(dataset)(dataset.name, Folder(path=str(folder)), dataset.columns, dataset.select, pack)
        store = open_store(tmp_path / name, create=True)
        result = build(store, dataset, Serial(), lambda *_: None)
        report = tmp_path / name / "datasets" / "l-orig" / result["version"] / "report" / "index.html"
        page = Page(report.read_text("utf-8"))
        for reason in result["dropped"]:
            assert f"reason-{reason}" in page.values("id")
        assert report.stat().st_size < 3_000_000


# The parts.


def test_thumbnails_are_small_upright_and_cut(tmp_path: Path) -> None:
    turned = Image.new("RGB", (300, 200), "red")
    exif = Image.Exif()
    exif[0x0112] = 6
    sink = io.BytesIO()
    turned.save(sink, "JPEG", exif=exif)
    source = stored(
        tmp_path, [raw("turned", "x", sink.getvalue(), "{}"), raw("none", "x", None, "{}", error="dns")]
    )
    rows = placed(source)
    ids = [row["sample_id"] for row in rows]
    wanted = [Wanted(ids[0], 90), Wanted(ids[0], 50, (0, 0, 100, 100)), Wanted(ids[1], 90)]
    made = thumbnails(source_rows(source, rows), wanted)
    assert [(made[w].width, made[w].height) for w in wanted] == [(60, 90), (50, 50), (0, 0)]
    assert made[wanted[2]].broken == NO_IMAGE


def test_a_huge_image_is_shown_from_its_small_view(tmp_path: Path) -> None:
    side = 5000
    assert side * side > MAX_FULL_PIXELS
    image = Image.new("L", (side, side), 10)
    image.paste(240, (side // 2, 0, side, side))
    sink = io.BytesIO()
    image.save(sink, "JPEG", quality=50)
    source = stored(
        tmp_path, [raw("huge", "x", sink.getvalue(), "{}"), raw("none", "x", None, "{}", error="dns")]
    )
    key = source.rows(source.shards()[0])["sample_id"][0].as_py()
    order = Wanted(key, 160, (side // 2, 0, side, side))
    uri = thumbnails(source_rows(source, placed(source)), [order])[order].uri
    assert uri is not None
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))).convert("L"))
    assert shown[:, 2:].min() > 225


def test_histograms_count_every_value_once() -> None:
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.integers(0, 400, 5000).astype(float), [1e6, 0.0, np.nan]])
    kept = rng.random(len(values)) < 0.6
    for drawn in (
        counted(Axis("a", ""), values, kept),
        logarithmic(Axis("a", ""), values, kept, {10.0: "10"}),
    ):
        assert drawn is not None
        assert drawn.count == 5002
        assert sum(bar.kept for bar in drawn.bars) == int(kept[:-1].sum())
        assert sum(bar.kept + bar.dropped for bar in drawn.bars) == 5002
        assert max(bar.kept_height + bar.dropped_height for bar in drawn.bars) == pytest.approx(100, abs=0.02)
    assert counted(Axis("a", ""), np.array([np.nan]), np.array([True])) is None
    assert logarithmic(Axis("a", ""), np.array([0.0]), np.array([True]), {}) is None


def test_size_map_counts_and_turns_the_right_way_up() -> None:
    drawn = size_map(
        np.array([64.0, 1024, np.nan]), np.array([64.0, 64, 5]), np.array([True, False, True]), 100
    )
    assert drawn is not None
    assert drawn.guide is not None
    places = {(c.x, c.y): (c.kept, c.dropped) for c in drawn.cells}
    low = drawn.bins - 1
    assert places[0, low] == (1, 0)
    assert places[max(x for x, _ in places), low] == (0, 1)


def test_the_choice_does_not_depend_on_how_the_table_is_cut(source: StoredSource) -> None:
    samples = samples_table(source)
    pieces = pa.concat_tables([samples.slice(0, 3), samples.slice(3)])
    dropped = manifest()["dropped"]
    assert choose(samples, dropped, []) == choose(pieces, dropped, [])
