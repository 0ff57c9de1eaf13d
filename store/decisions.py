"""What people decided of a dataset's samples, as columns: exported once, never rewritten.

::

    decisions/<dataset>/<export>.parquet   a row for each sample that has any decision
    decisions/<dataset>/<export>.json      what it is about; the export exists when this does
    decisions/<dataset>/newest.json        the one that was written last

An export is named by its content, so that the same decisions on the same queue are the same export.
Decisions are of ``sample_id``, and so hold for every version of a dataset.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Any, NoReturn

import pyarrow as pa
import pyarrow.compute as pc

from store.digest import file_sha256, fingerprint, table_digest
from store.errors import MashbillError
from store.location import Location
from store.parquet import read_table, write_table
from store.store import Store
from store.versions import LATEST, NAME, find_version

DECISIONS = pa.schema(
    [
        pa.field("sample_id", pa.string(), nullable=False),
        pa.field("verdict", pa.string()),
        pa.field("reasons", pa.list_(pa.string())),
        pa.field("caption", pa.string()),
        pa.field("crop_left", pa.int32()),
        pa.field("crop_top", pa.int32()),
        pa.field("crop_right", pa.int32()),
        pa.field("crop_bottom", pa.int32()),
        pa.field("votes_keep", pa.int32()),
        pa.field("votes_reject", pa.int32()),
        pa.field("people", pa.list_(pa.string())),
        pa.field("events", pa.list_(pa.int64())),
        pa.field("decided_at", pa.timestamp("us", tz="UTC")),
    ]
)
"""``verdict``: ``keep`` or ``reject``; null where votes tie or are too few, or only words or a crop were
given. ``reasons``: codes of a rejection, the first one first. ``caption``: a person's words. ``crop_*``:
pixels of the upright image, all four or none. ``votes_*``: the votes that were asked for; a curator's ruling
and second opinions are none. ``people`` and ``events``: who, and the ids of the events it
stands on."""
CROP = ("crop_left", "crop_top", "crop_right", "crop_bottom")
VERDICTS = ("keep", "reject")
REASON = r"[a-z0-9][a-z0-9_]{0,39}"
"""Reason codes: they become names of accounts, ``rejected_<code>``."""
ABOUT = {"version", "queue", "votes_required", "last_event"}


@dataclass(frozen=True)
class Decisions:
    """One export of the decisions on a dataset."""

    dataset: str
    export: str
    location: Location
    """The folder of the dataset's exports."""

    def table(self) -> pa.Table:
        """``DECISIONS``, sorted by ``sample_id``.

        Raises:
            MashbillError: the file is gone or has other bytes than were exported.
        """
        file = self.location / f"{self.export}.parquet"
        if not file.exists() or file_sha256(file) != self.about()["sha256"]:
            raise MashbillError(
                f"{file.url} is not as it was exported. The decisions themselves lie elsewhere: remove this "
                f"file and {self.export}.json beside it, then mashbill curate {self.dataset} --export"
            )
        return read_table(file).cast(DECISIONS)

    def about(self) -> dict[str, Any]:
        """``version``: that of the dataset which people went through; ``queue``: number of its kept samples;
        ``decided``: of those that have a verdict; ``votes_required``; ``last_event``: id of the newest event
        when it was first written; ``sha256`` of the table's file."""
        return dict((self.location / f"{self.export}.json").read_json())

    @property
    def coverage(self) -> float:
        """Share of the queue that has a verdict, 0 to 1; 1 for an empty queue."""
        about = self.about()
        return about["decided"] / about["queue"] if about["queue"] else 1.0


def write_decisions(store: Store, dataset: str, table: pa.Table, about: dict[str, Any]) -> Decisions:
    """Export decisions, and make them the newest. The same ones again are the same export, not written again.

    Args:
        table: ``DECISIONS`` in any order, a row for each sample.
        about: ``version`` of the dataset that was gone through, ``queue`` (number of samples in it),
            ``votes_required`` and ``last_event`` (an id).

    Raises:
        MashbillError: there is no such version, or the table is not of decisions; nothing is written.
    """
    if set(about) != ABOUT:
        raise MashbillError(f"decisions about {sorted(about)}: expected {', '.join(sorted(ABOUT))}")
    rows = _checked(table)
    version = find_version(store, f"{dataset}@{about['version']}")
    about = about | {
        "version": version.version,
        "decided": _decided(rows, version.samples(["sample_id", "kept"])),
    }
    named = fingerprint({name: about[name] for name in ("version", "queue", "votes_required")})
    plain = rows.set_column(rows.num_columns - 1, "decided_at", rows["decided_at"].cast(pa.int64()))
    export = hashlib.sha256(f"{table_digest(plain)} {named}".encode()).hexdigest()[:16]
    found = Decisions(version.dataset, export, _folder(store, version.dataset))
    if not _exists(found):
        file = found.location / f"{export}.parquet"
        write_table(file, rows)
        (found.location / f"{export}.json").create_json(about | {"sha256": file_sha256(file)})
    (found.location / "newest.json").write_json({"export": export})
    return found


