"""Clusters of copies: edited copies join, look-alikes do not, and the order of rows never matters."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image, ImageDraw, ImageEnhance

from stages.dedup.candidates import MOST_PER_HASH, candidate_pairs
from stages.dedup.near_duplicates import NearDuplicates
from stages.dedup.same_picture import Comparison, difference
from stages.image.content_hash import ContentHash
from stages.image.perceptual_hash import HASH_COLUMNS, PerceptualHash
from stages.image.picture import read_small
from stages.image.sharpness import Sharpness
from stages.stage import Batch

COLORS = {"red": (220, 40, 40), "green": (40, 150, 60), "blue": (50, 80, 220), "yellow": (240, 200, 40)}
Thing = tuple[str, tuple[float, float, float]]
THINGS: tuple[Thing, ...] = (
    ("red", (0.25, 0.35, 0.30)),
    ("blue", (0.68, 0.45, 0.36)),
    ("yellow", (0.36, 0.70, 0.22)),
)


def scene(*things: Thing, seed: int = 0) -> Image.Image:
    """480 x 360: disks (x, y, diameter as shares) on a soft background that ``seed`` decides."""
    soft = np.random.default_rng(seed).integers(130, 190, (3, 4, 3), dtype=np.uint8)
    image = Image.fromarray(soft).resize((480, 360), Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(image)
    for color, (x, y, size) in things:
        x, y, half = x * 480, y * 360, size * 180
        pen.ellipse((x - half, y - half, x + half, y + half), COLORS[color])
    return image


def picture(seed: int) -> Image.Image:
    """A scene unlike that of any other seed."""
    rng = np.random.default_rng(100 + seed)
    colors = list(COLORS)
    things = [
        (colors[rng.integers(4)], (float(x), float(y), float(size)))
        for x, y, size in rng.uniform((0.1, 0.1, 0.15), (0.9, 0.9, 0.5), (7, 3))
    ]
    return scene(*things, seed=seed)


def jpeg(image: Image.Image, quality: int = 90) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def table(files: dict[str, bytes], captions: dict[str, str] | None = None) -> pa.Table:
    """What the stage reads, written by the real stages; ``b""`` stands for a broken file."""
    data = list(files.values())
    small = [read_small(each) if each else None for each in data]
    columns: dict[str, pa.Array] = {
        "sample_id": pa.array(list(files)),
        "caption": pa.array([(captions or {}).get(name) for name in files], pa.string()),
    }
    sizes = [Image.open(io.BytesIO(each)).size if each else (None, None) for each in data]
    columns["width"] = pa.array([width for width, _ in sizes], pa.int32())
    columns["height"] = pa.array([height for _, height in sizes], pa.int32())
    for stage, images in ((ContentHash(), data), (PerceptualHash(), small), (Sharpness(), small)):
        written = stage.open()(Batch(len(data), {}, images, [None] * len(data)))
        for field in stage.writes:
            columns[field.name] = pa.array(written[field.name], field.type)
    return pa.table(columns)


def reduced(
    rows: pa.Table, scratch: Path, stage: NearDuplicates | None = None
) -> dict[str, dict[str, object]]:
    written = (stage or NearDuplicates()).reduce(rows, str(scratch))
    assert written.schema.equals(NearDuplicates.writes)
    return dict(zip(rows["sample_id"].to_pylist(), written.to_pylist(), strict=True))


def crop(share: float) -> Callable[[Image.Image], Image.Image]:
    return lambda i: i.crop(
        (
            round(i.width * share),
            round(i.height * share),
            round(i.width * (1 - share)),
            round(i.height * (1 - share)),
        )
    )


def captioned(image: Image.Image) -> Image.Image:
    image = image.copy()
    pen = ImageDraw.Draw(image)
    pen.rectangle((0, image.height * 11 // 12, image.width, image.height), (0, 0, 0))
    pen.text((10, image.height * 11 // 12 + 8), "(c) stock photo", (255, 255, 255))
    return image


EDITS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "half": lambda i: i.resize((i.width // 2, i.height // 2), Image.Resampling.LANCZOS),
    "larger": lambda i: i.resize((i.width * 3 // 2, i.height * 3 // 2), Image.Resampling.LANCZOS),
    "crop 2 %": crop(0.02),
    "crop 5 %": crop(0.05),
    "crop 10 %": crop(0.1),
    "uneven crop": lambda i: i.crop((10, 18, i.width - 22, i.height - 8)),
    "brighter": lambda i: ImageEnhance.Brightness(i).enhance(1.2),
    "darker": lambda i: ImageEnhance.Brightness(i).enhance(0.8),
    "gray": lambda i: i.convert("L").convert("RGB"),
    "caption bar": captioned,
    "mirrored": lambda i: i.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edited_copy_joins_its_original(edit: str, tmp_path: Path) -> None:
    rows = table({"a": jpeg(picture(1)), "b": jpeg(EDITS[edit](picture(1)), 75), "c": jpeg(picture(2))})
    found = reduced(rows, tmp_path)
    best, copy = sorted("ab", key=lambda name: found[name]["duplicate_kind"] is not None)
    assert [found[name]["cluster_id"] for name in "abc"] == [best, best, "c"]
    assert [found[name]["cluster_size"] for name in "abc"] == [2, 2, 1]
    assert [found[name]["duplicate_kind"] for name in (best, copy, "c")] == [None, "near", None]
    assert found[best]["duplicate_distance"] is None
    assert found[copy]["duplicate_distance"] in (0, 2, 4, 6)
    if edit in ("half", "larger"):
        assert best == {"half": "a", "larger": "b"}[edit], "the one with more pixels represents"


NEAR_MISSES: dict[str, tuple[Thing, ...]] = {
    "recolored": (*THINGS[:2], ("green", THINGS[2][1])),
    "moved": (*THINGS[:2], ("yellow", (0.36, 0.55, 0.22))),
    "moved a little": (THINGS[0], ("blue", (0.76, 0.45, 0.36)), THINGS[2]),
    "removed": THINGS[:2],
    "added": (*THINGS, ("green", (0.85, 0.8, 0.2))),
    "shrunk": (THINGS[0], ("blue", (0.68, 0.45, 0.24)), THINGS[2]),
}


@pytest.mark.parametrize("change", NEAR_MISSES)
def test_a_scene_with_one_thing_changed_is_another_picture(change: str, tmp_path: Path) -> None:
    rows = table({"a": jpeg(scene(*THINGS)), "b": jpeg(scene(*NEAR_MISSES[change]))})
    whole = Comparison("phash", "phash")
    first, second = (np.frombuffer(each, np.uint8)[None] for each in rows["thumbnail"].to_pylist())
    assert difference(first, second, whole)[0] > NearDuplicates().tolerance
    assert difference(first, first, whole)[0] == 0
    found = reduced(rows, tmp_path, NearDuplicates(radius=12))
    assert {name: found[name]["cluster_id"] for name in "ab"} == {"a": "a", "b": "b"}


def test_mirror_images_are_a_policy(tmp_path: Path) -> None:
    rows = table({"a": jpeg(picture(1)), "b": jpeg(EDITS["mirrored"](picture(1)))})
    found = reduced(rows, tmp_path, NearDuplicates(match_flips=False))
    assert [found[name]["cluster_id"] for name in "ab"] == ["a", "b"]


def test_the_best_copy_represents(tmp_path: Path) -> None:
    files = {"d": jpeg(picture(1), 60), "c": jpeg(picture(1)), "b": jpeg(picture(1)), "a": jpeg(picture(1))}
    files["e"] = jpeg(EDITS["half"](picture(1)))
    found = reduced(table(files, {"b": "long", "c": "longer"}), tmp_path)
    best = found["a"]["cluster_id"]
    assert best in ("c", "d")
    assert all(row["cluster_id"] == best for row in found.values())
    same = [name for name in "abc" if name != best]
    expected = "exact" if best == "c" else "near"
    assert {found[name]["duplicate_kind"] for name in same} == {expected}
    assert found["e"]["duplicate_kind"] == "near"
    assert found["e"]["cluster_size"] == 5


def test_exact_copies_of_a_picture_without_detail_and_of_nothing(tmp_path: Path) -> None:
    white, black = jpeg(Image.new("RGB", (400, 300), "white")), jpeg(Image.new("RGB", (400, 300)))
    rows = table({"a": white, "b": white, "c": black, "d": b"", "e": b"", "f": jpeg(picture(1))})
    found = reduced(rows, tmp_path)
    assert [found[name]["cluster_id"] for name in "abcdef"] == ["a", "a", "c", None, None, "f"]
    assert found["b"] == {
        "cluster_id": "a",
        "cluster_size": 2,
        "duplicate_kind": "exact",
        "duplicate_distance": 0,
    }
    assert all(value is None for value in found["d"].values())


def test_the_order_of_rows_does_not_matter(tmp_path: Path) -> None:
    files = {f"{seed}": jpeg(picture(seed)) for seed in range(6)}
    files |= {f"{seed} copy": jpeg(EDITS["half"](picture(seed))) for seed in range(4)}
    files |= {f"{seed} again": files[f"{seed} copy"] for seed in range(2)}
    files |= {f"near {name}": jpeg(scene(*things)) for name, things in NEAR_MISSES.items()}
    rows = table(files)
    expected = reduced(rows, tmp_path)
    assert len({row["cluster_id"] for row in expected.values()}) == 12
    rng = np.random.default_rng(3)
    for _ in range(4):
        assert reduced(rows.take(pa.array(rng.permutation(len(rows)))), tmp_path) == expected


def test_a_chain_of_copies_stays_around_what_it_matches(tmp_path: Path) -> None:
    """Crops of crops drift: whoever no longer matches the representative begins a cluster."""
    image = picture(5)
    files = {}
    for step in range(5):
        files[f"{step}"] = jpeg(image)
        image = crop(0.04)(image)
    found = reduced(table(files), tmp_path)
    for name, row in found.items():
        if row["duplicate_kind"] == "near":
            pair = table({"x": files[str(row["cluster_id"])], "y": files[name]})
            assert reduced(pair, tmp_path)["y"]["cluster_id"] == "x"
    assert 2 <= len({row["cluster_id"] for row in found.values()}) <= 4


def test_pairs_of_a_crowded_hash_grow_linearly(tmp_path: Path) -> None:
    crowd = 2000
    rng = np.random.default_rng(0)
    columns = {name: rng.integers(0, 2**64, crowd, dtype=np.uint64) for name in HASH_COLUMNS}
    columns["phash"] = np.full(crowd, 7, np.uint64)
    pairs = candidate_pairs(pa.table(columns), 6, True, str(tmp_path))
    assert len(pairs.better) <= crowd * MOST_PER_HASH
    assert set(pairs.worse.tolist()) == set(range(1, crowd))
    assert pairs.better.max() == MOST_PER_HASH - 1


@pytest.mark.parametrize("count", [0, 1])
def test_few_rows(count: int, tmp_path: Path) -> None:
    rows = table({"a": jpeg(picture(1))}).slice(0, count)
    assert list(reduced(rows, tmp_path)) == ["a"][:count]


def test_twelve_versions_of_one_picture_become_few_stars(shared_data: Path | None, tmp_path: Path) -> None:
    if shared_data is None:
        files = {name: jpeg(edit(picture(9))) for name, edit in EDITS.items()}
    else:
        paths = sorted((shared_data / "neardup" / "pdq_bridge").glob("*.jpg"))
        assert len(paths) == 12
        files = {path.stem: path.read_bytes() for path in paths}
    found = reduced(table(files | {"stranger": jpeg(picture(1))}), tmp_path)
    # Strong edits (sharpened a lot, high contrast) differ too much from each other: a star for each.
    clusters = {row["cluster_id"] for row in found.values()}
    assert len(clusters - {"stranger"}) <= 3
    assert found["stranger"]["cluster_size"] == 1
