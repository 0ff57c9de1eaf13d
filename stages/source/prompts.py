"""Where the prompts of generated images come from: a file, the recipe itself, or another dataset."""

from __future__ import annotations

import csv
import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from stages.source.fields import text_or_none
from stages.source.paths import expanded
from store.digest import file_sha256
from store.errors import MashbillError, UsageError
from store.location import Location
from store.schema import storable
from store.store import Store, open_store
from store.versions import find_version

FORMATS = (".txt", ".csv", ".tsv", ".jsonl", ".parquet")


@dataclass(frozen=True)
class Prompt:
    """One prompt as it was found: ``fields`` came beside it, ``error`` is the reason not to use it."""

    text: str
    fields: dict[str, Any] = field(default_factory=dict)
    error: str | None = None


class Prompts(ABC):
    """A list of prompts."""

    kind: ClassVar[str]

    def found_in(self, store: Store) -> Prompts:
        """As ``Source.found_in``."""
        return self

    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """Whatever decides which prompts come, plain JSON.

        Raises:
            MashbillError: there are none.
        """

    @abstractmethod
    def read(self) -> Iterator[Prompt]:
        """The prompts as they are written, in order."""


@dataclass(frozen=True)
class PromptFile(Prompts):
    """A ``.txt`` with a prompt a line, or a ``.csv``, ``.tsv``, ``.jsonl`` or ``.parquet`` table.

    ``column`` names the prompts in a table; every other column goes to ``meta``. In tsv files quotes
    are ordinary characters. Lines of a jsonl that are no object enter as ``unreadable_row``.
    """

    kind: ClassVar[str] = "file"
    path: str = ""
    column: str = "prompt"

    def identity(self) -> dict[str, Any]:
        return {"kind": self.kind, "sha256": file_sha256(Location.of(self._file())), "column": self.column}

    def read(self) -> Iterator[Prompt]:
        file = self._file()
        rows = {".txt": self._lines, ".jsonl": self._json_lines, ".parquet": self._parquet}
        yield from rows.get(file.suffix, self._separated)(file)

    def _file(self) -> Path:
        file = Path(expanded(self.path))
        if not self.path or not file.is_file():
            raise MashbillError(
                f"source.prompts.path={self.path!r}: no such file. Give a list of prompts: "
                "--set source.prompts.path=FILE"
            )
        if file.suffix not in FORMATS:
            raise MashbillError(f"source.prompts.path={self.path}: expected a file in {', '.join(FORMATS)}")
        return file

    def _lines(self, file: Path) -> Iterator[Prompt]:
        with file.open(encoding="utf-8-sig", errors="replace") as opened:
            for line in opened:
                yield Prompt(line)

    def _separated(self, file: Path) -> Iterator[Prompt]:
        csv.field_size_limit(2**31 - 1)  # the default of 128 KiB is shorter than some texts
        with file.open(encoding="utf-8-sig", errors="replace", newline="") as opened:
            if file.suffix == ".tsv":
                table = csv.DictReader(opened, restkey="more_cells", delimiter="\t", quoting=csv.QUOTE_NONE)
            else:
                table = csv.DictReader(opened, restkey="more_cells")
            self._check(table.fieldnames or [])
            for row in table:
                yield self._prompt(row)

    def _json_lines(self, file: Path) -> Iterator[Prompt]:
        seen: list[str] = []
        with file.open(encoding="utf-8-sig", errors="replace") as opened:
            for line in filter(str.strip, opened):
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError):
                    row = None
                if not isinstance(row, dict):
                    yield Prompt(line, error="unreadable_row")
                    continue
                if not seen:
                    self._check(seen := list(row))
                yield self._prompt(row)

    def _parquet(self, file: Path) -> Iterator[Prompt]:
        try:
            table = pq.ParquetFile(file)
        except (pa.ArrowInvalid, OSError) as error:
            raise MashbillError(f"{file} cannot be read as Parquet: {error}") from error
        self._check(table.schema_arrow.names)
        for batch in table.iter_batches(batch_size=1000):
            yield from map(self._prompt, batch.to_pylist())

    def _check(self, names: Any) -> None:
        if self.column not in names:
            raise MashbillError(
                f"{self.path} has no column {self.column!r}; it has {', '.join(map(str, names)) or 'none'}. "
                "Name the right one: --set source.prompts.column=NAME"
            )

    def _prompt(self, row: dict[str, Any]) -> Prompt:
        return Prompt(text_or_none(row.pop(self.column, None)) or "", row)


