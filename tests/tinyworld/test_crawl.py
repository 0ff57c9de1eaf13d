"""A small crawl: its bytes, its truth, and its files as a reader meets them."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageOps

from store.errors import UsageError
from tinyworld.__main__ import main
from tinyworld.crawl import DEFAULT_BASE_URL, SCHEMA, Crawl, make_crawl
from tinyworld.kinds import BY_NAME, KINDS, counts
from tinyworld.plan import plan

SAMPLES = 100
Record = dict[str, Any]
COPIES = {"exact", "reencode", "resize", "watermark", "caption_bar", "crop", "brightness", "flip"}


@pytest.fixture(scope="module")
def crawl(tmp_path_factory: pytest.TempPathFactory) -> Crawl:
    return make_crawl(tmp_path_factory.mktemp("crawl"), SAMPLES, seed=3)


@pytest.fixture(scope="module")
def rows(crawl: Crawl) -> list[Record]:
    return list(pq.read_table(crawl.table).to_pylist())


def file_of(crawl: Crawl, row: Record) -> Path:
    path = urlsplit(row["url"]).path.replace("/redirect/", "/ok/")
    return crawl.folder / "www" / path.lstrip("/")


def digest(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_same_seed_same_bytes_at_any_worker_count(tmp_path: Path, crawl: Crawl) -> None:
    command = ["make", str(tmp_path), "--samples", str(SAMPLES), "--seed", "3", "--workers", "1"]
    assert main(command) == 0
    assert digest(tmp_path) == digest(crawl.folder)
    assert plan(100, 5) == plan(100, 5) != plan(100, 6)


def test_the_table_has_its_columns_and_every_kind(rows: list[Record], crawl: Crawl) -> None:
    assert pq.read_schema(crawl.table).equals(SCHEMA)
    assert SCHEMA.field("crawled_at").type == pa.timestamp("us")
    assert len(rows) == SAMPLES
    assert dict(Counter(row["truth_kind"] for row in rows)) == counts(SAMPLES)
    assert {row.kind for row in plan(600, 3)} == set(BY_NAME)


def test_shares_add_up_and_most_survive() -> None:
    assert sum(kind.share for kind in KINDS) == pytest.approx(1)
    kept = sum(row.reason is None for row in plan(2000, 0)) / 2000
    assert 0.6 <= kept <= 0.65


def test_each_row_has_the_reason_of_its_kind(rows: list[Record]) -> None:
    for row in rows:
        expected = {BY_NAME[row["truth_kind"]].reason}
        if row["truth_kind"] == "resize":
            expected |= {"too_small"}
        if row["truth_kind"] == "placeholder":
            expected |= {None}
        assert row["truth_reason"] in expected, row
    resized = {row["truth_reason"] for row in rows if row["truth_kind"] == "resize"}
    assert resized == {"duplicate_near", "too_small"}


def test_files_show_what_the_table_says(rows: list[Record], crawl: Crawl) -> None:
    for row in rows:
        if row["truth_boxes"] is None:
            assert row["width"] is None
            continue
        with Image.open(file_of(crawl, row)) as image:
            assert ImageOps.exif_transpose(image).size == (row["width"], row["height"])
        assert (min(row["width"], row["height"]) < 300) == (row["truth_reason"] == "too_small")
        found = json.loads(row["truth_boxes"])
        for left, top, right, bottom in found:
            assert 0 <= left < right <= row["width"]
            assert 0 <= top < bottom <= row["height"]
        if row["truth_attributes"]:
            assert len(found) == json.loads(row["truth_attributes"])["count"]


def decode(data: bytes) -> None:
    with Image.open(io.BytesIO(data)) as image:
        image.draft("RGB", (64, 64))
        image.load()


def test_broken_files_do_not_decode(rows: list[Record], crawl: Crawl) -> None:
    broken = {"html", "text", "nul_bytes", "empty_body", "truncated", "png_flipped_bits"}
    for row in rows:
        if row["truth_kind"] in broken:
            data = file_of(crawl, row).read_bytes()
            with pytest.raises(OSError, match=r"identify|truncated|broken"):
                decode(data)


def test_every_group_keeps_its_best(rows: list[Record]) -> None:
    groups: dict[str, list[Record]] = defaultdict(list)
    for row in rows:
        groups[row["truth_group"]].append(row)
    copied = 0
    for name, members in groups.items():
        kept = [row for row in members if row["truth_reason"] is None]
        if name == "tracking-pixel" or len(members) == 1:
            continue
        assert len(kept) == 1, members
        best = kept[0]
        assert best["truth_kind"] in ("original", "placeholder")
        for row in members:
            if row["truth_reason"] == "repeated_row":
                assert (row["url"], row["caption"]) == (best["url"], best["caption"])
                assert rows.index(row) > rows.index(best)
            elif row is not best:
                pixels = row["width"] * row["height"]
                assert pixels <= best["width"] * best["height"]
                assert len(row["caption"]) < len(best["caption"])
                copied += 1
    assert copied >= 15


def test_exact_copies_and_nothing_else_share_bytes(rows: list[Record], crawl: Crawl) -> None:
    shared: dict[str, set[str]] = defaultdict(set)
    originals = {row["truth_group"]: row for row in rows if row["truth_kind"] == "original"}
    for row in rows:
        if row["truth_boxes"] is None:
            continue
        data = file_of(crawl, row).read_bytes()
        shared[hashlib.sha256(data).hexdigest()].add(row["truth_group"])
        if row["truth_kind"] in COPIES:
            original = file_of(crawl, originals[row["truth_group"]]).read_bytes()
            assert (data == original) == (row["truth_kind"] == "exact")
    assert all(len(groups) == 1 for groups in shared.values())


def test_urls_are_distinct_but_for_repeated_rows(rows: list[Record]) -> None:
    urls = Counter(r["url"] for r in rows if r["truth_kind"] not in ("repeated_row", "file_url"))
    assert max(urls.values()) == 1
    hosts = {urlsplit(url).netloc for url in urls}
    assert urlsplit(DEFAULT_BASE_URL).netloc in hosts
    assert {"10.0.0.1", "127.0.0.1:1"} <= hosts


def test_hard_negatives_keep_the_layout_of_another_picture() -> None:
    planned = plan(600, 3)
    originals = [row.truth for row in planned if row.kind == "original" and row.truth]
    hard = [row.truth for row in planned if row.kind == "hard_negative" and row.truth]
    assert len(hard) == 30
    for scene in hard:
        near = [o for o in originals if o.variant == scene.variant]
        assert len(near) == 1
        assert near[0] != scene
        assert near[0].background == scene.background


def test_captions_are_as_good_as_their_kind(rows: list[Record]) -> None:
    for row in rows:
        kind, said = row["truth_kind"], row["caption"]
        if kind == "no_caption":
            assert said in (None, "")
        elif kind == "wrong_caption":
            assert said != row["truth_caption"]
        elif kind in ("original", "repeated_row", "off_center"):
            assert said.rstrip(".").split()[-1]


def test_bad_requests_are_refused(tmp_path: Path, crawl: Crawl) -> None:
    with pytest.raises(UsageError, match="100"):
        make_crawl(tmp_path, 20)
    with pytest.raises(UsageError, match="workers"):
        make_crawl(tmp_path, 100, workers=0)
    with pytest.raises(UsageError, match="already"):
        make_crawl(crawl.folder, 600)
    assert crawl.allow_private == ("127.0.0.1:8417", "127.0.0.1:1")


def test_the_documentation_lists_every_kind() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "tiny-world.md").read_text()
    for kind in KINDS:
        outcome = f"`{kind.reason}`" if kind.reason else "kept"
        assert f"| `{kind.name}` | {kind.share * 100:.1f} % | {outcome} | {kind.meaning} |" in page


def test_a_killed_maker_leaves_no_process_behind(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tinyworld", "make", str(tmp_path), "--samples", "5000"]
    root = Path(__file__).resolve().parents[2]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as maker:
        assert maker.stdout is not None
        deadline = time.monotonic() + 60
        while not any(tmp_path.glob("www/*/*")) and time.monotonic() < deadline:
            time.sleep(0.05)
        maker.kill()
        # The drawing processes hold the other end of this pipe: it ends when the last of them has.
        reader = threading.Thread(target=maker.stdout.read, daemon=True)
        reader.start()
        reader.join(timeout=30)
        assert not reader.is_alive()
    assert any(tmp_path.glob("www/*/*"))
    assert not (tmp_path / "crawl.parquet").exists()
