"""Lists of prompts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.source.prompts import Prompt, PromptDataset, PromptFile, PromptList, checked, prompt_id
from store.errors import MashbillError, UsageError
from store.store import open_store
from store.versions import find_version

TEXTS = ["a red cat", "  a red cat ", "", "two dogs, running", "   ", "a red cat"]
REASONS = [None, "repeated_prompt", "empty_prompt", None, "empty_prompt", "repeated_prompt"]


def write(folder: Path, name: str) -> Path:
    """The same prompts, with a category each, in any format."""
    file = folder / name
    rows = [{"prompt": text, "category": str(i)} for i, text in enumerate(TEXTS)]
    if file.suffix == ".txt":
        file.write_text("\ufeff" + "\n".join(TEXTS) + "\n", "utf-8")
    elif file.suffix == ".jsonl":
        file.write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    elif file.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), file)
    elif file.suffix == ".csv":
        lines = [f'{i},"{text}"' for i, text in enumerate(TEXTS)]
        file.write_text("\n".join(["category,prompt", *lines]) + "\n")
    else:
        file.write_text("\n".join(["prompt\tcategory", *(f"{r['prompt']}\t{r['category']}" for r in rows)]))
    return file


@pytest.mark.parametrize("name", ["p.txt", "p.csv", "p.tsv", "p.jsonl", "p.parquet"])
def test_every_format_gives_the_same_prompts(name: str, tmp_path: Path) -> None:
    found = list(checked(PromptFile(path=str(write(tmp_path, name))).read()))
    assert [prompt.text for prompt in found] == [text.strip() for text in TEXTS]
    assert [prompt.error for prompt in found] == REASONS
    if name != "p.txt":
        assert [prompt.fields for prompt in found] == [{"category": str(i)} for i in range(6)]


def test_a_line_that_is_no_object_is_counted(tmp_path: Path) -> None:
    file = tmp_path / "p.jsonl"
    file.write_text('{"prompt": "a"}\n{half\n["list"]\n{"prompt": null}\n{"prompt": 7}\n')
    found = list(checked(PromptFile(path=str(file)).read()))
    expected = [("a", None), ("{half", "unreadable_row"), ('["list"]', "unreadable_row")]
    assert [(p.text, p.error) for p in found] == [*expected, ("", "empty_prompt"), ("7", None)]


def test_a_changed_file_is_another_list(tmp_path: Path) -> None:
    file = write(tmp_path, "p.txt")
    before = PromptFile(path=str(file)).identity()
    moved = file.rename(tmp_path / "q.txt")
    assert PromptFile(path=str(moved)).identity() == before
    moved.write_text("another")
    assert PromptFile(path=str(moved)).identity() != before


@pytest.mark.parametrize(
    ("name", "column", "says"),
    [
        ("nowhere.txt", "prompt", "no such file"),
        ("", "prompt", "no such file"),
        ("p.csv", "caption", "has no column 'caption'; it has category, prompt"),
        ("p.jsonl", "caption", "has no column 'caption'; it has prompt, category"),
        ("p.md", "prompt", "expected a file in .txt"),
        ("p.parquet", "prompt", "cannot be read as Parquet"),
    ],
)
def test_wrong_files(name: str, column: str, says: str, tmp_path: Path) -> None:
    write(tmp_path, "p.csv")
    write(tmp_path, "p.jsonl")
    for other in ("p.md", "p.parquet"):
        (tmp_path / other).write_text("a red cat")
    source = PromptFile(path=str(tmp_path / name) if name else "", column=column)
    with pytest.raises(MashbillError, match=says):
        list(source.read())


def test_a_list_in_the_recipe() -> None:
    assert list(PromptList(("a", "b")).read()) == [Prompt("a"), Prompt("b")]
    with pytest.raises(UsageError, match="at least one prompt"):
        PromptList().identity()


def test_captions_of_a_dataset(built: tuple[Path, dict[str, Any]]) -> None:
    folder, result = built
    store = open_store(folder)
    found = PromptDataset(dataset="l-orig").found_in(store)
    assert found.dataset == f"l-orig@{result['version']}"
    assert found.found_in(store) == found
    assert found.identity() == PromptDataset(dataset=found.dataset).identity()
    version = find_version(store, "l-orig")
    kept = [
        row for row in version.samples(["sample_id", "caption", "split", "kept"]).to_pylist() if row["kept"]
    ]
    expected = [
        Prompt(row["caption"], {"parent": row["sample_id"], "parent_split": row["split"]}) for row in kept
    ]
    assert list(found.read()) == expected
    assert len(expected) == result["kept"]
    elsewhere = PromptDataset(dataset="l-orig", store=str(folder))
    assert list(elsewhere.found_in(store).read()) == expected


def test_a_dataset_that_is_not_there(built: tuple[Path, dict[str, Any]]) -> None:
    store = open_store(built[0])
    with pytest.raises(MashbillError, match=r"no dataset 'other' .* there are: l-orig"):
        PromptDataset(dataset="other").found_in(store)
    with pytest.raises(UsageError, match="dataset is empty"):
        PromptDataset().found_in(store)
    with pytest.raises(UsageError, match="expected all or first"):
        PromptDataset(dataset="l-orig", captions="some")


def test_prompt_ids_are_of_the_words_alone() -> None:
    assert prompt_id("a red cat") == prompt_id("a red cat")
    assert len({prompt_id(text) for text in ("a red cat", "a red cat.", "A red cat")}) == 3


@pytest.mark.parametrize(
    ("name", "column", "count"),
    [("parti/PartiPrompts.tsv", "Prompt", 1632), ("t2i_compbench/color_val.txt", "prompt", 300)],
)
def test_public_lists(name: str, column: str, count: int, shared_data: Path | None, tmp_path: Path) -> None:
    file = shared_data / "prompts" / name if shared_data else tmp_path / name
    if shared_data is None:  # the same layout, by hand
        file.parent.mkdir()
        file.write_text(f'{column}\tCategory\na "b" c\tAbstract\n' if column == "Prompt" else "a b c\n")
        count = 1
    found = list(checked(PromptFile(path=str(file), column=column).read()))
    assert len(found) == count
    assert {prompt.error for prompt in found} <= {None, "repeated_prompt"}
