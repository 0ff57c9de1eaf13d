"""Source ``webdataset``: tars of samples, read where they lie."""

from __future__ import annotations

import glob
import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa

from stages.source.fields import json_object, text_or_none
from stages.source.meta import meta_json
from stages.source.paths import expanded
from stages.stage import Source
from store.digest import file_sha256
from store.errors import MashbillError
from store.location import Location
from store.sources import RawSample
from store.tar import Member, walk

IMAGES = ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "avif", "jp2", "img", "bin")


@dataclass(frozen=True)
class WebDataset(Source):
    """Tars under ``path`` (one tar, a folder of tars, or a glob), one image shard each, not copied.

    Files that share a name up to the first dot are one sample: an image, a ``.txt`` caption and a
    ``.json`` object (its field ``caption_column`` is the caption where there is no ``.txt``). A sample
    is named by its key and its image's bytes, so cutting the same samples into other tars keeps ids.
    Where a key has an extension a second time, a second sample begins. The source is named by the
    tars' bytes and places: the store points into them, so tars that moved are taken in again.
    """

    kind: ClassVar[str] = "webdataset"
    path: str = ""
    caption_column: str = "caption"

    def identity(self) -> dict[str, Any]:
        tars = [[tar, file_sha256(Location.of(tar))] for tar in tars_at(self.path)]
        return {"kind": self.kind, "tars": tars, "caption_column": self.caption_column}

    def plan(self) -> Iterator[pa.Table]:
        for tar in tars_at(self.path):
            yield pa.table({"tar": [tar]})

    def tar_in_place(self, portion: pa.Table) -> str | None:
        return str(portion["tar"][0].as_py())

    def read(self, portion: pa.Table, scratch: str) -> Iterator[RawSample]:
        tar = Location.of(portion["tar"][0].as_py())
        with tar.open() as file:
            for key, members in _samples(walk(file, tar.url, tar.size())):
                yield self._sample(file, key, members)

    def _sample(self, file: Any, key: str, members: dict[str, Member]) -> RawSample:
        caption, fields = None, None
        if "json" in members:
            fields = json_object(read_member(file, members["json"]), f"{key}.json")
            caption = text_or_none(fields.pop(self.caption_column, None))
        if "txt" in members:
            caption = read_member(file, members["txt"]).decode("utf-8", "replace")
        url = text_or_none(fields.get("url")) if fields else None
        meta = meta_json(fields or {})
        kinds = [extension for extension in IMAGES if extension in members]
        if not kinds:
            return RawSample(key, key, caption, None, url, meta, "image_missing", ", ".join(members))
        image = members[kinds[0]]
        data = read_member(file, image)
        locator = f"{key}\0{hashlib.sha256(data).hexdigest()}"
        place = (image.offset, image.size)
        return RawSample(locator, key, caption, data, url, meta, place=place)


def tars_at(path: str) -> list[str]:
    """URLs of the tars at ``path``, sorted.

    Raises:
        MashbillError: none there.
    """
    path = expanded(path)
    if "://" in path:
        found = [Location.of(path).url] if path.endswith(".tar") else []
        if not found:
            folder = Location.of(path)
            found = [(folder / name).url for name in folder.names() if name.endswith(".tar")]
    elif os.path.isdir(path):
        found = glob.glob(os.path.join(glob.escape(path), "**", "*.tar"), recursive=True)
    else:
        found = glob.glob(path)
    if not found:
        raise MashbillError(f"source.path={path}: no .tar files there")
    return sorted(os.path.abspath(item) if "://" not in item else item for item in found)


def _samples(members: Iterable[Member]) -> list[tuple[str, dict[str, Member]]]:
    """Key and files by extension (lower case) of each sample, in the order in which they begin."""
    samples: list[tuple[str, dict[str, Member]]] = []
    latest: dict[str, dict[str, Member]] = {}
    for member in members:
        folder, _, name = member.name.rpartition("/")
        stem, _, extension = name.partition(".")
        key, extension = f"{folder}/{stem}".lstrip("/"), extension.lower()
        if key not in latest or extension in latest[key]:
            latest[key] = {}
            samples.append((key, latest[key]))
        latest[key][extension] = member
    return samples


def read_member(file: Any, member: Member) -> bytes:
    file.seek(member.offset)
    return bytes(file.read(member.size))
