"""Dataset versions: what was kept, what was left out and why, and the packs made of it.

A version is named by its content: the digest of its samples and of the settings that chose them. It
exists when its ``manifest.json`` does, and that is written only when its samples add up.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from store.digest import file_sha256
from store.errors import MashbillError
from store.location import Location
from store.parquet import read_table
from store.store import Store
from store.tables import LEADING, PLACES, SampleTable

REASONS = "selection.parquet"
"""A version's file with the column ``reason``, row for row beside its sample table."""
NAME = r"[a-z0-9][a-z0-9.-]{0,79}"
"""Dataset names: what is safe as a folder on every filesystem."""


@dataclass(frozen=True)
class Version:
    """A committed or growing dataset version: a sample table and, for each row of it, a reason or none."""

    dataset: str
    version: str
    location: Location

    @property
    def complete(self) -> bool:
        return (self.location / "manifest.json").exists()

    def manifest(self) -> dict[str, Any]:
        return dict((self.location / "manifest.json").read_json())

    @property
    def table(self) -> SampleTable:
        """The columns of every sample that entered."""
        store = self.location.parent.parent.parent
        return SampleTable(store / "tables" / self.manifest()["table"])

    def reasons(self) -> pa.ChunkedArray:
        """For each row of the table why it was left out; null where it was kept."""
        return read_table(self.location / REASONS)["reason"]

    def samples(self, columns: Sequence[str] | None = None) -> pa.Table:
        """One row per sample that entered, sorted by ``sample_id``, with ``kept`` and ``reason``."""
        return decided_samples(self.table, self.reasons(), columns)

    def parts(self) -> Iterator[pa.Table]:
        """``samples``, all columns, some rows at a time; at least one table."""
        reasons, start, names = self.reasons(), 0, all_names(self.table)
        for part in self.table.parts():
            reason = reasons.slice(start, len(part))
            found = _named(part) | {"kept": pc.is_null(reason), "reason": reason}
            yield pa.table({name: found[name] for name in names})
            start += len(part)

    def pack(self, name: str) -> Location:
        return self.location / "packs" / name

    def gone(self) -> list[str]:
        """Files of a committed version that are not there."""
        files = self.manifest()["files"]
        folders = {name.rpartition("/")[0] for name in files}
        there = {path: set((self.location / path if path else self.location).names()) for path in folders}
        return [name for name in files if name.rsplit("/", 1)[-1] not in there[name.rpartition("/")[0]]]

    def withdraw_if_broken(self) -> None:
        """Take back a version of which files are gone, so that a build makes them again.

        Its dataset is then known by another version, or not at all, until that is done.
        """
        gone = self.gone() if self.complete else []
        for pack in {name.rsplit("/", 1)[0] for name in gone if name.startswith("packs/")}:
            (self.location / pack / "pack.json").remove()
        if gone:
            (self.location / "manifest.json").remove()
            self._forget()

    def _forget(self) -> None:
        folder = self.location.parent
        newest = folder / "newest.json"
        if not newest.exists() or newest.read_json()["version"] != self.version:
            return
        others = [name for name in folder.names() if (folder / name / "manifest.json").exists()]
        newest.write_json({"version": others[0]}) if others else newest.remove()

    def commit(self, manifest: dict[str, Any]) -> None:
        """Make the version exist and the newest of its dataset.

        Raises:
            MashbillError: in is not kept plus dropped; the version is refused.
        """
        check_accounts(manifest)
        if not self.complete:
            (self.location / "manifest.json").write_json(manifest)
        newest, value = self.location.parent / "newest.json", {"version": self.version}
        if not newest.exists() or newest.read_json() != value:
            newest.write_json(value)


def decided_samples(
    table: SampleTable, reasons: pa.Array | pa.ChunkedArray, columns: Sequence[str] | None = None
) -> pa.Table:
    """Some columns of a table or its places; or all of the table, with ``kept`` and ``reason``."""
    columns = all_names(table) if columns is None else columns
    found = {"kept": pc.is_null(reasons), "reason": reasons}
    places = [name for name in columns if name in PLACES]
    found |= _named(table.places(places)) if places else {}
    stored = [name for name in columns if name not in found]
    found |= _named(table.read(stored)) if stored else {}
    return pa.table({name: found[name] for name in columns})


