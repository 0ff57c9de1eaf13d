"""Dataset versions: what was kept, what was left out and why, and the packs made of it.

A version is named by its content: the digest of its samples and of the settings that chose them. It
exists when its ``manifest.json`` does, and that is written only when its samples add up.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from store.digest import file_sha256
from store.errors import MashbillError
from store.location import Location
from store.parquet import read_table
from store.store import Store

NAME = r"[a-z0-9][a-z0-9.-]{0,79}"
"""Dataset names: what is safe as a folder on every filesystem."""


@dataclass(frozen=True)
class Version:
    """A committed or growing dataset version."""

    dataset: str
    version: str
    location: Location

    @property
    def complete(self) -> bool:
        return (self.location / "manifest.json").exists()

    def manifest(self) -> dict[str, Any]:
        return dict((self.location / "manifest.json").read_json())

    def samples(self, columns: list[str] | None = None) -> pa.Table:
        """One row per sample that entered, sorted by ``sample_id``."""
        return read_table(self.location / "samples.parquet", columns)

    def pack(self, name: str) -> Location:
        return self.location / "packs" / name

    def withdraw_if_broken(self) -> None:
        """Take back a version of which files are gone, so that a build makes them again."""
        if not self.complete:
            return
        gone = [name for name in self.manifest()["files"] if not (self.location / name).exists()]
        for pack in {name.rsplit("/", 1)[0] for name in gone if name.startswith("packs/")}:
            (self.location / pack / "pack.json").remove()
        if gone:
            (self.location / "manifest.json").remove()

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


def find_version(store: Store, name: str) -> Version:
    """``NAME`` (its newest version) or ``NAME@VERSION`` (a prefix of at least 4 is enough).

    Raises:
        MashbillError: no such dataset or version; the message lists those there are.
    """
    dataset, _, wanted = name.partition("@")
    dataset = dataset.replace("_", "-")
    folder = store.datasets / dataset
    if not re.fullmatch(NAME, dataset) or not (folder / "newest.json").exists():
        there = ", ".join(list_datasets(store)) or "none yet"
        raise MashbillError(f"no dataset {dataset!r} in {store.url}; there are: {there}")
    if not wanted:
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
    source = store.source(manifest["source"]["fingerprint"])
    if not source.complete:
        problems.append(f"{(source.location / 'source.json').url} is missing")
    for shard in source.shards() if source.complete else []:
        problems += _changed(source.location / "shards", {shard.rows_file: shard.rows_sha256})
        tar = source.tar(shard)
        problems += _changed(tar.parent, {tar.name: shard.tar_sha256})
    for entry in manifest["stages"]:
        columns = store.column_set(entry["name"], entry["fingerprint"])
        if not columns.complete:
            problems.append(f"{(columns.location / 'column_set.json').url} is missing")
            continue
        problems += _changed(columns.location, columns.manifest()["files"])
    return problems


def _changed(folder: Location, files: dict[str, str]) -> list[str]:
    problems = []
    for name, expected in files.items():
        file = folder / name
        if not file.exists():
            problems.append(f"{file.url} is missing")
        elif file_sha256(file) != expected:
            problems.append(f"{file.url} has other bytes than were committed")
    return problems
