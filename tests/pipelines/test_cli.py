"""The command line: what it prints, where, and how it ends."""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from store.store import FORMAT, open_store
from store.versions import find_version

BUILD_KEYS = {"dataset", "version", "samples_in", "kept", "dropped", "stages", "elapsed_s"}
STAGE_KEYS = {"name", "fingerprint", "rows", "reused", "seconds"}
EXPORTED = [
    *("sample_id", "url", "source_key", "caption", "caption_original", "width", "height", "kept"),
    *("reason", "crop_left", "crop_top", "crop_right", "crop_bottom", "cluster_id", "split"),
]
COMMANDS = ("quickstart", "build", "datasets", "show", "explain", "verify", "export")
COMMANDS += ("distill", "runs", "trigger")


def test_help_names_every_command_and_has_examples(cli: Any) -> None:
    done = cli("--help")
    assert done.code == 0
    assert "examples:" in done.out
    for name in COMMANDS:
        assert name in done.out
        told = cli(name, "--help")
        assert told.code == 0
        assert "--store" in told.out


@pytest.mark.parametrize(
    "line",
    [
        [],
        ["brew"],
        ["build"],
        ["build", "l-orig", "--no-such-option"],
        ["export", "l-orig", "somewhere", "--as", "excel"],
        ["export", "l-orig", "somewhere"],
        ["build", "l-orig", "--workers", "many"],
        ["build", "l-orig", "--workers", "0"],
        ["build", "l-orig", "--ray", "everywhere"],
        ["build", "no-such-recipe"],
        ["build", "nowhere.py:recipe"],
        ["build", "l-orig", "--resources", "decode=gpu:1"],
        ["build", "l-orig", "--store", "memory://somewhere", "--workers", "2"],
    ],
    ids=" ".join,
)
def test_wrong_usage_ends_with_2(line: list[str], cli: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    done = cli(*line)
    assert done.code == 2
    assert done.err
    assert "Traceback" not in done.err
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_recipe_lists_those_there_are(cli: Any) -> None:
    assert "l-orig, l-pp" in cli("build", "no-such-recipe").message


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("no.such.field=1", "pack.resolutions"),
        ("source.pth=x", "source.path"),
        ("pack.quality=high", "expected int"),
        ("pack.quality=101", "1 to 100"),
        ("pack.resolutions=64,big", "expected int"),
        ("pack.resolutions=-1", "expected pixels"),
        ("pack.samples_per_shard=0", "1 or more"),
        ("source.shard_size=0", "1 or more"),
        ("split.validation_share=2", "0 to 1"),
        ("source.kind=tape", "metadata, img2dataset, folder, webdataset, datasets"),
        ("crop.scorer.kind=luck", "center, known_boxes, detector, clip"),
        ("version=1", "no such field"),
        ("quality", "PATH=VALUE"),
        ("kind=folder", "fits more than one field"),
    ],
)
def test_a_wrong_setting_ends_with_2_and_says_what_is_valid(
    setting: str, says: str, cli: Any, tmp_path: Path
) -> None:
    done = cli("build", "l-orig", "--store", tmp_path / "store", "--set", setting)
    assert done.code == 2
    assert says in done.message
    assert setting.split("=")[0].split(".")[-1] in done.message
    assert not (tmp_path / "store").exists()


