"""The kept samples of a dataset version, by item: their columns, and where their images lie.

The first time a queue is opened its rows are written once more, uncompressed (Arrow), and mapped into memory
from then on: opening a million rows takes no time, and a row is read without its neighbors.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from store.errors import MashbillError
from store.store import Store
from store.versions import Version

GROUP_ROWS = 1 << 16
ORDERS = 16
"""Of all items, each by one column, that are kept: 4 bytes an item each."""
FORMAT = 1
"""Of the written rows: a file of another format is not read."""
CROP = ("crop_left", "crop_top", "crop_right", "crop_bottom")
_PLACES = ("shard", "image_offset", "image_size")
_HIDDEN = {
    *("sample_id", "caption", "caption_original", "captions", "prompt", "width", "height", "cluster_id"),
    *("sha256", *CROP, *_PLACES),
}


@dataclass(frozen=True)
class Given:
    """The caption and crop of a sample as its columns have them; ``crop`` in pixels of the upright image."""

    caption: str
    crop: list[int] | None


@dataclass(frozen=True)
class Place:
    """Where an image lies, and what names its bytes."""

    item: int
    shard: int
    offset: int
    size: int
    sha256: str | None


class Catalog:
    """The rows of a queue, ``item`` being a row's number. Immutable, and safe to read from any thread."""

    def __init__(self, rows: pa.Table) -> None:
        self.rows = rows
        self._orders: OrderedDict[tuple[str, str], np.ndarray] = OrderedDict()
        self._lock = threading.Lock()
        self._batches = rows.to_batches(max_chunksize=GROUP_ROWS)
        self._starts = np.cumsum([0, *(batch.num_rows for batch in self._batches)])

    def __len__(self) -> int:
        return int(self.rows.num_rows)

    @property
    def names(self) -> list[str]:
        return list(self.rows.column_names)

    @cached_property
    def sample_ids(self) -> np.ndarray:
        """``S24``, sorted."""
        parts = [np.array(chunk.to_pylist(), "S24") for chunk in self.rows["sample_id"].chunks]
        return np.concatenate(parts) if parts else np.array([], "S24")

    def sample_id(self, item: int) -> str:
        return str(self.sample_ids[item].decode())

    def row(self, item: int) -> dict[str, Any]:
        """All columns of one item."""
        group = int(np.searchsorted(self._starts, item, "right")) - 1
        [found] = self._batches[group].slice(item - int(self._starts[group]), 1).to_pylist()
        return dict(found)

    def value(self, name: str, item: int) -> Any:
        return self.rows[name][item].as_py()

    def given(self, item: int) -> Given:
        """What an item has before anybody edited it."""
        box = [self.value(name, item) for name in CROP if name in self.names]
        crop = [int(side) for side in box] if len(box) == len(CROP) and None not in box else None
        return Given(self.value("caption", item) or "", crop)

    @cached_property
    def folded_captions(self) -> pa.ChunkedArray:
        """The captions as they came, in lower case: what words are looked for in."""
        return pc.utf8_lower(self.rows["caption"])

    def make_ready(self) -> None:
        """Read from the disk, and fold, what most queries look at; otherwise the first one does."""
        assert self.folded_captions is not None
        for name in self.names:
            if kind_of(self.rows[name].type) == "number":
                pc.min_max(self.rows[name])

    @cached_property
    def caption_lengths(self) -> np.ndarray:
        """Characters of every caption as it came: int32."""
        return np.asarray(pc.fill_null(pc.utf8_length(self.rows["caption"]), 0).to_numpy())

    def sorted_by(self, name: str, descending: bool) -> np.ndarray:
        """All items by a column, uint32; equal values stay in order, none come last; kept for the next."""
        key = (name, "descending" if descending else "ascending")
        with self._lock:
            if key in self._orders:
                self._orders.move_to_end(key)
                return self._orders[key]
        column = self.rows[name].combine_chunks()
        if pa.types.is_boolean(column.type):
            column = pc.cast(column, pa.int8())
        indices = pc.array_sort_indices(column, order=key[1], null_placement="at_end")
        found = np.asarray(indices.to_numpy(), np.uint32)
        with self._lock:
            self._orders[key] = found
            while len(self._orders) > ORDERS:
                self._orders.popitem(last=False)
        return found

    def place(self, item: int) -> Place:
        shard, offset, size = (self.value(name, item) for name in _PLACES)
        sha256 = self.value("sha256", item) if "sha256" in self.names else None
        return Place(item, shard, offset, size, sha256)

    @cached_property
    def shown(self) -> list[str]:
        """Columns that a card shows: one value each that a person can read, and not empty throughout."""
        return [
            field.name
            for field in self.rows.schema
            if field.name not in _HIDDEN
            and not field.name.startswith("phash")
            and kind_of(field.type) in ("number", "text", "bool")
            and self.rows[field.name].null_count < len(self)
        ]

    @cached_property
    def aspects(self) -> list[float]:
        """The shapes (width / height) of the crops there are, at most 32."""
        if "crop_aspect" not in self.names:
            return []
        return sorted(pc.unique(self.rows["crop_aspect"].drop_null()).to_pylist())[:32]

    @cached_property
    def clusters(self) -> Clusters:
        return (
            Clusters.of(self.rows["cluster_id"]) if "cluster_id" in self.names else Clusters.none(len(self))
        )


