"""Source ``curated``: the samples of a dataset version that people kept, with their words and crops."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from stages.source.kept import inherited, kept_samples, portions
from stages.source.prompts import asked_of
from stages.stage import Source
from store.aspects import nearest_aspect
from store.decisions import CROP, DECISIONS, Decisions, find_decisions, newest_decisions
from store.errors import MashbillError, UsageError
from store.sources import RawSample
from store.store import Store, open_store
from store.versions import LATEST, Version, find_version

POLL_S = 1.0
"""How often a build that waits looks for new decisions."""
PERSON = "person_"
"""Before the names of a decision's columns where they stand beside a sample's."""
PORTION = pa.schema(
    [
        ("sample_id", pa.string()),
        ("url", pa.string()),
        ("caption_original", pa.string()),
        ("image_offset", pa.int64()),
        ("image_size", pa.int64()),
        ("tar", pa.string()),
        ("meta", pa.string()),
        ("reason", pa.string()),
        ("detail", pa.string()),
    ]
)


@dataclass(frozen=True)
class Curated(Source):
    """What people kept of ``dataset`` (``NAME`` or ``NAME@VERSION``), where its images lie; none is copied.

    Every sample that the version kept enters. Those that people rejected do so as ``rejected_<reason>``, by
    the first reason given (``rejected_by_person`` without one), with all reasons as its detail; the others
    as ``undecided``, or ``tied`` where all votes are there and as many are for it as against it. A person's
    caption and crop outrank those of the version: the stage ``inherited`` makes columns of them, and says
    so in ``decided_by_person``, ``caption_by_person`` and ``crop_by_person``. A crop that reaches outside
    the image enters as ``crop_outside``.

    ``decisions`` is an export of ``mashbill curate``, or ``latest``. ``coverage`` (0 to 1) is the share of
    the version's samples that must have a verdict: with less a build waits up to ``wait_minutes`` for more,
    and then fails. 0 takes what is there. Dataset and decisions are those there are when the build begins,
    or ends waiting.
    """

    kind: ClassVar[str] = "curated"
    needs: ClassVar[tuple[str, ...]] = ("caption_by_person", "crop_by_person")
    dataset: str = ""
    coverage: float = 0.0
    wait_minutes: float = 0.0
    decisions: str = LATEST
    store: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if not 0 <= self.coverage <= 1:
            raise UsageError(f"source.coverage={self.coverage:g}: expected a share from 0 to 1")
        if not (self.wait_minutes >= 0 and math.isfinite(self.wait_minutes)):
            raise UsageError(f"source.wait_minutes={self.wait_minutes:g}: expected minutes, 0 or more")

    def found_in(self, store: Store) -> Curated:
        """With the exact version and export, whatever they cover.

        Raises:
            MashbillError: there is no such dataset, or no decision on it.
        """
        pinned = self._at(store)
        return replace(pinned, decisions=pinned._export().export)

    def awaited(self, store: Store, tell: Callable[[str, int, int], None]) -> Curated:
        """``found_in`` once the decisions cover as much as is asked.

        Raises:
            MashbillError: they do not, and will not be waited for any longer.
        """
        if self.wait_minutes and self.decisions != LATEST:
            raise UsageError(
                f"source.wait_minutes={self.wait_minutes:g} with source.decisions={self.decisions}: one "
                "export never grows. Leave out one of them."
            )
        pinned, end = self._at(store), time.monotonic() + 60 * self.wait_minutes
        version = pinned._version()
        queue = _queue(version)
        wanted, decided, export = math.ceil(self.coverage * len(queue) - 1e-9), 0, None
        while True:
            late = time.monotonic() >= end
            newest = pinned._export() if late else newest_decisions(open_store(pinned.store), version.dataset)
            if newest is not None and newest != export:
                export, decided = newest, len(_verdicts(newest.table(), queue))
            if export is not None and decided >= wanted:
                return replace(pinned, decisions=export.export)
            if late:
                raise self._too_few(version, decided, wanted, len(queue))
            tell(f"waiting for people: mashbill curate {version.dataset}", decided, wanted)
            time.sleep(POLL_S)

    def identity(self) -> dict[str, Any]:
        return {"kind": self.kind, "dataset": self.dataset, "decisions": self.decisions}

    def plan(self) -> Iterator[pa.Table]:
        store, version = open_store(self.store), self._version()
        export = self._export()
        rows, votes = _beside(kept_samples(version), export.table()), export.about()["votes_required"]
        aspects = [1.0]
        if "crop_aspect" in rows.column_names:
            aspects = sorted(pc.unique(rows["crop_aspect"]).drop_null().to_pylist()) or aspects
        for portion in portions(store, version, rows):
            yield pa.Table.from_pylist([_entry(row, votes, aspects) for row in portion.to_pylist()], PORTION)

    def tar_in_place(self, portion: pa.Table) -> str | None:
        return str(portion["tar"][0].as_py())

    def read(self, portion: pa.Table, scratch: str) -> Iterator[RawSample]:
        name = self.dataset.partition("@")[0]
        for row in portion.to_pylist():
            yield RawSample(
                f"curated:{name}:{row['sample_id']}",
                row["sample_id"],
                row["caption_original"],
                None,
                url=row["url"],
                meta=row["meta"],
                error=row["reason"],
                detail=row["detail"],
                place=None if row["reason"] else (row["image_offset"], row["image_size"]),
            )

    def decided(self) -> list[dict[str, Any]]:
        """What people decided of the version's samples; before it what the version itself stands on."""
        version, export = self._version(), self._export()
        queue, table, about = _queue(version), export.table(), export.about()
        here = table.filter(pc.is_in(table["sample_id"], value_set=queue))
        verdicts = _verdicts(here, queue)
        kept = verdicts.filter(pc.equal(verdicts["verdict"], "keep"))
        entry = {
            "dataset": version.dataset,
            "version": version.version,
            "export": export.export,
            "queue": len(queue),
            "queue_version": about["version"],
            "votes_required": about["votes_required"],
            "coverage": len(verdicts) / len(queue) if len(queue) else 1.0,
            "coverage_asked": self.coverage,
            "decided": len(verdicts),
            "kept": len(kept),
            "rejected": len(verdicts) - len(kept),
            "captions": len(kept) - kept["caption"].null_count,
            "crops": len(kept) - kept["crop_left"].null_count,
            "people": len(set(pc.list_flatten(here["people"]).to_pylist())),
            "not_in_version": len(table) - len(here),
        }
        return [*version.manifest().get("decisions", []), entry]

    def _at(self, store: Store) -> Curated:
        """With the exact version of the dataset, and where it lies."""
        if not self.dataset:
            raise UsageError("source.dataset is empty: give the NAME or NAME@VERSION of a dataset")
        there = open_store(self.store) if self.store else store
        version = find_version(there, self.dataset)
        return replace(self, dataset=f"{version.dataset}@{version.version}", store=there.url)

    def _version(self) -> Version:
        return find_version(open_store(self.store), self.dataset)

    def _export(self) -> Decisions:
        return find_decisions(open_store(self.store), self.dataset.partition("@")[0], self.decisions)

    def _too_few(self, version: Version, decided: int, wanted: int, queue: int) -> MashbillError:
        name, waited = version.dataset, f" after {self.wait_minutes:g} minutes" if self.wait_minutes else ""
        return MashbillError(
            f"people decided {decided:,} of {queue:,} samples of {name}@{version.version}{waited}, and "
            f"source.coverage={self.coverage:g} asks for {wanted - decided:,} more. Decide them: mashbill "
            f"curate {name}; wait for them: --set source.wait_minutes=60; or take what is there: --set "
            "source.coverage=0"
        )


