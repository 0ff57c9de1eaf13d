"""The images and rows of one source, in shards, each committed once.

A shard is a tar of images and a Parquet file of rows (``store.schema.SAMPLE_ROWS``), and exists when
its mark ``shards/00000.json`` does. Tars that were on disk already are named, not copied.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from store.digest import file_sha256
from store.extras import with_extras
from store.location import Location
from store.parquet import read_table, table_bytes, write_table
from store.schema import SAMPLE_ROWS, sample_id, storable
from store.tar import TarWriter


@dataclass(frozen=True)
class RawSample:
    """One sample as a source found it.

    ``locator`` and ``caption`` make its ``sample_id``. ``image`` is the file's bytes, or None with
    ``error`` (a reason code) and ``detail``. ``place`` is the ``(offset, size)`` of the image in the
    tar it was found in; only for sources that leave their tars where they are. ``extra`` are arrays that
    belong to the image, ``(name, bytes of a .npy file)``; ``store.extras`` reads them.
    """

    locator: str
    source_key: str
    caption: str | None
    image: bytes | None
    url: str | None = None
    meta: str | None = None
    error: str | None = None
    detail: str | None = None
    extension: str = "bin"
    place: tuple[int, int] | None = None
    extra: tuple[tuple[str, bytes], ...] = ()


@dataclass(frozen=True)
class Shard:
    """One committed shard. ``tar`` is a name beside the rows, or where a tar lies that was left in place."""

    index: int
    rows: int
    images: int
    rows_file: str
    rows_sha256: str
    tar: str
    tar_bytes: int
    tar_sha256: str


@dataclass(frozen=True)
class StoredSource:
    """A source in the store, complete or growing."""

    location: Location

    @property
    def fingerprint(self) -> str:
        return self.location.name

    @property
    def complete(self) -> bool:
        return (self.location / "source.json").exists()

    def manifest(self) -> dict[str, Any]:
        """``source`` (settings), ``rows``, ``shards``."""
        return dict((self.location / "source.json").read_json())

    def shards(self) -> list[Shard]:
        return [Shard(**entry) for entry in self.manifest()["shards"]]

    def rows(self, shard: Shard, columns: Sequence[str] | None = None) -> pa.Table:
        return read_table(self.location / "shards" / shard.rows_file, columns)

    def tar(self, shard: Shard) -> Location:
        return self.tar_named(shard.tar)

    def tar_named(self, tar: str) -> Location:
        """A tar by what its shard says: a name beside the rows, ``../<source>/shards/<name>`` of another
        source of this store, or a URL."""
        if tar.startswith("../"):
            return self.location.parent / tar.removeprefix("../")
        return Location.of(tar) if "/" in tar else self.location / "shards" / tar

    def _said_of(self, tar: str) -> str:
        """What ``tar_named`` finds again wherever the store lies."""
        sources = f"{self.location.parent.url}/"
        return f"../{tar.removeprefix(sources)}" if tar.startswith(sources) else tar

    # The plan: what each shard will read, kept so that a later process reads the same.

    def planned(self) -> int | None:
        """Number of portions, or None while there is no plan."""
        mark = self.location / "plan.json"
        return int(mark.read_json()["portions"]) if mark.exists() else None

    def write_plan(self, portions: Iterable[pa.Table]) -> int:
        count = 0
        for portion in portions:
            write_table(self.location / "plan" / f"{count:05d}.parquet", portion)
            count += 1
        (self.location / "plan.json").write_json({"portions": count})
        return count

    def portion(self, index: int) -> pa.Table:
        return read_table(self.location / "plan" / f"{index:05d}.parquet")

    # Shards.

    def present(self) -> set[int]:
        """Indices of the shards that are there, by one listing."""
        names = (self.location / "shards").names()
        marks = (name.removesuffix(".json") for name in names if name.endswith(".json"))
        return {int(mark) for mark in marks if mark.isdigit()}

    def write_shard(self, index: int, samples: Iterable[RawSample], tar: str | None) -> Shard:
        """Write and commit one shard; where another process was first, theirs stands.

        Args:
            tar: URL of the tar that the samples' ``place`` refers to; None to write a new one.
        """
        folder = self.location / "shards"
        rows: list[dict[str, Any]] = []
        if tar is None:
            tar, tar_bytes, tar_sha256 = _write_tar(folder, index, samples, rows)
        else:
            rows.extend(_row(sample, sample.place) for sample in samples)
            tar_bytes, tar_sha256 = Location.of(tar).size(), file_sha256(Location.of(tar))
            tar = self._said_of(tar)
        table = pa.Table.from_pylist(rows, SAMPLE_ROWS)
        images = table.num_rows - table["image_offset"].null_count
        rows_file, digest = self._write_rows(index, table)
        shard = Shard(index, table.num_rows, images, rows_file, digest, tar, tar_bytes, tar_sha256)
        mark = folder / f"{index:05d}.json"
        return shard if mark.create_json(asdict(shard)) else Shard(**mark.read_json())

    def _write_rows(self, index: int, table: pa.Table) -> tuple[str, str]:
        """Rows under a name with their own hash, so that a second writer cannot disturb the first."""
        data = table_bytes(table)
        digest = hashlib.sha256(data).hexdigest()
        name = f"{index:05d}-{digest[:12]}.parquet"
        (self.location / "shards" / name).write_bytes(data)
        return name, digest

    def complete_with(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Commit the whole source once every planned shard is there.

        Rows that repeat another row in locator and caption get an id of their own and the reason
        ``repeated_row``, so that ids are unique and every row that entered is accounted for.
        """
        folder = self.location / "shards"
        count = self.planned() or 0
        shards = [Shard(**(folder / f"{i:05d}.json").read_json()) for i in range(count)]
        shards = self._number_repeats(shards)
        manifest = {
            "source": settings,
            "rows": sum(shard.rows for shard in shards),
            "shards": [asdict(shard) for shard in shards],
        }
        (self.location / "source.json").create_json(manifest)
        return self.manifest()

    def _number_repeats(self, shards: list[Shard]) -> list[Shard]:
        ids = [self.rows(shard, ["sample_id"])["sample_id"].to_numpy() for shard in shards]
        everything = np.concatenate(ids).astype("S24") if ids else np.array([], "S24")
        unique, counts = np.unique(everything, return_counts=True)
        repeated = set(unique[counts > 1].astype(str).tolist())
        if not repeated:
            return shards
        touched = {i: self.rows(shard) for i, shard in enumerate(shards) if repeated & set(ids[i])}
        numbers = _repeat_numbers(touched, repeated)
        result = list(shards)
        for i, table in touched.items():
            rows_file, digest = self._write_rows(shards[i].index, _renumbered(table, numbers, i))
            result[i] = replace(shards[i], rows_file=rows_file, rows_sha256=digest)
        return result


