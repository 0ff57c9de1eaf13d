"""Captions of an evaluation set, read from text files and tables."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from stages.source.paths import expanded
from store.errors import UsageError

FILES = (".txt", ".tsv", ".csv", ".json", ".jsonl", ".parquet")
COLUMNS = ("caption", "prompt", "text", "captions")
"""Names of a column of captions, in lower or upper case; the first there is counts."""


def caption_items(path: str) -> Iterator[tuple[str, str]]:
    """Name and text of every caption of a file; ``PartiPrompts:17`` is of its 17th row (of a .txt: line).

    A ``.txt`` has one caption on each line; the tables have a column of ``COLUMNS``, of texts or of lists
    of texts. A ``.json`` is a list of objects, or COCO's object with such a list as ``annotations``.

    Raises:
        UsageError: the file cannot be read as what its name says, or has no column of captions.
    """
    file = Path(expanded(path))
    try:
        for number, value in enumerate(_values(file), 1):
            for text in value if isinstance(value, list) else [value]:
                if text is not None and text.strip():
                    yield f"{file.stem}:{number}", text
    except (OSError, ValueError, AttributeError, csv.Error, pa.ArrowException) as error:
        raise UsageError(f"captions={path}: {file.name} cannot be read: {error}") from error


def _values(file: Path) -> Iterator[Any]:
    match file.suffix.lower():
        case ".txt":
            yield from file.read_text("utf-8-sig").split("\n")
        case ".tsv" | ".csv" as suffix:
            yield from _separated(file, tabs=suffix == ".tsv")
        case ".json" | ".jsonl" as suffix:
            yield from _objects(file, lines=suffix == ".jsonl")
        case ".parquet":
            name = _column(pq.read_schema(file).names)
            yield from pq.read_table(file, columns=[name])[name].to_pylist()
        case suffix:
            raise ValueError(f"it ends in {suffix or 'nothing'}; expected {', '.join(FILES)}")


def _separated(file: Path, tabs: bool) -> Iterator[str | None]:
    csv.field_size_limit(2**31 - 1)  # the default of 128 KiB is shorter than some captions
    with file.open(encoding="utf-8-sig", newline="") as opened:
        lines = csv.reader(opened, delimiter="\t", quoting=csv.QUOTE_NONE) if tabs else csv.reader(opened)
        header = next(lines, [])
        place = header.index(_column(header))
        for line in lines:
            yield line[place] if place < len(line) else None


def _objects(file: Path, lines: bool) -> Iterator[Any]:
    text = file.read_text("utf-8-sig")
    rows = [json.loads(line) for line in text.split("\n") if line.strip()] if lines else json.loads(text)
    if isinstance(rows, dict):
        rows = rows.get("annotations")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError("expected JSON objects, one for each caption")
    name = _column(dict.fromkeys(key for row in rows for key in row))
    yield from (row.get(name) for row in rows)


def _column(names: Iterable[str]) -> str:
    there = {name.lower(): name for name in reversed(list(names))}
    found = next((there[name] for name in COLUMNS if name in there), None)
    if found is None:
        raise ValueError(f"no column is named {', '.join(COLUMNS)}; it has {', '.join(sorted(there))}")
    return found
