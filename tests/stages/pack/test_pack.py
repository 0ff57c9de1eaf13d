"""Packs: pixels, order, and loading them with the two libraries that training uses."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from stages.pack.pack import Pack, dropped_by_reason, write_pack_shard
from store.errors import MashbillError, UsageError
from store.location import Location
from store.store import open_store
from store.tar import TarWriter
from store.versions import find_version

COLORS = {"red": (220, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 220), "yellow": (230, 220, 30)}


def quadrants(width: int, height: int, kind: str = "JPEG", **options: Any) -> bytes:
    """Red, green / blue, yellow."""
    pixels = np.empty((height, width, 3), np.uint8)
    for number, color in enumerate(COLORS.values()):
        rows = slice(0, height // 2) if number < 2 else slice(height // 2, height)
        columns = slice(0, width // 2) if number % 2 == 0 else slice(width // 2, width)
        pixels[rows, columns] = color
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, kind, **options)
    return sink.getvalue()


def seen(image: Image.Image, x: float, y: float) -> str:
    """The name of the color nearest to that of a place (0 to 1)."""
    pixel = np.array(image.getpixel((int(x * (image.width - 1)), int(y * (image.height - 1)))))
    return min(COLORS, key=lambda name: float(np.abs(pixel - COLORS[name]).sum()))


def row(number: int, data: bytes, size: tuple[int, int], crop: tuple[int, ...]) -> dict[str, Any]:
    names = ("crop_left", "crop_top", "crop_right", "crop_bottom")
    return {
        "sample_id": f"{number:024x}",
        "caption": f"caption {number}",
        "caption_original": f"  caption {number}",
        "url": None,
        "source_key": str(number),
        "width": size[0],
        "height": size[1],
        "split": "train",
        "sha256": hashlib.sha256(data).hexdigest(),
        "dataset": "test",
        "version": "0" * 12,
        "crop_aspect": (crop[2] - crop[0]) / (crop[3] - crop[1]),
        **dict(zip(names, crop, strict=True)),
    }


def packed(
    tmp_path: Path, images: list[tuple[bytes, tuple[int, int], tuple[int, ...]]], resolution: int
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """What ``write_pack_shard`` says, and the members it wrote."""
    rows, source = [], Location.of(tmp_path / "source.tar")
    with source.writing() as path, open(path, "wb") as file:
        tar = TarWriter(file)
        for number, (data, size, crop) in enumerate(images):
            member = tar.add(f"{number}.bin", data)
            place = {"tar": source.url, "image_offset": member.offset, "image_size": member.size}
            rows.append(row(number, data, size, crop) | place)
        tar.close()
    out = Location.of(tmp_path / "train-00000.tar")
    answer = write_pack_shard(out, rows, Pack(), resolution)
    with tarfile.open(out.path) as opened:
        members = {m.name: opened.extractfile(m).read() for m in opened}  # type: ignore[union-attr]
    return answer, members


@pytest.mark.parametrize(
    ("crop", "size", "corners"),
    [
        ((0, 0, 200, 200), (64, 64), ["red", "green", "blue", "yellow"]),
        ((0, 0, 100, 100), (64, 64), ["red"] * 4),
        ((100, 100, 200, 200), (64, 64), ["yellow"] * 4),
        ((0, 100, 200, 200), (96, 48), ["blue", "yellow", "blue", "yellow"]),
        ((0, 0, 100, 200), (48, 96), ["red", "red", "blue", "blue"]),
    ],
)
def test_the_crop_is_what_is_stored(
    crop: tuple[int, ...], size: tuple[int, int], corners: list[str], tmp_path: Path
) -> None:
    _, members = packed(tmp_path, [(quadrants(200, 200), (200, 200), crop)], 64)
    image = Image.open(io.BytesIO(members[f"{0:024x}.jpg"]))
    assert (image.format, image.mode, image.size) == ("JPEG", "RGB", size)
    assert [seen(image, x, y) for y in (0.1, 0.9) for x in (0.1, 0.9)] == corners


def test_a_crop_whose_size_has_another_aspect_is_cut_not_distorted(tmp_path: Path) -> None:
    images = [(quadrants(*size), size, (0, 0, *size)) for size in ((96, 64), (64, 96), (80, 80), (1, 1))]
    _, members = packed(tmp_path, images, 64)
    fields = [json.loads(members[f"{n:024x}.json"]) for n in range(4)]
    assert [(f["width"], f["height"]) for f in fields] == [(80, 48), (48, 80), (64, 64), (64, 64)]
    # 80 x 48 is 5 to 3: of 96 x 64 pixels it shows 96 x 57.6
    seen_of = [[0, 3.2, 96, 60.8], [3.2, 0, 60.8, 96], [0, 0, 80, 80], [0, 0, 1, 1]]
    assert [f["crop"] for f in fields] == [pytest.approx(box, abs=1e-9) for box in seen_of]
    assert b'"crop": [0, 0, 80, 80]' in members[f"{2:024x}.json"]


def test_a_crop_of_one_pixel_has_a_size_too(tmp_path: Path) -> None:
    data = quadrants(1, 1)
    tall = row(0, data, (1, 1), (0, 0, 1, 1)) | {"crop_aspect": 0.4}
    (tmp_path / "source.tar").write_bytes(data)
    place = {"tar": str(tmp_path / "source.tar"), "image_offset": 0, "image_size": len(data)}
    answer = write_pack_shard(Location.of(tmp_path / "train-00000.tar"), [tall | place], Pack(), 64)
    assert (answer["sizes"], answer["dropped"]) == ([[48, 96, 1]], {})


def test_turned_images_are_stored_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter to the right: the upright image has the left column on top
    data = quadrants(200, 100, exif=exif)
    _, members = packed(tmp_path, [(data, (100, 200), (0, 0, 100, 200))], 0)
    image = Image.open(io.BytesIO(members[f"{0:024x}.jpg"]))
    assert image.size == (100, 200)
    assert image.getexif().get(0x0112, 1) == 1
    assert [seen(image, x, y) for y in (0.1, 0.9) for x in (0.1, 0.9)] == ["blue", "red", "yellow", "green"]


def test_original_bytes_where_nothing_changed(tmp_path: Path) -> None:
    whole, png = quadrants(96, 96, quality=60), quadrants(96, 96, "PNG")
    images = [
        (whole, (96, 96), (0, 0, 96, 96)),
        (png, (96, 96), (0, 0, 96, 96)),
        (whole, (96, 96), (0, 0, 48, 48)),
    ]
    answer, members = packed(tmp_path, images, 0)
    assert members[f"{0:024x}.jpg"] == whole
    sizes = [Image.open(io.BytesIO(members[f"{n:024x}.jpg"])).size for n in range(3)]
    assert sizes == [(96, 96), (96, 96), (48, 48)]
    fields = [json.loads(members[f"{n:024x}.json"]) for n in range(3)]
    assert [(f["width"], f["height"]) for f in fields] == sizes
    assert answer["samples"] == 3


def test_what_breaks_only_when_packed_is_counted(tmp_path: Path) -> None:
    good, box = quadrants(64, 64), (0, 0, 64, 64)
    images = [(good, (64, 64), box), (good[:700], (64, 64), box), (b"<html>", (64, 64), box)]
    answer, members = packed(tmp_path, images, 32)
    assert answer["samples"] == 1
    assert set(answer["dropped"]) == {f"{1:024x}", f"{2:024x}"}
    assert dropped_by_reason([answer, answer]) == {"not_an_image": 2, "truncated": 2}
    assert set(members) == {f"{0:024x}.{ext}" for ext in ("jpg", "txt", "json")}


def test_the_answer_describes_the_file(tmp_path: Path) -> None:
    answer, _ = packed(tmp_path, [(quadrants(64, 64), (64, 64), (0, 0, 64, 64))], 32)
    data = (tmp_path / "train-00000.tar").read_bytes()
    assert (answer["name"], answer["samples"], answer["dropped"]) == ("train-00000.tar", 1, {})
    assert (answer["bytes"], answer["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())


def test_sizes_are_counted_and_places_are_where_the_members_lie(tmp_path: Path) -> None:
    box, wide = (0, 0, 64, 64), (0, 0, 96, 64)
    images = [(quadrants(64, 64), (64, 64), box), (b"<html>", (64, 64), box)]
    images += [(quadrants(96, 64), (96, 64), wide)] * 2
    answer, members = packed(tmp_path, images, 64)
    assert answer["sizes"] == [[64, 64, 1], [80, 48, 2]]
    shard, places = tmp_path / "train-00000.tar", tmp_path / answer["places"]
    assert hashlib.sha256(places.read_bytes()).hexdigest() == answer["places_sha256"]
    rows = pq.read_table(places).to_pylist()
    assert [(row["width"], row["height"]) for row in rows] == [(64, 64), (80, 48), (80, 48)]
    data = shard.read_bytes()
    for row in rows:
        for kind in ("jpg", "txt", "json"):
            start, size = row[f"{kind}_offset"], row[f"{kind}_size"]
            assert data[start : start + size] == members.pop(f"{row['key']}.{kind}")
    assert not members


def test_a_shard_of_which_nothing_can_be_packed(tmp_path: Path) -> None:
    answer, members = packed(tmp_path, [(b"<html>", (64, 64), (0, 0, 64, 64))], 32)
    assert (answer["samples"], answer["sizes"], members) == (0, [], {})
    assert pq.read_table(tmp_path / answer["places"]).num_rows == 0


@pytest.mark.parametrize("wrong", [{"resolutions": (64, -1)}, {"samples_per_shard": 0}, {"quality": 0}])
def test_wrong_settings(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        Pack(**wrong)


@pytest.fixture
def pack_64(built: Any) -> Path:
    store = open_store(built[0])
    return Path(find_version(store, "l-orig").pack("64").path)


@pytest.fixture
def expected(built: Any) -> dict[str, dict[str, Any]]:
    samples = find_version(open_store(built[0]), "l-orig").samples().to_pylist()
    return {row["sample_id"]: row for row in samples if row["kept"]}


def check(sample: dict[str, Any], image: Image.Image, caption: str, row: dict[str, Any]) -> None:
    assert image.size == (64, 64)
    assert caption == row["caption"] == sample["caption"]
    assert sample["captions"][0] == row["caption"]
    assert row["caption_original"] in sample["captions"]
    assert sample["crop"] == [row[f"crop_{side}"] for side in ("left", "top", "right", "bottom")]
    assert (sample["original_width"], sample["original_height"]) == (row["width"], row["height"])
    assert (sample["split"], sample["sha256"]) == (row["split"], row["sha256"])
    assert sample["source_key"] == row["source_key"]


@pytest.mark.parametrize("streaming", [False, True])
def test_datasets_loads_a_pack(
    streaming: bool, pack_64: Path, expected: dict[str, Any], tmp_path: Path
) -> None:
    import datasets

    tars = sorted(map(str, pack_64.glob("*.tar")))
    loaded = datasets.load_dataset(
        "webdataset",
        data_files={"train": tars},
        split="train",
        streaming=streaming,
        cache_dir=str(tmp_path),
    )
    found = set()
    for item in loaded:
        check(item["json"], item["jpg"], item["txt"], expected[item["__key__"]])
        found.add(item["__key__"])
    assert found == set(expected)


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # webdataset leaves its file open
def test_webdataset_loads_a_pack(pack_64: Path, expected: dict[str, Any]) -> None:
    import webdataset

    tars = sorted(map(str, pack_64.glob("*.tar")))
    found: dict[str, Any] = {}
    for item in webdataset.WebDataset(tars, shardshuffle=False).decode("pil"):
        check(item["json"], item["jpg"], item["txt"], expected[item["__key__"]])
        found[item["__key__"]] = None
    assert set(found) == set(expected)
    described = json.loads((pack_64 / "pack.json").read_text())
    assert described["samples_in"] == sum(described["splits"].values()) == len(expected)
    assert sum(shard["samples"] for shard in described["shards"]) == len(expected)


def keys(pack: Path) -> Iterator[str]:
    for file in sorted(pack.glob("*.tar")):
        with tarfile.open(file) as tar:
            yield from (m.name.split(".")[0] for m in tar if m.name.endswith(".json"))


def test_samples_are_shuffled_the_same_way_whatever_their_order(pack_64: Path) -> None:
    order = list(keys(pack_64))
    assert order != sorted(order)
    assert order == sorted(order, key=Pack().order)
    assert sorted(order, key=Pack(seed=1).order) != order


def test_shards_and_splits_are_cut_as_asked(
    tmp_path: Path, photos: Any, cli: Any, folder_source: Any
) -> None:
    line = ["build", "l-orig", "--store", tmp_path / "s", *folder_source(photos.path), "--workers", "1"]
    change = ["samples_per_shard=4", "resolutions=16,24", "split.validation_share=0.5"]
    settings = [text for c in change for text in ("--set", c if "." in c else f"pack.{c}")]
    done = cli(*line, *settings, "--json")
    assert done.code == 0, done.err
    version = find_version(open_store(tmp_path / "s"), "l-orig")
    splits = {row["sample_id"]: row["split"] for row in version.samples().to_pylist() if row["kept"]}
    for name in ("16", "24"):
        pack = json.loads(Path((version.pack(name) / "pack.json").path).read_text())
        assert set(pack["splits"]) == {"train", "validation"}
        assert all(0 < shard["samples"] <= 4 for shard in pack["shards"])
        for shard in pack["shards"]:
            with tarfile.open((version.pack(name) / shard["name"]).path) as tar:
                ids = {m.name.split(".")[0] for m in tar}
            assert {splits[key] for key in ids} == {shard["name"].rsplit("-", 1)[0]}


def test_an_image_that_was_replaced_is_not_packed(tmp_path: Path) -> None:
    data = quadrants(64, 64)
    place = {"tar": str(tmp_path / "source.tar"), "image_offset": 0, "image_size": len(data)}
    (tmp_path / "source.tar").write_bytes(data[:-3] + b"new")
    rows = [row(0, data, (64, 64), (0, 0, 64, 64)) | place]
    with pytest.raises(MashbillError, match="holds other bytes for sample 0000"):
        write_pack_shard(Location.of(tmp_path / "train-00000.tar"), rows, Pack(), 32)
    assert not (tmp_path / "train-00000.tar").exists()