@dataclass(frozen=True)
class Clusters:
    """Which items look alike. ``codes``: int32 per item, -1 for none; ``sizes`` and ``names`` per code;
    ``order``: items by code, those of code ``c`` from ``starts[c]`` to ``starts[c + 1]``."""

    codes: np.ndarray
    sizes: np.ndarray
    names: list[str]
    order: np.ndarray
    starts: np.ndarray

    @classmethod
    def of(cls, column: pa.ChunkedArray) -> Clusters:
        encoded = column.combine_chunks().dictionary_encode()
        if isinstance(encoded, pa.ChunkedArray):
            encoded = encoded.combine_chunks()
        codes = pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False).astype(np.int32)
        names = encoded.dictionary.to_pylist()
        sizes = np.bincount(codes[codes >= 0], minlength=len(names)).astype(np.int32)
        order = np.argsort(codes, kind="stable").astype(np.uint32)
        starts = np.searchsorted(codes[order], np.arange(len(names) + 1))
        return cls(codes, sizes, names, order, starts)

    @classmethod
    def none(cls, count: int) -> Clusters:
        empty = np.zeros(0, np.int32)
        return cls(np.full(count, -1, np.int32), empty, [], np.zeros(0, np.uint32), np.zeros(1, np.int64))

    @cached_property
    def by_name(self) -> dict[str, int]:
        return {name: code for code, name in enumerate(self.names)}

    def name_of(self, item: int) -> str | None:
        code = int(self.codes[item])
        return self.names[code] if code >= 0 else None

    def size_of(self, item: int) -> int:
        """Items of the queue that look like this one, itself among them."""
        code = int(self.codes[item])
        return int(self.sizes[code]) if code >= 0 else 1

    def items(self, code: int) -> list[int]:
        return [int(item) for item in self.order[self.starts[code] : self.starts[code + 1]]]

    def item_sizes(self) -> np.ndarray:
        """``size_of`` every item: int32."""
        if not len(self.sizes):
            return np.ones(len(self.codes), np.int32)
        return np.where(self.codes >= 0, self.sizes[np.maximum(self.codes, 0)], 1)


def kind_of(kind: pa.DataType) -> str | None:
    """``number``, ``text``, ``bool``, ``list`` (of texts), or None for what no query speaks of."""
    types = pa.types
    if types.is_boolean(kind):
        return "bool"
    if types.is_integer(kind) or types.is_floating(kind):
        return "number"
    if types.is_string(kind) or types.is_large_string(kind):
        return "text"
    if types.is_list(kind) and types.is_string(kind.value_type):
        return "list"
    return None


def open_catalog(store: Store, version: Version) -> Catalog:
    """The catalog of a version's kept samples.

    Raises:
        MashbillError: the version has no images, or kept nothing.
    """
    path = _file(store, version)
    if not path.exists():
        _write(version, path)
    return Catalog(pa.ipc.open_file(pa.memory_map(str(path))).read_all())


def _file(store: Store, version: Version) -> Path:
    name = f"rows-{version.version}-{FORMAT}.arrow"
    if store.root.local:
        return Path((store.root / "curation" / version.dataset / name).path)
    return Path(tempfile.gettempdir(), f"mashbill-{os.getuid()}", "curation", version.dataset, name)


def _write(version: Version, path: Path) -> None:
    """The kept rows, some at a time, under a temporary name until they are whole."""
    kept = pc.is_null(version.reasons())
    if "image_offset" not in version.table.places().column_names or not pc.any(kept).as_py():
        raise MashbillError(
            f"{version.dataset}@{version.version} kept no samples: there is nothing to review. "
            "`mashbill show` says what was dropped and why."
        )
    places = version.table.places(_PLACES)
    path.parent.mkdir(parents=True, exist_ok=True)
    part, start = Path(f"{path}.{os.getpid()}"), 0
    writer = None
    with pa.OSFile(str(part), "wb") as sink:
        for rows in version.table.parts():
            mask = kept.slice(start, len(rows))
            here = places.slice(start, len(rows)).filter(mask)
            start += len(rows)
            columns = _with_prompt(rows.filter(mask))
            for name in _PLACES:
                columns = columns.append_column(name, here[name])
            writer = writer or pa.ipc.new_file(sink, columns.schema)
            for batch in columns.combine_chunks().to_batches(max_chunksize=GROUP_ROWS):
                writer.write_batch(batch)
        assert writer is not None
        writer.close()
    os.replace(part, path)


class _Meta(msgspec.Struct):
    prompt: str | None = None


def _with_prompt(rows: pa.Table) -> pa.Table:
    """The rows without ``meta``, but with the prompt that it names of generated images."""
    if "meta" not in rows.column_names:
        return rows
    decode = msgspec.json.Decoder(_Meta).decode
    if "prompt" not in rows.column_names:
        prompts = [_prompt(decode, text) for text in rows["meta"].to_pylist()]
        rows = rows.append_column("prompt", pa.array(prompts, pa.string()))
    return rows.drop_columns(["meta"])


def _prompt(decode: Any, text: str | None) -> str | None:
    if not text or '"prompt"' not in text:
        return None
    try:
        found: str | None = decode(text).prompt
    except msgspec.DecodeError:  # a crawl's own word for something else
        return None
    return found