RECIPES = """
from __future__ import annotations
from dataclasses import dataclass, replace
from typing import ClassVar
import pyarrow as pa
from pipelines.recipes.l_orig import l_orig
from stages.stage import MapStage

@dataclass(frozen=True)
class Words(MapStage):
    '''Counts the words of a caption.'''
    name: ClassVar[str] = "words"
    version: ClassVar[int] = 1
    reads: ClassVar[tuple[str, ...]] = ("caption",)
    writes: ClassVar[pa.Schema] = pa.schema([("words", pa.int32())])
    wrong: str = ""

    def open(self):
        def run(batch):
            found = [len((text or "").split()) for text in batch.columns["caption"]]
            if self.wrong == "raises":
                raise ValueError("lost count")
            if self.wrong == "rows":
                found = found[1:]
            if self.wrong == "type":
                found = ["many"] * batch.size
            if self.wrong == "columns":
                return {"other": found}
            return {"words": found}
        return run

def counted():
    parent = l_orig()
    return replace(parent, name="counted", columns=(*parent.columns, Words()))

def raising():
    raise RuntimeError("no luck today")

def a_dict():
    return {}

def blind():
    return replace(l_orig(), columns=l_orig().columns[3:])

def twice():
    parent = l_orig()
    return replace(parent, columns=(*parent.columns, *parent.columns))

constant = 3
"""


@pytest.fixture(scope="module")
def recipes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("recipes") / "my_recipes.py"
    file.write_text(RECIPES)
    return file


def test_a_recipe_of_ones_own_with_a_stage_of_ones_own(
    tmp_path: Path, recipes: Path, photos: Any, mashbill: Any, folder_source: Any
) -> None:
    """With two workers, which have to find the stage too; progress is on stderr, JSON on stdout."""
    options = ["--workers", "2", "--set", "pack.resolutions=32", "--json"]
    line = ["build", f"{recipes}:counted", "--store", tmp_path / "store"]
    done = mashbill(*line, *folder_source(photos.path), *options)
    assert done.code == 0, done.err
    assert len(done.out.splitlines()) == 1
    assert "reading the source" in done.err
    assert set(done.json) == BUILD_KEYS
    assert all(set(stage) == STAGE_KEYS for stage in done.json["stages"])
    assert done.json["stages"][0]["name"] == "source"
    samples = find_version(open_store(tmp_path / "store"), "counted").samples().to_pylist()
    assert {row["words"] for row in samples if row["source_key"] == "photo-03.jpg"} == {6}


@pytest.mark.parametrize(
    ("function", "says"),
    [
        ("raising", "RuntimeError: no luck today"),
        ("a_dict", "returned dict, expected a Dataset"),
        ("absent", "no function 'absent'"),
        ("constant", "no function 'constant'"),
        ("blind", "split reads 'sha256', which nothing before it writes"),
        ("twice", "two stages are named content_hash"),
    ],
)
def test_a_wrong_recipe_ends_with_2(
    function: str, says: str, recipes: Path, cli: Any, tmp_path: Path, photos: Any, folder_source: Any
) -> None:
    done = cli("build", f"{recipes}:{function}", "--store", tmp_path / "s", *folder_source(photos.path))
    assert done.code == 2, done.err
    assert says in done.message


def test_a_recipe_file_that_cannot_be_imported(tmp_path: Path, cli: Any) -> None:
    (tmp_path / "half_written.py").write_text("def recipe(:\n")
    done = cli("build", f"{tmp_path / 'half_written.py'}:recipe")
    assert (done.code, "SyntaxError" in done.message) == (2, True)
    (tmp_path / "json.py").write_text("def recipe(): return 1\n")
    done = cli("build", f"{tmp_path / 'json.py'}:recipe")
    assert (done.code, "rename the file" in done.message) == (2, True)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ("raises", "ValueError: lost count"),
        ("rows", "a value for each row"),
        ("type", "no int32"),
        ("columns", "it must write words"),
    ],
)
def test_a_stage_that_goes_wrong_stops_the_build_and_is_named(
    wrong: str, says: str, tmp_path: Path, recipes: Path, photos: Any, cli: Any, folder_source: Any
) -> None:
    line = ["build", f"{recipes}:counted", "--store", tmp_path / "store", "--workers", "1"]
    done = cli(*line, *folder_source(photos.path, 100), "--set", f"words.wrong={wrong}")
    assert done.code == 1
    assert says in done.message
    assert "stage words" in done.message
    assert not (tmp_path / "store" / "datasets").exists()
    assert list((tmp_path / "store").glob("columns/words-*")) == []


