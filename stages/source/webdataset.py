"""Source ``webdataset``: tars of samples, read where they lie."""

from __future__ import annotations

import glob
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa

from stages.source.meta import meta_json
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
    """

    kind: ClassVar[str] = "webdataset"
    path: str = ""
    caption_column: str = "caption"

    def identity(self) -> dict[str, Any]:
        digests = sorted(file_sha256(Location.of(tar)) for tar in tars_at(self.path))
        return {"kind": self.kind, "tars": digests, "caption_column": self.caption_column}

    def plan(self) -> Iterator[pa.Table]:
        for tar in tars_at(self.path):
            yield pa.table({"tar": [tar]})

    def tar_in_place(self, portion: pa.Table) -> str | None:
        return str(portion["tar"][0].as_py())

    def read(self, portion: pa.Table, scratch: str) -> Iterator[RawSample]:
        tar = Location.of(portion["tar"][0].as_py())
        with tar.open() as file:
            samples: dict[str, dict[str, Member]] = {}
            for member in walk(file, tar.url, tar.size()):
                folder, _, name = member.name.rpartition("/")
                stem, _, extension = name.partition(".")
                samples.setdefault(f"{folder}/{stem}".lstrip("/"), {})[extension.lower()] = member
            for key, members in samples.items():
                yield self._sample(file, key, members, tar.url)

    def _sample(self, file: Any, key: str, members: dict[str, Member], tar: str) -> RawSample:
        caption, fields = None, None
        if "json" in members:
            fields = _json_object(read_member(file, members["json"]), f"{key}.json in {tar}")
            found = fields.pop(self.caption_column, None)
            caption = None if found is None else str(found)
        if "txt" in members:
            caption = read_member(file, members["txt"]).decode("utf-8", "replace")
        url = fields.get("url") if fields else None
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


def read_member(file: Any, member: Member) -> bytes:
    file.seek(member.offset)
    return bytes(file.read(member.size))


def _json_object(data: bytes, name: str) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except ValueError:
        return {"json_error": f"{name} is not valid JSON"}
    return value if isinstance(value, dict) else {"json": value}