def _queue(version: Version) -> pa.ChunkedArray:
    """Ids of the samples that the version kept."""
    return version.samples(["sample_id"]).filter(pc.is_null(version.reasons()))["sample_id"]


def _verdicts(table: pa.Table, queue: pa.ChunkedArray) -> pa.Table:
    """The decisions on samples of the queue that have a verdict."""
    return table.filter(pc.and_(pc.is_valid(table["verdict"]), pc.is_in(table["sample_id"], value_set=queue)))


def _beside(rows: pa.Table, decisions: pa.Table) -> pa.Table:
    """The samples with what was decided of each in columns ``person_*``, null where nothing was."""
    place = pc.index_in(rows["sample_id"], value_set=decisions["sample_id"]).combine_chunks()
    for name in DECISIONS.names[1:]:
        rows = rows.append_column(PERSON + name, decisions[name].take(place))
    return rows


def _entry(row: dict[str, Any], votes_required: int, aspects: Sequence[float]) -> dict[str, Any]:
    """A sample as it enters: ``PORTION``."""
    by = {name: row[PERSON + name] for name in DECISIONS.names[1:]}
    said, reason = inherited(row), _reason(by, votes_required)
    said |= {"decided_by_person": by["verdict"] is not None}
    if by["caption"] is not None:
        said |= {"caption": by["caption"], "captions": [by["caption"]], "caption_by_person": True}
    if by["crop_left"] is not None:
        box = {name: by[name] for name in CROP}
        inside = by["crop_right"] <= said.get("width", 0) and by["crop_bottom"] <= said.get("height", 0)
        reason = reason or (None if inside else "crop_outside")
        shape = (by["crop_right"] - by["crop_left"]) / (by["crop_bottom"] - by["crop_top"])
        aspect = aspects[nearest_aspect(shape, aspects)]
        said |= {**box, "crop_aspect": aspect, "crop_choice": "person", "crop_by_person": True}
    if by["caption"] is not None or by["crop_left"] is not None:
        said.pop("clip_similarity", None)  # of other words, or of another part of the image
    fields = {"inherited": said} | asked_of(row.get("meta"))
    meta = json.dumps(fields, sort_keys=True, ensure_ascii=False)
    detail = ", ".join(by["reasons"] or ()) if by["verdict"] == "reject" else None
    taken = {name: row.get(name) for name in PORTION.names}
    return taken | {"meta": meta, "reason": reason, "detail": detail or None}


def _reason(by: dict[str, Any], votes_required: int) -> str | None:
    """Why a sample is left out; None where people kept it."""
    if by["verdict"] == "keep":
        return None
    if by["verdict"] == "reject":
        return f"rejected_{by['reasons'][0]}" if by["reasons"] else "rejected_by_person"
    keep, reject = by["votes_keep"] or 0, by["votes_reject"] or 0
    return "tied" if keep == reject > 0 and keep + reject >= votes_required else "undecided"