@dataclass(frozen=True)
class PromptList(Prompts):
    """Prompts that the recipe itself holds."""

    kind: ClassVar[str] = "list"
    prompts: tuple[str, ...] = ()

    def identity(self) -> dict[str, Any]:
        if not self.prompts:
            raise UsageError("source.prompts.prompts is empty: give at least one prompt")
        return {"kind": self.kind, "prompts": list(self.prompts)}

    def read(self) -> Iterator[Prompt]:
        yield from map(Prompt, self.prompts)


@dataclass(frozen=True)
class PromptDataset(Prompts):
    """Captions of the kept samples of a dataset version, in order of ``sample_id``.

    ``dataset`` is ``NAME`` or ``NAME@VERSION``; without a version the newest there is when the build
    begins. ``captions``: ``first``, or ``all`` that a sample has in its column ``captions``; where it has
    none, its ``caption``. ``meta`` of an image says which sample it was (``parent``), in
    which split that is (``parent_split``), and what it was asked to show (``asked``).
    ``store``: where the dataset lies; empty: in the store that is built into.
    """

    kind: ClassVar[str] = "dataset"
    dataset: str = ""
    captions: str = "all"
    store: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if self.captions not in ("all", "first"):
            raise UsageError(f"source.prompts.captions={self.captions}: expected all or first")

    def found_in(self, store: Store) -> PromptDataset:
        """The same with the exact version, and where it lies.

        Raises:
            MashbillError: there is no such dataset.
        """
        if not self.dataset:
            raise UsageError("source.prompts.dataset is empty: give the NAME or NAME@VERSION of a dataset")
        there = open_store(self.store) if self.store else store
        version = find_version(there, self.dataset)
        return replace(self, dataset=f"{version.dataset}@{version.version}", store=there.url)

    def identity(self) -> dict[str, Any]:
        return {"kind": self.kind, "dataset": self.dataset, "captions": self.captions}

    def read(self) -> Iterator[Prompt]:
        version = find_version(open_store(self.store), self.dataset)
        several = ["captions"] if "captions" in version.table.names() else []
        rows = version.samples(["sample_id", "caption", *several, "split", "meta"])
        rows = rows.filter(pc.is_null(version.reasons()))
        for batch in rows.to_batches(max_chunksize=1000):
            for row in batch.to_pylist():
                texts = row.get("captions") or [row["caption"]]
                fields = {"parent": row["sample_id"], "parent_split": row["split"]} | asked_of(row["meta"])
                for text in texts[: 1 if self.captions == "first" else None]:
                    yield Prompt(text or "", fields)


def asked_of(meta: str | None) -> dict[str, Any]:
    """``{"asked": ...}`` where ``meta`` says what a prompt was to show; else empty."""
    asked = json.loads(meta).get("asked") if meta else None
    return {"asked": asked} if isinstance(asked, dict) else {}


def checked(prompts: Iterator[Prompt]) -> Iterator[Prompt]:
    """The prompts without white space around them; those not to use with their reason.

    ``empty_prompt``: nothing is left. ``repeated_prompt``: the same words came before; it would make the
    same images. Holds 16 bytes for each prompt.
    """
    seen: set[bytes] = set()
    for prompt in prompts:
        text = storable(prompt.text.strip()) or ""
        digest = hashlib.sha256(text.encode()).digest()[:16]
        found = "repeated_prompt" if digest in seen else None
        seen.add(digest)
        yield replace(prompt, text=text, error=prompt.error or (found if text else "empty_prompt"))


def prompt_id(text: str) -> str:
    """16 hex digits that depend on the prompt's words alone."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]
