"""A store: one folder, local or remote, that holds sources, column sets, dataset versions and runs.

::

    store.json                          format number
    sources/<fingerprint>/              images as they came, and a row for every sample that entered
    columns/<stage>-<fingerprint>/      what one stage said about one source
    tables/<fingerprint>/               all columns of a recipe over one source, sorted by sample
    datasets/<name>/<version>/          manifest, samples, report, packs
    runs/<name>/                        checkpoints and metrics of one training job
    tmp/                                files being written
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from store.columns import ColumnSet
from store.errors import MashbillError
from store.location import Location, sweep
from store.sources import StoredSource
from store.tables import SampleTable

FORMAT = 1


@dataclass(frozen=True)
class Store:
    """An opened store. Make one with ``open_store``."""

    root: Location

    @property
    def url(self) -> str:
        return self.root.url

    def source(self, fingerprint: str) -> StoredSource:
        return StoredSource(self.root / "sources" / fingerprint)

    def column_set(self, name: str, fingerprint: str) -> ColumnSet:
        return ColumnSet(self.root / "columns" / f"{name}-{fingerprint}")

    def table(self, fingerprint: str) -> SampleTable:
        return SampleTable(self.root / "tables" / fingerprint)

    @property
    def datasets(self) -> Location:
        return self.root / "datasets"

    @property
    def runs(self) -> Location:
        return self.root / "runs"


def planned_store(url: str | Path) -> Store:
    """The store at a folder or URL, or the one that ``create`` would make there; writes nothing."""
    root = _root(url)
    if (root / "store.json").exists():
        return open_store(url)
    _refuse_other_files(root)
    return Store(root)


def _root(url: str | Path) -> Location:
    root = Location.of(url)
    return replace(root, temp=root.path + "/tmp") if root.local else root


def _refuse_other_files(root: Location) -> None:
    if root.names() not in ([], ["tmp"]):
        raise MashbillError(
            f"{root.url} holds other files and no store.json. "
            "Give --store an empty folder or the folder of a store."
        )


def open_store(url: str | Path, create: bool = False) -> Store:
    """Open the store at a folder or fsspec URL; ``create`` makes it where there is none.

    Raises:
        MashbillError: no store there, it cannot be read, or a newer version of mashbill wrote it.
    """
    root = _root(url)
    mark = root / "store.json"
    try:
        if create and not mark.exists():
            _refuse_other_files(root)
            mark.create_json({"format": FORMAT})
        found = mark.read_json()
    except FileNotFoundError as error:
        if create:
            raise MashbillError(f"cannot make a store at {root.url}: {error.strerror}") from error
        raise MashbillError(
            f"there is no store at {root.url}. Build something first, or name another with --store."
        ) from error
    except (OSError, NotADirectoryError) as error:
        raise MashbillError(f"the store at {root.url} cannot be opened: {error}") from error
    if not isinstance(found, dict) or not isinstance(found.get("format"), int):
        raise MashbillError(f"{mark.url} does not look like mashbill wrote it: {found!r}")
    if found["format"] > FORMAT:
        raise MashbillError(
            f"{root.url} was written by a newer mashbill (format {found['format']}, this one knows "
            f"{FORMAT}). Upgrade mashbill, or use another store."
        )
    if create and root.local:
        sweep(root.temp)
    return Store(root)
