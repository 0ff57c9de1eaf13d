"""Drawn scenes as a folder: true captions beside them, and as many as asked."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from tinyworld.__main__ import main
from tinyworld.caption import caption
from tinyworld.scene import random_scene


def test_every_scene_has_its_true_caption(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "scenes"
    line = ["draw", str(folder), "--samples", "12", "--size", "48", "--seed", "5", "--workers", "1"]
    assert main(line) == 0
    assert "12 scenes of 48x48 pixels" in capsys.readouterr().out
    assert len(list(folder.iterdir())) == 24
    lengths = set()
    for seed in range(5, 17):
        with Image.open(folder / f"{seed:08d}.jpg") as image:
            assert (image.size, image.format) == ((48, 48), "JPEG")
        words = (folder / f"{seed:08d}.txt").read_text()
        scene = random_scene(seed)
        (length,) = [kind for kind in ("long", "short") if words == caption(scene, kind)]
        lengths.add(length)
    assert lengths == {"long", "short"}


@pytest.mark.parametrize("wrong", [["--samples", "0"], ["--size", "8"]])
def test_what_cannot_be_drawn_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], wrong: list[str]
) -> None:
    assert main(["draw", str(tmp_path / "scenes"), *wrong]) == 2
    assert "expected 1 or more samples of 16 pixels or more" in capsys.readouterr().err
    assert not (tmp_path / "scenes").exists()


def test_a_folder_in_use_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    assert main(["draw", str(tmp_path), "--samples", "1"]) == 2
    assert "is not empty" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