def test_datasets_show_and_verify(built: Any, photos: Any, cli: Any) -> None:
    store, answer = built
    version = answer["version"]
    (entry,) = cli("datasets", "--store", store, "--json").json["datasets"]
    assert entry == {
        "dataset": "l-orig",
        "version": version,
        "samples_in": photos.count,
        "kept": photos.kept,
        "versions": [version],
    }
    assert f"l-orig@{version}" in cli("datasets", "--store", store).out
    shown = cli("show", f"l-orig@{version[:6]}", "--store", store, "--json").json
    assert shown["version"] == version
    assert shown["recipe"]["pack"]["resolutions"] == [64, 0]
    text = cli("show", "l-orig", "--store", store).out
    assert f"{photos.count} in = {photos.kept} kept + {photos.count - photos.kept} dropped" in text
    checked = cli("verify", "l-orig", "--store", store, "--json")
    assert (checked.code, checked.json["problems"]) == (0, [])
    assert "as it was committed" in cli("verify", "l-orig", "--store", store).out


def test_explain_tells_the_whole_story(built: Any, cli: Any) -> None:
    store, _ = built
    rows = find_version(open_store(store), "l-orig").samples().to_pylist()
    for row in rows:
        done = cli("explain", "l-orig", row["sample_id"], "--store", store, "--json")
        assert done.code == 0, done.err
        story = done.json
        assert (story["kept"], story["reason"]) == (row["kept"], row["reason"])
        assert story["source"]["source_key"] == row["source_key"]
        assert (story["decided_by"] is None) == row["kept"]
        assert len(story["packs"]) == (2 if row["kept"] else 0)
        for where in story["packs"]:
            with tarfile.open(where["tar"]) as tar:
                assert f"{where['key']}.json" in tar.getnames()
    gone = next(row for row in rows if row["reason"] == "truncated")
    text = cli("explain", "l-orig", gone["sample_id"][:10], "--store", store).out
    assert "dropped by readable: truncated" in text
    assert cli("explain", "l-orig", "", "--store", store).code == 1
    done = cli("explain", "l-orig", "zzzz", "--store", store)
    assert (done.code, "no sample" in done.message) == (1, True)


def test_export_as_parquet(tmp_path: Path, built: Any, photos: Any, cli: Any) -> None:
    store, _ = built
    done = cli("export", "l-orig", tmp_path / "out", "--as", "parquet", "--store", store)
    assert done.code == 0, done.err
    assert done.out.split() == [str(tmp_path / "out" / "samples.parquet")]
    table = pq.read_table(tmp_path / "out" / "samples.parquet")
    assert table.column_names[: len(EXPORTED)] == EXPORTED
    assert {"sha256", "format", "subject_kept"} <= set(table.column_names)
    assert table.num_rows == photos.count
    kept = [row for row in table.to_pylist() if row["kept"]]
    assert len(kept) == photos.kept
    for row in kept:
        assert row["reason"] is None
        assert 0 <= row["crop_left"] < row["crop_right"] <= row["width"]
        assert 0 <= row["crop_top"] < row["crop_bottom"] <= row["height"]
        assert row["split"] in ("train", "validation")


