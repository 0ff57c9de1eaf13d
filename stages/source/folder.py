"""Source ``folder``: image files with ``.txt`` or ``.json`` sidecars."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from stages.image.picture import ext_for
from stages.source.fields import json_object, text_or_none
from stages.source.meta import meta_json
from stages.source.paths import expanded, listing
from stages.stage import Source
from store.errors import MashbillError, UsageError
from store.schema import storable
from store.sources import RawSample

SIDECARS = (".txt", ".json")


@dataclass(frozen=True)
class Folder(Source):
    """Every file under ``path`` that is not hidden and not a sidecar, in order of its relative name.

    ``a/b.jpg`` takes its caption from ``a/b.txt``, else from the field ``caption_column`` of the JSON
    object in ``a/b.json``; the other fields go to ``meta``, and what is wrong with a JSON file too
    (``json_error``). A sample is named by its relative path.
    """

    kind: ClassVar[str] = "folder"
    path: str = ""
    caption_column: str = "caption"
    shard_size: int = 1000

    def __post_init__(self) -> None:
        if self.shard_size < 1:
            raise UsageError(f"shard_size={self.shard_size}: expected 1 or more")

    def identity(self) -> dict[str, Any]:
        digest = listing(self._root, self._files(with_sidecars=True))
        return {"kind": self.kind, "listing": digest, "caption_column": self.caption_column}

    @property
    def _root(self) -> Path:
        return Path(expanded(self.path))

    def plan(self) -> Iterator[pa.Table]:
        names = self._files(with_sidecars=False)
        for start in range(0, len(names), self.shard_size):
            yield pa.table({"name": names[start : start + self.shard_size]})

    def read(self, portion: pa.Table, scratch: str) -> Iterator[RawSample]:
        for name in portion["name"].to_pylist():
            yield self._sample(name)

    def _sample(self, name: str) -> RawSample:
        file = self._root / name
        caption, fields = self._sidecars(file)
        try:
            image = file.read_bytes()
        except OSError as error:
            detail = f"{file}: {error.strerror}"
            return RawSample(name, name, caption, None, meta=fields, error="unreadable_file", detail=detail)
        return RawSample(name, name, caption, image, meta=fields, extension=ext_for(image))

    def _sidecars(self, file: Path) -> tuple[str | None, str | None]:
        text, data = file.with_suffix(".txt"), file.with_suffix(".json")
        caption = text.read_bytes().decode("utf-8", "replace").strip("\r\n") if text.is_file() else None
        if not data.is_file():
            return caption, None
        fields = json_object(data.read_bytes(), data.relative_to(self._root).as_posix())
        found = text_or_none(fields.pop(self.caption_column, None))
        return found if caption is None else caption, meta_json(fields)

    def _files(self, with_sidecars: bool) -> list[str]:
        root = self._root
        if not self.path or not root.is_dir():
            raise MashbillError(f"source.path={self.path}: no such folder")
        files = (path for path in root.rglob("*") if path.is_file())
        names = [path.relative_to(root).as_posix() for path in files]
        shown = [n for n in names if not any(part.startswith(".") for part in n.split("/"))]
        images = [n for n in shown if not n.endswith(SIDECARS)]
        odd = [name for name in shown if name != storable(name)]
        if odd:
            raise MashbillError(
                f"source.path={self.path}: {len(odd)} file names are not UTF-8, such as {odd[0]!a}. "
                "Rename them; convmv does it for many."
            )
        if not images:
            raise MashbillError(f"source.path={self.path}: no files in this folder")
        return sorted(shown if with_sidecars else images)