def _write_tar(
    folder: Location, index: int, samples: Iterable[RawSample], rows: list[dict[str, Any]]
) -> tuple[str, int, str]:
    """Write a new tar of images and captions; fills ``rows``. Returns name, bytes and SHA-256."""
    with folder.temporary() as path:
        with open(path, "wb") as file:
            tar = TarWriter(file)
            for sample in samples:
                rows.append(row := _row(sample, None))
                if sample.image is None:
                    continue
                member = tar.add(f"{row['sample_id']}.{sample.extension}", sample.image)
                row.update(image_offset=member.offset, image_size=member.size)
                if sample.caption:
                    tar.add(f"{row['sample_id']}.txt", sample.caption.encode("utf-8", "replace"))
                for name, data in sample.extra:
                    tar.add(f"{row['sample_id']}.{name}.npy", data)
            tar.close()
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        name = f"{index:05d}-{digest[:12]}.tar"
        (folder / name).adopt(path)
    return name, tar.position, digest


def _row(sample: RawSample, place: tuple[int, int] | None) -> dict[str, Any]:
    return {
        "sample_id": sample_id(sample.locator, sample.caption),
        "source_key": storable(sample.source_key),
        "url": storable(sample.url),
        "caption_original": storable(sample.caption),
        "meta": storable(with_extras(sample.meta, sample.extra)),
        "image_offset": place[0] if place else None,
        "image_size": place[1] if place else None,
        "source_error": sample.error,
        "source_detail": storable(sample.detail),
    }


def _repeat_numbers(
    tables: dict[int, pa.Table], repeated: set[str]
) -> dict[tuple[int, int], tuple[str, int]]:
    """``(shard position, row) -> (sample_id, number)``; 0 is the row that stays.

    The order depends on what the rows say and not on where they lie, so that cutting the input into
    other shards keeps the same row.
    """
    found = []
    for i, table in tables.items():
        columns = table.select(["sample_id", "source_error", "meta", "source_key"]).to_pydict()
        for row, key in enumerate(columns["sample_id"]):
            if key in repeated:
                error, meta = columns["source_error"][row] or "", columns["meta"][row] or ""
                found.append((key, error, meta, columns["source_key"][row], i, row))
    numbers, last, number = {}, None, 0
    for key, *_, i, row in sorted(found):
        number = number + 1 if key == last else 0
        numbers[i, row], last = (key, number), key
    return numbers


def _renumbered(table: pa.Table, numbers: dict[tuple[int, int], tuple[str, int]], i: int) -> pa.Table:
    rows = table.to_pylist()
    for row, values in enumerate(rows):
        key, number = numbers.get((i, row), ("", 0))
        if number:
            values["sample_id"] = sample_id(key, None, number)
            values["source_error"] = values["source_error"] or "repeated_row"
    return pa.Table.from_pylist(rows, SAMPLE_ROWS)
