"""The documents say what is so: their example runs, their links, commands, fields and names exist."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import distill_runs.recipes
import pipelines.recipes
from distill_runs.recipes.finetune_tiny import finetune_tiny
from pipelines.cli import _parser
from pipelines.dataset import Dataset
from pipelines.reason_words import meaning
from pipelines.recipe import run_recipe
from pipelines.recipes.l_pp import l_pp
from pipelines.settings import KINDS, apply_settings, paths
from stages.image.crop_scorers import CropScorer
from stages.stage import Source, View
from store.errors import UsageError

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TIMEOUT_S = 240

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def blocks(page: Path, language: str) -> list[str]:
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    return [text for found, text in fenced if found == language]


def spans(page: Path) -> list[str]:
    """What stands between single backticks, line breaks as spaces."""
    text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", text)]


def commands(page: Path, start: str) -> list[list[str]]:
    """Every command line that begins with ``start``, as words; optional parts count as given."""
    lines = [line for block in blocks(page, "") for line in block.splitlines()]
    found = [text for text in (*lines, *spans(page)) if text.startswith(f"{start} ")]
    return [re.sub(r"\[(--[^\]]*)\](\.\.\.)?", r"\1", text).split()[len(start.split()) :] for text in found]


def first_cells(page: Path, header: str) -> list[list[str]]:
    """The rows below the table head that begins with ``header``, as cells without backticks."""
    table = re.search(
        rf"^\| {header} \|.*\n\|[-| ]+\|\n((?:\|.*\n?)+)", page.read_text("utf-8"), re.MULTILINE
    )
    assert table, f"{page.name} has no table that begins with {header}"
    return [[cell.strip(" `") for cell in row.split("|")[1:-1]] for row in table[1].splitlines()]


# The example of a stage.


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory, make_jpeg: Callable[..., bytes]) -> Path:
    """A folder with the stages, the files of ``adding-a-stage.md`` and three photos, one of them dark."""
    folder = tmp_path_factory.mktemp("example")
    shutil.copytree(ROOT / "stages", folder / "stages", ignore=shutil.ignore_patterns("__pycache__"))
    for block in blocks(ROOT / "docs" / "adding-a-stage.md", "python"):
        file = folder / block.splitlines()[0].removeprefix("# ")
        assert file.suffix == ".py"
        assert not file.exists()
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(block, "utf-8")
    shutil.copy(ROOT / "tests" / "stages" / "test_contract.py", folder / "tests" / "stages")
    (folder / "photos").mkdir()
    for number in range(3):
        (folder / "photos" / f"{number}.jpg").write_bytes(make_jpeg(320 + 10 * number, 310, number))
        (folder / "photos" / f"{number}.txt").write_text(f"picture {number}")
    darken(folder / "photos" / "2.jpg")
    return folder


def darken(file: Path) -> None:
    from PIL import Image

    with Image.open(file) as image:
        dark = image.point(lambda value: value // 20)
    dark.save(file, "JPEG", quality=95)


def python(folder: Path, *arguments: str, code: int = 0) -> str:
    environment = {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr if code else done.stdout


def test_the_example_passes_its_own_test_and_the_contract(example: Path) -> None:
    options = ["-c", str(ROOT / "pyproject.toml"), "--rootdir", str(example), "-p", "no:cacheprovider"]
    out = python(
        example, "-m", "pytest", *options, "-vv", "-k", "known_values or Brightness or brightness", "tests"
    )
    assert "test_brightness.py::test_known_values PASSED" in out
    assert "test_contract.py::test_broken_images_spoil_no_neighbor[brightness-] PASSED" in out


def test_the_commands_of_the_example_build(example: Path) -> None:
    lines = commands(ROOT / "docs" / "adding-a-stage.md", "mashbill")
    assert len(lines) == 2
    first, second = (json.loads(python(example, "-m", "pipelines", *line, "--json")) for line in lines)
    assert (first["kept"], first["dropped"]) == (2, {"too_dark": 1})
    assert second["version"] != first["version"]
    assert all(stage["reused"] for stage in second["stages"] if stage["name"] not in ("select", "pack"))
    wrong = python(example, "-m", "pipelines", *lines[0], "--set", "min_luma=300", code=2)
    assert "min_luma=300.0: expected 0 to 255" in wrong


def test_the_example_is_clean(example: Path) -> None:
    made = [str(file) for file in example.rglob("*.py") if not (ROOT / file.relative_to(example)).exists()]
    assert len(made) == 3
    options = [
        "--no-cache",
        "--config",
        str(ROOT / "pyproject.toml"),
        "--config",
        f"src = ['{ROOT}', '{example}']",
    ]
    python(example, "-m", "ruff", "check", *options, *made)
    python(example, "-m", "ruff", "format", "--check", *options, *made)


def test_the_table_of_views_is_whole() -> None:
    listed = [row[0] for row in first_cells(ROOT / "docs" / "adding-a-stage.md", "view")]
    assert listed == [view.name for view in View]


# Links, commands, fields and files of every page.


@pages
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        if not re.match(r"[a-z]+:", target):
            path, _, anchor = target.partition("#")
            there = page.parent / path if path else page
            assert there.exists(), f"{page.name} links to {target}"
            assert not anchor or anchor in anchors(there), f"{page.name} links to {target}"


def anchors(page: Path) -> set[str]:
    heads = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pages
def test_commands_parse_and_set_fields_that_exist(page: Path) -> None:
    for words in commands(page, "mashbill"):
        given = ["1" if word == "N" else word for word in words]
        if len(given) == 1:  # a command named, not a line to type
            assert given[0] in command_names()
            continue
        options = parsed(given)
        recipes = {"build": pipelines.recipes, "distill": distill_runs.recipes}.get(given[0])
        if recipes is None or ".py:" in options.recipe or options.recipe.isupper():
            continue
        if options.settings == ["help"]:
            with pytest.raises(UsageError, match="valid are"):
                apply_settings(run_recipe(options.recipe, recipes), options.settings)
        else:
            apply_settings(run_recipe(options.recipe, recipes), options.settings)


def parsed(words: list[str]) -> Any:
    err = io.StringIO()
    with contextlib.redirect_stderr(err):
        try:
            return _parser().parse_args(words)
        except SystemExit:
            pytest.fail(f"mashbill {' '.join(words)}: {err.getvalue()}")


def command_names() -> set[str]:
    out = io.StringIO()
    with contextlib.redirect_stdout(out), pytest.raises(SystemExit):
        _parser().parse_args(["--help"])
    return set(re.findall(r"^    (\w+) ", out.getvalue(), re.MULTILINE))


@pages
def test_fields_named_in_passing_exist(page: Path) -> None:
    known = {".".join(path) for value in (*variants(), finetune_tiny()) for path in paths(value)}
    named = {m[1] for span in spans(page) for m in re.finditer(r"--set ([\w.]+)=", span)}
    if page.name != "distill.md":  # spans such as `source.fetch.max_bytes`
        named |= {
            span for span in spans(page) if re.fullmatch(r"(source|crop|pack|select|split)\.[\w.]+", span)
        }
    for field in named - {"source.json", "pack.json"}:
        assert any(f".{path}.".find(f".{field}.") >= 0 for path in known), f"{page.name}: {field}"


def variants() -> Iterator[Dataset]:
    """L-pp with every source and every crop scorer."""
    parent = l_pp()
    for source in KINDS[Source]:
        yield replace(parent, source=source())
    for scorer in KINDS[CropScorer]:
        yield apply_settings(parent, [f"crop.scorer.kind={scorer.kind}"])  # type: ignore[attr-defined]


@pages
def test_files_modules_and_make_targets_exist(page: Path) -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    assert {words[0] for words in commands(page, "make")} <= targets
    for words in commands(page, "python -m"):
        assert list(ROOT.glob(f"{words[0].replace('.', '/')}*")), f"{page.name}: python -m {words[0]}"
    ours = r"(store|stages|pipelines|distill_runs|tinyworld|benchmarks|tests)/[\w/.]+\.(py|html|css)"
    for span in spans(page):
        if re.fullmatch(ours, span):
            assert (ROOT / span).exists(), f"{page.name}: {span}"


# Names in tables.


def test_reasons_in_tables_are_known() -> None:
    outcomes = {row[2] for row in first_cells(ROOT / "docs" / "tiny-world.md", "kind")} - {"kept"}
    assert {"duplicate_near", "truncated", "opt_out"} <= outcomes
    assert [reason for reason in sorted(outcomes) if not meaning(reason)] == []


def test_columns_and_kinds_in_tables_exist() -> None:
    written = {name for stage in l_pp().columns for name in stage.writes.names}
    assert {row[0] for row in first_cells(ROOT / "docs" / "duplicates.md", "column")} <= written
    sources = {row[0].split("`")[0] for row in first_cells(ROOT / "docs" / "sources.md", "kind")}
    assert sources == {kind.kind for kind in KINDS[Source]}  # type: ignore[attr-defined]
    scorers = {row[0] for row in first_cells(ROOT / "docs" / "crops.md", "`--set crop.scorer.kind=`")}
    assert scorers == {kind.kind for kind in KINDS[CropScorer]}  # type: ignore[attr-defined]


def test_every_dependency_is_explained() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    listed = [row[0] for row in first_cells(ROOT / "docs" / "dependencies.md", "package")]
    assert listed == sorted(re.split(r"[\[<>=]", name)[0] for name in project["dependencies"])
    text = (ROOT / "docs" / "dependencies.md").read_text("utf-8")
    assert [
        name for name in project["optional-dependencies"]["dev"] if name.removesuffix("[binary]") not in text
    ] == []


def test_recipes_in_tables_exist() -> None:
    for row in first_cells(ROOT / "docs" / "build.md", "recipe"):
        assert isinstance(run_recipe(row[0], pipelines.recipes), Dataset)
