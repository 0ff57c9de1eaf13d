"""Evaluation sets are read whole or refused, and named by what they hold."""

from __future__ import annotations

import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.dedup.decontaminate import Decontaminate
from stages.dedup.evaluation_captions import caption_items
from stages.dedup.evaluation_images import described
from stages.dedup.evaluation_set import image_items
from store.digest import settings
from store.errors import MashbillError, UsageError

Jpeg = Callable[[int, int, int], bytes]


@pytest.fixture
def images(tmp_path: Path, make_jpeg: Jpeg) -> Path:
    folder = tmp_path / "a" / "val"
    (folder / "deep").mkdir(parents=True)
    (folder / "1.jpg").write_bytes(make_jpeg(80, 70, 1))
    (folder / "deep" / "no-suffix").write_bytes(make_jpeg(80, 70, 2))
    (folder / "again.JPG").write_bytes(make_jpeg(80, 70, 1))
    for name in ("captions.txt", ".hidden.jpg", "LICENSE"):
        (folder / name).write_text("no image")
    with tarfile.open(folder / "more.tar", "w") as tar:
        tar.add(folder / "1.jpg", "x/9.jpg")
        tar.add(folder / "captions.txt", "x/9.txt")
    return folder


def test_images_are_found_in_folders_and_tars(images: Path) -> None:
    names = ["val/1.jpg", "val/again.JPG", "val/deep/no-suffix", "val/more.tar/x/9.jpg"]
    assert [name for name, _ in image_items(str(images))] == names
    assert [name for name, _ in image_items(str(images / "more.tar"))] == ["more.tar/x/9.jpg"]
    found = described([str(images)])
    assert found["name"].to_pylist() == ["val/1.jpg", "val/deep/no-suffix"]


def test_what_a_set_holds_names_it_and_not_where_it_lies(
    images: Path, tmp_path: Path, make_jpeg: Jpeg
) -> None:
    here = Decontaminate(images=(str(images),))
    assert str(tmp_path) not in str(settings(here))
    shutil.copytree(images, tmp_path / "b" / "val")
    there = Decontaminate(images=(str(tmp_path / "b" / "val"),))
    assert (settings(there), there) == (settings(here), here)
    (tmp_path / "b" / "val" / "1.jpg").write_bytes(make_jpeg(80, 70, 3))
    assert settings(Decontaminate(images=there.images)) != settings(here)
    with pytest.raises(MashbillError, match="changed since the build began"):
        there.reduce(pa.table({"sample_id": ["a"]}), "")


def test_an_evaluation_image_that_cannot_be_read_is_named(images: Path, make_jpeg: Jpeg) -> None:
    (images / "deep" / "bad.png").write_bytes(b"no picture")
    with pytest.raises(UsageError, match=r"val/deep/bad\.png cannot be read \(not_an_image"):
        Decontaminate(images=(str(images),))
    (images / "deep" / "bad.png").write_bytes(make_jpeg(300, 200, 4)[:2500])  # its header can be read
    with pytest.raises(UsageError, match=r"val/deep/bad\.png cannot be read \(truncated"):
        described(Decontaminate(images=(str(images),)).images)


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "no.tar").write_text("no tar")
    (tmp_path / "blank.txt").write_text("\n \n")
    (tmp_path / "other.csv").write_text("url,alt\na,b\n")
    (tmp_path / "text.doc").write_text("a caption")
    (tmp_path / "broken.jsonl").write_text('{"caption": "a"}\n[1]\n')
    (tmp_path / "latin.txt").write_bytes("Gr\u00fcn".encode("latin-1"))
    for images, said in (("", "images=: there is no such"), ("none", "there is no such folder or tar")):
        with pytest.raises(UsageError, match=said):
            Decontaminate(images=(images and str(tmp_path / images),))
    for images, said in (("empty", "holds no images"), ("no.tar", "cannot be read as a tar")):
        with pytest.raises(UsageError, match=said):
            Decontaminate(images=(str(tmp_path / images),))
    expected = {
        "none.txt": "there is no such file",
        "empty": "there is no such file",
        "blank.txt": "holds no captions",
        "other.csv": "no column is named caption, prompt, text, captions; it has alt, url",
        "text.doc": "ends in .doc; expected .txt",
        "broken.jsonl": "expected JSON objects",
        "latin.txt": "latin.txt cannot be read: 'utf-8'",
    }
    for name, said in expected.items():
        with pytest.raises(UsageError, match=said):
            Decontaminate(captions=(str(tmp_path / name),))
    with pytest.raises(UsageError, match="min_words=0"):
        Decontaminate(min_words=0)


def test_captions_of_every_kind_of_file(tmp_path: Path) -> None:
    rows = [{"Prompt": 'a "b"', "x": 1}, {"x": 2}, {"Prompt": "c, d", "x": 3}]
    (tmp_path / "t.txt").write_text('a "b"\n\nc, d\n')
    (tmp_path / "t.tsv").write_text('Prompt\tx\na "b"\t1\n\t2\nc, d\t3\n')
    (tmp_path / "t.csv").write_text('x,Prompt\n1,"a ""b"""\n2\n3,"c, d"\n')
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "t.json").write_text(json.dumps(rows))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "t.parquet")
    for kind in ("txt", "tsv", "csv", "jsonl", "json", "parquet"):
        found = list(caption_items(str(tmp_path / f"t.{kind}")))
        assert found == [("t:1", 'a "b"'), ("t:3", "c, d")], kind
    (tmp_path / "coco.json").write_text('{"images": [], "annotations": [{"caption": "a"}]}')
    (tmp_path / "index.jsonl").write_text('{"captions": ["a", "b"]}\n{"captions": ["c"]}')
    assert list(caption_items(str(tmp_path / "coco.json"))) == [("coco:1", "a")]
    assert [name for name, _ in caption_items(str(tmp_path / "index.jsonl"))] == [
        "index:1",
        "index:1",
        "index:2",
    ]


def test_published_prompts_can_be_read(shared_data: Path | None, tmp_path: Path) -> None:
    (tmp_path / "PartiPrompts.tsv").write_text("Prompt\tCategory\nbond\tAbstract\n")
    expected = {"parti/PartiPrompts.tsv": 1}
    root = tmp_path
    if shared_data is None:
        (tmp_path / "parti").mkdir()
        shutil.move(tmp_path / "PartiPrompts.tsv", tmp_path / "parti")
    else:
        root = shared_data / "prompts"
        expected = {
            "parti/PartiPrompts.tsv": 1632,
            "geneval/evaluation_metadata.jsonl": 553,
            "imagereward/benchmark-prompts.json": 100,
            "drawbench/drawbench.txt": 200,
        }
    for name, count in expected.items():
        assert len(list(caption_items(str(root / name)))) == count
