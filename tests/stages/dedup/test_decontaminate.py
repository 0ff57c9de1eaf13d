"""Copies of evaluation images and captions are found and dropped, others stay."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageDraw, ImageEnhance

from stages.dedup.decontaminate import Decontaminate
from stages.dedup.evaluation_images import READS
from stages.image.content_hash import ContentHash
from stages.image.perceptual_hash import PerceptualHash
from stages.image.picture import read_small
from stages.select.not_in_evaluation import NotInEvaluation
from stages.stage import Batch
from tinyworld.draw import draw
from tinyworld.scene import random_scene


def drawn(seed: int) -> Image.Image:
    return draw(random_scene(seed), 320, 240)


def encoded(image: Image.Image, quality: int = 85) -> bytes:
    sink = io.BytesIO()
    image.convert("RGB").save(sink, "JPEG", quality=quality)
    return sink.getvalue()


def cropped(image: Image.Image) -> Image.Image:
    w, h = image.size
    return image.crop((w // 30, h // 30, w - w // 30, h - h // 30))


def captioned(image: Image.Image) -> Image.Image:
    image = image.copy()
    ImageDraw.Draw(image).rectangle((0, image.height * 11 // 12, image.width, image.height), (0, 0, 0))
    return image


EDITS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "encoded": lambda i: i,
    "half": lambda i: i.resize((i.width // 2, i.height // 2), Image.Resampling.LANCZOS),
    "crop": cropped,
    "mirrored": lambda i: i.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "bar": captioned,
    "brighter": lambda i: ImageEnhance.Brightness(i).enhance(1.15),
}


def table(files: dict[str, bytes | None]) -> pa.Table:
    """What the stage reads of images, written by the real stages; None is a broken file."""
    small = [None if data is None else read_small(data) for data in files.values()]
    columns: dict[str, pa.Array] = {"sample_id": pa.array(list(files))}
    for stage, images in ((ContentHash(), list(files.values())), (PerceptualHash(), small)):
        written = stage.open()(Batch(len(files), {}, images, [None] * len(files)))
        columns |= {f.name: pa.array(written[f.name], f.type) for f in stage.writes if f.name in READS}
    return pa.table(columns)


def evaluation_set(folder: Path, images: dict[str, bytes]) -> Decontaminate:
    folder.mkdir()
    for name, data in images.items():
        (folder / name).write_bytes(data)
    return Decontaminate(images=(str(folder),))


def found(stage: Decontaminate, rows: pa.Table, scratch: Path) -> dict[str, str | None]:
    written = stage.reduce(rows, str(scratch))
    assert written.schema.equals(Decontaminate.writes)
    return dict(zip(rows["sample_id"].to_pylist(), written["evaluation_image"].to_pylist(), strict=True))


def pictures(shared_data: Path | None, count: int) -> list[Image.Image]:
    if shared_data is None:
        return [drawn(seed) for seed in range(count)]
    paths = sorted((shared_data / "photos").glob("**/*.jpg"))[:: 168 // count][:count]
    return [Image.open(path).convert("RGB") for path in paths]


@pytest.mark.parametrize("real", [False, True], ids=["drawn", "photographs"])
def test_edits_are_found_and_strangers_are_not(real: bool, shared_data: Path | None, tmp_path: Path) -> None:
    """Half of the pictures are the evaluation set; the samples are edits of all of them."""
    images = pictures(shared_data if real else None, 40)
    chosen = {f"{number}.jpg": encoded(image, 95) for number, image in enumerate(images[:20])}
    stage = evaluation_set(tmp_path / "val", chosen)
    samples: dict[str, bytes | None] = {
        f"{number} {edit}": encoded(work(image), 70)
        for number, image in enumerate(images)
        for edit, work in EDITS.items()
    }
    answer = found(stage, table(samples), tmp_path)
    right = {name for name in samples if int(name.split()[0]) < 20}
    hits = {name for name, item in answer.items() if item is not None}
    assert not hits - right
    assert len(hits) >= 0.95 * len(right)
    assert {name: answer[name] for name in hits} == {name: f"val/{name.split()[0]}.jpg" for name in hits}


def test_the_same_bytes_always_and_mirror_images_by_choice(tmp_path: Path) -> None:
    white, image = encoded(Image.new("RGB", (90, 90), "white")), drawn(1)
    stage = evaluation_set(
        tmp_path / "val", {"w.jpg": white, "p.jpg": encoded(image), "q.jpg": encoded(image)}
    )
    rows = table(
        {
            "a": white,
            "b": encoded(Image.new("RGB", (91, 90), "white")),  # without detail: only its bytes speak
            "c": encoded(image),
            "d": None,
            "e": encoded(EDITS["mirrored"](image), 60),
        }
    )
    assert found(stage, rows, tmp_path) == {
        "a": "val/w.jpg",
        "b": None,
        "c": "val/p.jpg",
        "d": None,
        "e": "val/p.jpg",
    }
    upright = Decontaminate(images=stage.images, match_flips=False)
    assert found(upright, rows, tmp_path)["e"] is None


def test_nothing_with_detail_on_either_side(tmp_path: Path) -> None:
    white = encoded(Image.new("RGB", (90, 90), "white"))
    plain = evaluation_set(tmp_path / "plain", {"w.jpg": white})
    assert found(plain, table({"a": encoded(drawn(1)), "b": white}), tmp_path) == {
        "a": None,
        "b": "plain/w.jpg",
    }
    rich = evaluation_set(tmp_path / "rich", {"p.jpg": encoded(drawn(1))})
    assert found(rich, table({"a": white, "b": None}), tmp_path) == {"a": None, "b": None}
    assert found(rich, table({"a": white}).slice(0, 0), tmp_path) == {}


def test_the_order_of_rows_and_of_sets_does_not_matter(tmp_path: Path) -> None:
    one = evaluation_set(tmp_path / "one", {f"{n}.jpg": encoded(drawn(n)) for n in range(4)})
    two = evaluation_set(tmp_path / "two", {f"{n}.jpg": encoded(drawn(n), 70) for n in range(2, 6)})
    rows = table({f"{n} {e}": encoded(work(drawn(n))) for n in range(8) for e, work in EDITS.items()})
    both = Decontaminate(images=(*one.images, *two.images))
    expected = found(both, rows, tmp_path)
    assert len([name for name, item in expected.items() if item]) >= 34
    mixed = rows.take(pa.array(np.random.default_rng(0).permutation(len(rows))))
    assert found(Decontaminate(images=both.images[::-1]), mixed, tmp_path) == expected
    pieces = pa.concat_tables([rows.slice(0, 17), rows.slice(17)])
    assert found(both, pieces, tmp_path) == expected


def test_without_sets_nothing_is_read_and_nothing_found() -> None:
    assert Decontaminate().reads == ()
    written = Decontaminate().reduce(pa.table({"sample_id": ["a", "b"]}), "")
    assert written.to_pylist() == [{"evaluation_image": None, "evaluation_caption": None}] * 2
    assert Decontaminate().contents == ()


def test_captions_are_looked_for_in_both_columns(tmp_path: Path) -> None:
    (tmp_path / "parti.tsv").write_text("Prompt\tNote\na dog\tshort\nA red car on the street.\tlong\n")
    stage = Decontaminate(captions=(str(tmp_path / "parti.tsv"),))
    assert stage.reads == ("caption", "caption_original")
    near, far = "a RED car, on the street", "a horse in a field of corn"
    rows = pa.table(
        {
            "sample_id": list("abcde"),
            "caption": [near, far, None, "a dog", None],
            "caption_original": [far, near, near, "a dog", None],
        }
    )
    captions = stage.reduce(rows, str(tmp_path))["evaluation_caption"].to_pylist()
    assert captions == ["parti:2", "parti:2", "parti:2", None, None]


def test_the_rule_gives_the_reason() -> None:
    def texts(*values: str | None) -> pa.ChunkedArray:
        return pa.chunked_array([pa.array(values, pa.string())])

    images, captions = texts("a", None, "a", None), texts(None, "b", "b", None)
    rows = pa.table({"evaluation_image": images, "evaluation_caption": captions})
    image, caption = NotInEvaluation.reasons
    assert NotInEvaluation().decide(rows).to_pylist() == [image, caption, image, None]


@pytest.fixture(scope="module")
def crawl(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A folder of samples, one of evaluation images, and a file of evaluation captions."""
    folder = tmp_path_factory.mktemp("contaminated")
    samples, images, captions = folder / "crawl", folder / "coco", folder / "prompts.txt"
    samples.mkdir()
    images.mkdir()
    for number in range(5):
        (images / f"{number}.jpg").write_bytes(encoded(drawn(number), 95))
    captions.write_text("a round thing stands beside a square\n")
    files = {f"copy-{edit}": (work(drawn(0)), "words") for edit, work in EDITS.items()}
    files |= {f"other-{number}": (drawn(number), f"picture {number}") for number in range(20, 24)}
    files["told"] = (drawn(30), "A round thing stands, beside a SQUARE!")
    for name, (image, caption) in files.items():
        (samples / f"{name}.jpg").write_bytes(encoded(image, 80))
        (samples / f"{name}.txt").write_text(caption)
    return samples, images, captions