def test_export_as_webdataset(tmp_path: Path, built: Any, cli: Any) -> None:
    store, answer = built
    done = cli("export", "l-orig", tmp_path / "out", "--as", "webdataset", "--store", store)
    assert done.code == 0, done.err
    packs = store / "datasets/l-orig" / answer["version"] / "packs"
    files = sorted(file.relative_to(packs) for file in packs.rglob("*.*"))
    assert files
    for file in files:
        assert (tmp_path / "out" / file).read_bytes() == (packs / file).read_bytes()
    assert len(done.out.split()) == len(files)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (["show", "l-pp"], "there are: l-orig"),
        (["show", "l-orig@ffffffff"], "not one of the versions"),
        (["show", "../l-orig"], "no dataset"),
        (["verify", "l-orig@"], None),
        (["export", "nothing", "out", "--as", "parquet"], "no dataset"),
        (["explain", "nothing", "00"], "no dataset"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_unknown_names_list_what_there_is(line: list[str], says: str | None, built: Any, cli: Any) -> None:
    done = cli(*line, "--store", built[0])
    assert done.code == (1 if says else 0)
    if says:
        assert says in done.message


def prepare(place: Path, kind: str) -> None:
    if kind == "a file":
        place.write_text("not a folder")
    elif kind == "other files":
        place.mkdir()
        (place / "thesis.doc").write_text("mine")
    elif kind != "nothing":
        place.mkdir()
        text = {"garbage": "{half", "newer": json.dumps({"format": FORMAT + 1}), "list": "[1]"}[kind]
        (place / "store.json").write_text(text)


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("a file", ""),
        ("other files", "holds other files"),
        ("garbage", "not valid JSON"),
        ("newer", "Upgrade mashbill"),
        ("list", "does not look like"),
    ],
)
def test_a_store_that_cannot_be_used_is_left_alone(
    kind: str, says: str, tmp_path: Path, photos: Any, cli: Any, folder_source: Any, tree: Any
) -> None:
    prepare(tmp_path / "store", kind)
    before = tree(tmp_path, times=True)
    lines = [["build", "l-orig", *folder_source(photos.path)], ["datasets"], ["show", "l-orig"]]
    lines.append([*lines[0], "--dry-run"])
    for line in lines:
        done = cli(*line, "--store", tmp_path / "store")
        assert done.code == 1, (line, done.err)
        assert len(done.err.splitlines()) == 1
        assert str(tmp_path / "store") in done.message
        if line[0] == "build":
            assert says in done.message
    assert tree(tmp_path, times=True) == before


def test_commands_that_read_want_a_store(tmp_path: Path, cli: Any) -> None:
    for line in (["datasets"], ["show", "l-orig"], ["verify", "l-orig"], ["explain", "l-orig", "0"]):
        done = cli(*line, "--store", tmp_path / "nothing")
        assert (done.code, "no store at" in done.message) == (1, True)
    assert list(tmp_path.iterdir()) == []


def test_a_store_on_an_unknown_filesystem(cli: Any) -> None:
    done = cli("datasets", "--store", "carrier-pigeon://coop/store")
    assert done.code == 1
    assert "carrier-pigeon" in done.message


@pytest.mark.parametrize("kind", ["folder", "webdataset", "metadata", "img2dataset", "datasets"])
@pytest.mark.parametrize("path", ["", "no/such/place"])
def test_a_source_that_is_not_there(kind: str, path: str, tmp_path: Path, cli: Any, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "no" / "such").mkdir(parents=True)
    if kind == "datasets" and path:
        path = str(tmp_path / "no" / "such")  # a folder without data; an id would ask the network
    line = ["build", "l-orig", "--store", "store", "--set", f"source.kind={kind}"]
    done = cli(*line, "--set", f"source.path={path}")
    assert done.code == 1, done.err
    assert "source.path" in done.message


def test_explain_knows_what_broke_when_it_was_packed(built: Any, tmp_path: Path, cli: Any) -> None:
    store = Path(shutil.copytree(built[0], tmp_path / "store"))
    place = store / "datasets/l-orig" / built[1]["version"]
    samples = find_version(open_store(store), "l-orig").samples().to_pylist()
    kept = next(row for row in samples if row["kept"])
    pack = json.loads((place / "packs/64/pack.json").read_text())
    pack["dropped_samples"] = {kept["sample_id"]: "corrupt"}
    (place / "packs/64/pack.json").write_text(json.dumps(pack))
    story = cli("explain", "l-orig", kept["sample_id"], "--store", store, "--json").json
    assert [where["pack"] for where in story["packs"]] == ["original"]