def all_names(table: SampleTable) -> list[str]:
    """The columns of a table with ``kept`` and ``reason`` after the leading ones."""
    names = table.names()
    leading = sum(name in LEADING for name in names)
    return [*names[:leading], "kept", "reason", *names[leading:]]


def _named(table: pa.Table) -> dict[str, pa.ChunkedArray]:
    return dict(zip(table.column_names, table.columns, strict=True))


def check_accounts(manifest: dict[str, Any]) -> None:
    """Refuse a manifest in which samples are lost or counted twice."""
    steps = [("the whole", manifest)] + [(s["name"], s) for s in manifest["selection"]]
    for name, step in steps:
        entered, kept = step["samples_in"], step["kept"]
        dropped = sum(step["dropped"].values())
        if entered != kept + dropped:
            raise MashbillError(
                f"{name} does not add up: {entered} in, {kept} kept and {dropped} dropped. "
                "The version was not committed; this is a defect, please report it."
            )


def version_at(store: Store, dataset: str, version: str) -> Version:
    """The place of a version, whether or not it exists yet."""
    return Version(dataset, version, store.datasets / dataset / version)


LATEST = "latest"


def find_version(store: Store, name: str) -> Version:
    """``NAME`` or ``NAME@latest`` (its newest version), or ``NAME@VERSION`` (of which 4 characters do).

    Raises:
        MashbillError: no such dataset or version; the message lists those there are.
    """
    dataset, _, wanted = name.partition("@")
    dataset = dataset.replace("_", "-")
    folder = store.datasets / dataset
    if not re.fullmatch(NAME, dataset) or not (folder / "newest.json").exists():
        there = ", ".join(list_datasets(store)) or "none yet"
        raise MashbillError(f"no dataset {dataset!r} in {store.url}; there are: {there}")
    if wanted in ("", LATEST):
        wanted = (folder / "newest.json").read_json()["version"]
    versions = list_versions(store, dataset)
    found = [v for v in versions if v == wanted or (len(wanted) >= 4 and v.startswith(wanted))]
    if len(found) != 1:
        problem = "is not one of" if not found else "fits more than one of"
        raise MashbillError(f"{dataset}@{wanted} {problem} the versions: {', '.join(versions)}")
    return version_at(store, dataset, found[0])


def list_datasets(store: Store) -> list[str]:
    return [n for n in store.datasets.names() if (store.datasets / n / "newest.json").exists()]


def list_versions(store: Store, dataset: str) -> list[str]:
    """Committed versions, sorted by name."""
    names = (store.datasets / dataset).names()
    return [name for name in names if version_at(store, dataset, name).complete]


def verify(store: Store, version: Version) -> list[str]:
    """Everything the version stands on, hashed again: a line for each file that is not as committed."""
    manifest = version.manifest()
    check_accounts(manifest)
    problems = _changed(version.location, manifest["files"])
    table = store.table(manifest["table"])
    mark = table.location / "table.json"
    problems += _changed(table.location, table.manifest()["files"]) if mark.exists() else [_missing(mark)]
    source = store.source(manifest["source"]["fingerprint"])
    if not source.complete:
        problems.append(_missing(source.location / "source.json"))
    for shard in source.shards() if source.complete else []:
        problems += _changed(source.location / "shards", {shard.rows_file: shard.rows_sha256})
        tar = source.tar(shard)
        problems += _changed(tar.parent, {tar.name: shard.tar_sha256})
    for entry in manifest["stages"]:
        columns = store.column_set(entry["name"], entry["fingerprint"])
        if "files" in entry:  # the set lacks a shard that this version left out
            problems += _changed(columns.location, entry["files"])
        elif columns.complete:
            problems += _changed(columns.location, columns.manifest()["files"])
        else:
            problems.append(_missing(columns.location / "column_set.json"))
    return problems


def _missing(file: Location) -> str:
    return f"{file.url} is missing"


def _changed(folder: Location, files: dict[str, str]) -> list[str]:
    problems = []
    for name, expected in files.items():
        file = folder / name
        if not file.exists():
            problems.append(_missing(file))
        elif file_sha256(file) != expected:
            problems.append(f"{file.url} has other bytes than were committed")
    return problems