def test_a_build_drops_them_with_the_reason(
    crawl: tuple[Path, Path, Path], tmp_path: Path, cli: Any, folder_source: Any
) -> None:
    samples, images, captions = crawl
    small = ["--set", "min_side=1", "--set", "pack.resolutions=32", "--workers", "1", "--json"]
    line = ["build", "l-pp", "--store", tmp_path / "store", *folder_source(samples), *small]
    clean = cli(*line)
    assert clean.code == 0, clean.err
    assert "in_evaluation_image" not in clean.json["dropped"]
    sets = ["--set", f"decontaminate.images={images}", "--set", f"decontaminate.captions={captions}"]
    done = cli(*line, *sets)
    assert done.code == 0, done.err
    assert done.json["dropped"] == {"in_evaluation_image": len(EDITS), "in_evaluation_caption": 1}
    assert done.json["kept"] == 4
    made = {stage["name"] for stage in done.json["stages"] if not stage["reused"]}
    assert made == {"decontaminate", "join", "select", "pack"}
    assert cli("export", "l-pp", tmp_path / "out", "--as", "parquet", "--store", tmp_path / "store").code == 0
    rows = {row["source_key"]: row for row in pq.read_table(tmp_path / "out" / "samples.parquet").to_pylist()}
    assert {rows[f"copy-{edit}.jpg"]["evaluation_image"] for edit in EDITS} == {"coco/0.jpg"}
    assert rows["told.jpg"]["evaluation_caption"] == "prompts:1"
    images.rename(images.with_name("moved")).rename(images)  # another time of change: the same set
    again = cli(*line, *sets)
    assert all(stage["reused"] for stage in again.json["stages"])
    missing = cli(*line, "--set", "decontaminate.images=nowhere")
    assert missing.code == 2
    assert "images=nowhere: there is no such folder" in missing.message
