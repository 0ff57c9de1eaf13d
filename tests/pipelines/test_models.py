"""Models that a build names: by their bytes, by a commit, wherever they lie."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
CLIP = ROOT / "tinyworld/models/clip"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
TIMEOUT_S = 240
RECIPE = """
from dataclasses import replace
from pipelines.dataset import Dataset
from pipelines.recipes.l_orig import l_orig
from stages.image.crop import Crop
from stages.image.crop_scorers import Clip
from stages.score.clip_similarity import ClipSimilarity

def scored() -> Dataset:
    base = l_orig()
    crop = Crop(scorer=Clip())
    columns = [crop if isinstance(stage, Crop) else stage for stage in base.columns]
    return replace(base, name="scored", columns=(*columns, ClipSimilarity()))
"""


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory, photos: Any, folder_source: Any) -> list[str]:
    """Builds the recipe, but for its store and models."""
    folder = tmp_path_factory.mktemp("recipe")
    (folder / "scored_with.py").write_text(RECIPE)
    some = folder / "photos"
    some.mkdir()
    for number in range(3):
        shutil.copy(photos.path / f"photo-0{number}.jpg", some)
        shutil.copy(photos.path / f"photo-0{number}.txt", some)
    options = ["--set", "pack.resolutions=64", "--workers", "1", "--json"]
    return ["build", f"{folder}/scored_with.py:scored", *folder_source(some), *options]


def models(name: object) -> list[str]:
    return ["--set", f"clip_similarity.model={name}", "--set", f"crop.scorer.model={name}"]


def manifest(store: Path, version: str) -> dict[str, Any]:
    return dict(json.loads((store / "datasets/scored" / version / "manifest.json").read_text()))


def test_one_model_in_two_folders_gives_one_version(tmp_path: Path, line: list[str], cli: Any) -> None:
    found = []
    for name in ("one", "two/deeper"):
        shutil.copytree(CLIP, tmp_path / name)
        done = cli(*line, "--store", tmp_path / "store-of" / name, *models(tmp_path / name))
        assert done.code == 0, done.err
        found.append(done.json)
    one, two = found
    assert one["version"] == two["version"]
    assert [s["fingerprint"] for s in one["stages"]] == [s["fingerprint"] for s in two["stages"]]
    named = manifest(tmp_path / "store-of/one", one["version"])["models"]
    assert set(named) == {"clip_similarity.model", "crop.scorer.model"}
    assert named["crop.scorer.model"].startswith(f"{tmp_path}/one@files:")

    store = tmp_path / "store-of/one"
    dry = cli(*line, "--store", store, *models("tinyworld/models/clip"), "--dry-run")
    assert all(stage["reused"] for stage in dry.json["stages"])
    config = tmp_path / "one/config.json"
    config.write_text(json.dumps(json.loads(config.read_text()), indent=1))
    again = cli(*line, "--store", store, *models(tmp_path / "one")).json
    assert {s["name"] for s in again["stages"] if not s["reused"]} >= {"crop", "clip_similarity"}
    assert again["version"] != one["version"]


def test_a_branch_of_the_hub_is_a_commit_from_here_on(
    tmp_path: Path, line: list[str], command: tuple[list[str], dict[str, str]]
) -> None:
    folder = tmp_path / "home/hub/models--org--clip"
    snapshot = folder / "snapshots" / COMMIT
    (folder / "refs").mkdir(parents=True)
    (folder / "refs/main").write_text(COMMIT)
    shutil.copytree(CLIP, snapshot)
    start, environment = command
    environment = environment | {"HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"}

    def build(*options: str) -> Any:
        whole = [*start, *line, "--store", str(tmp_path / "store"), *models("org/clip"), *options]
        return subprocess.run(whole, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S)

    done = build()
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    told = manifest(tmp_path / "store", answer["version"])
    assert told["models"]["clip_similarity.model"] == f"org/clip@{COMMIT}"
    assert told["recipe"]["columns"][-1]["revision"] == COMMIT
    (folder / "refs/main").unlink()
    refused = build("--dry-run")
    assert refused.returncode == 1
    assert "model='org/clip' at revision 'main' cannot be loaded" in refused.stderr
    assert "revision=COMMIT" in refused.stderr
    named = build(
        "--dry-run", "--set", f"crop.scorer.revision={COMMIT}", "--set", f"clip_similarity.revision={COMMIT}"
    )
    assert all(stage["reused"] for stage in json.loads(named.stdout.splitlines()[-1])["stages"])
