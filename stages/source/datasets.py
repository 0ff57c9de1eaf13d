"""Source ``datasets``: an id on the hub or a local folder, streamed by the ``datasets`` package."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from stages.image.picture import ext_for
from stages.source.fields import text_or_none
from stages.source.meta import meta_json
from stages.source.paths import expanded, listing
from stages.stage import Source
from store.errors import MashbillError
from store.sources import RawSample


@dataclass(frozen=True)
class HubDataset(Source):
    """``datasets.load_dataset(path, revision=..., split=..., streaming=True)``, a shard per file.

    Images come as the bytes that are stored, never decoded and encoded again. A sample is named by
    its image's bytes. Without ``revision`` a hub id means its newest revision on the day of the
    first build; later builds into the same store keep what that one read.
    """

    kind: ClassVar[str] = "datasets"
    path: str = ""
    split: str = "train"
    revision: str = ""
    image_column: str = "image"
    caption_column: str = "caption"

    def identity(self) -> dict[str, Any]:
        columns = [self.image_column, self.caption_column]
        identity = {"kind": self.kind, "split": self.split, "columns": columns}
        if not self.path:
            raise MashbillError("source.path is empty; give a datasets id or a local folder")
        folder = Path(expanded(self.path))
        if folder.is_dir():
            names = (file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())
            return identity | {"listing": listing(folder, sorted(names))}
        return identity | {"id": self.path, "revision": self.revision}

    def plan(self) -> Iterator[pa.Table]:
        for index in range(self._open().num_shards):
            yield pa.table({"file": [index]})

    def read(self, portion: pa.Table, scratch: str) -> Iterator[RawSample]:
        stream = self._open()
        index = portion["file"][0].as_py()
        part = stream.shard(num_shards=stream.num_shards, index=index)
        for number, row in enumerate(part):
            yield self._sample(dict(row), f"{index:05d}-{number:07d}")

    def _sample(self, row: dict[str, Any], key: str) -> RawSample:
        image, caption = row.pop(self.image_column), text_or_none(row.pop(self.caption_column))
        url, meta = text_or_none(row.get("url")), meta_json(row)
        data = (image or {}).get("bytes")
        if data is None and image and image.get("path"):
            data = Path(image["path"]).read_bytes()
        if data is None:
            return RawSample(key, key, caption, None, url, meta, "image_missing")
        locator = hashlib.sha256(data).hexdigest()
        return RawSample(locator, key, caption, data, url, meta, extension=ext_for(data))

    def _open(self) -> Any:
        import datasets  # a second to import; only this source pays for it

        path, revision = expanded(self.path), self.revision or None
        try:
            stream = datasets.load_dataset(path, split=self.split, revision=revision, streaming=True)
        except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
            raise MashbillError(
                f"source.path={self.path}: the datasets package cannot open split {self.split!r} "
                f"({type(error).__name__}: {error}). Check the id, the revision and the network."
            ) from error
        names = stream.column_names or []
        for field, column in (("image", self.image_column), ("caption", self.caption_column)):
            if column not in names:
                raise MashbillError(
                    f"source.path={self.path} has no column {column!r}; it has {', '.join(names)}. "
                    f"Name it with source.{field}_column."
                )
        return stream.cast_column(self.image_column, datasets.Image(decode=False))