def find_decisions(store: Store, dataset: str, export: str = LATEST) -> Decisions:
    """The newest export of a dataset, or the one that begins with ``export`` (4 characters do).

    Raises:
        MashbillError: there is none; says which there are, and how to make some.
    """
    dataset = dataset.replace("_", "-")
    newest = newest_decisions(store, dataset)
    if newest is None:
        _none(store, dataset)
    if export == LATEST:
        return newest
    there = list_decisions(store, dataset)
    found = [name for name in there if name == export or (len(export) >= 4 and name.startswith(export))]
    if len(found) != 1:
        problem = "is not one of" if not found else "fits more than one of"
        raise MashbillError(f"decisions {export!r} {problem} the exports on {dataset}: {', '.join(there)}")
    return Decisions(dataset, found[0], newest.location)


def newest_decisions(store: Store, dataset: str) -> Decisions | None:
    """The newest export of a dataset; None where nothing was exported yet.

    Raises:
        MashbillError: ``newest.json`` names an export that is not there.
    """
    folder = _folder(store, dataset)
    newest = folder / "newest.json"
    if not re.fullmatch(NAME, dataset) or not newest.exists():
        return None
    found = Decisions(dataset, str(newest.read_json().get("export")), folder)
    if not _exists(found):
        raise MashbillError(
            f"{newest.url} names the export {found.export}, which is not there: it was removed by hand. "
            f"Export again: mashbill curate {dataset}"
        )
    return found


def list_decisions(store: Store, dataset: str) -> list[str]:
    """The exports of a dataset, sorted by name."""
    names = _folder(store, dataset).names()
    return [name.removesuffix(".json") for name in names if name.endswith(".json") and name != "newest.json"]


def _folder(store: Store, dataset: str) -> Location:
    return store.root / "decisions" / dataset


def _exists(decisions: Decisions) -> bool:
    return (decisions.location / f"{decisions.export}.json").exists()


def _none(store: Store, dataset: str) -> NoReturn:
    folder = store.root / "decisions"
    there = ", ".join(name for name in folder.names() if (folder / name / "newest.json").exists())
    raise MashbillError(
        f"nobody has decided anything about {dataset!r} in {store.url}; there are decisions on: "
        f"{there or 'nothing yet'}. Make some: mashbill curate {dataset}"
    )


def _decided(rows: pa.Table, samples: pa.Table) -> int:
    """How many of the kept samples have a verdict."""
    queue = samples["sample_id"].filter(samples["kept"])
    return int(pc.sum(pc.is_in(rows.filter(pc.is_valid(rows["verdict"]))["sample_id"], queue)).as_py() or 0)


def _checked(table: pa.Table) -> pa.Table:
    """The table as it is stored: its columns in order, sorted by sample, one piece."""
    missing = [name for name in DECISIONS.names if name not in table.column_names]
    if missing or len(table.column_names) != len(DECISIONS):
        raise MashbillError(f"decisions have the columns {table.column_names}, expected {DECISIONS.names}")
    try:
        rows = table.select(DECISIONS.names).cast(DECISIONS).sort_by("sample_id").combine_chunks()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError) as error:
        raise MashbillError(f"these are no decisions: {error}") from error
    for problem, wrong in _problems(rows).items():
        if pc.any(wrong).as_py():
            row = rows.filter(wrong).slice(0, 1).to_pylist()[0]
            raise MashbillError(f"decision on sample {row['sample_id']}: {problem}, found {row}")
    return rows


def _problems(rows: pa.Table) -> dict[str, Any]:
    """For each rule of a decision which rows break it."""
    left, top, right, bottom = (rows[name] for name in CROP)
    given = [pc.is_valid(rows[name]) for name in CROP]
    some, every = given[0], given[0]
    for here in given[1:]:
        some, every = pc.or_(some, here), pc.and_(every, here)
    inside = pc.and_(
        pc.and_(pc.greater_equal(left, 0), pc.greater_equal(top, 0)),
        pc.and_(pc.greater(right, left), pc.greater(bottom, top)),
    )
    ids = rows["sample_id"].to_pylist()
    again = [first == second for first, second in zip(ids, [None, *ids], strict=False)]
    codes = [
        any(not re.fullmatch(REASON, code or "") for code in found or ())
        for found in rows["reasons"].to_pylist()
    ]
    verdict = pc.or_kleene(pc.is_null(rows["verdict"]), pc.is_in(rows["verdict"], pa.array(VERDICTS)))
    blank = pc.fill_null(pc.equal(pc.utf8_trim_whitespace(rows["caption"]), ""), False)
    votes = pc.or_kleene(pc.less(rows["votes_keep"], 0), pc.less(rows["votes_reject"], 0))
    return {
        "expected one row for each sample": pa.array(again, pa.bool_()),
        "expected a verdict of keep, reject or null": pc.invert(verdict),
        f"expected reasons like {REASON}": pa.array(codes, pa.bool_()),
        "expected words or null as its caption": blank,
        "expected all four edges of a crop or none": pc.xor(some, every),
        "expected 0 <= left < right and 0 <= top < bottom": pc.invert(pc.fill_null(inside, True)),
        "expected votes of 0 or more": pc.fill_null(votes, True),
    }
