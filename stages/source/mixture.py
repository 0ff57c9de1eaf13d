"""Source ``mixture``: kept samples of several dataset versions; no image twice, none copied."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stages.image.inherited import INHERITED
from stages.stage import Source
from store.errors import UsageError
from store.sources import RawSample
from store.store import Store, open_store
from store.versions import Version, find_version


@dataclass(frozen=True)
class Part:
    """One dataset of a mixture, ``NAME`` or ``NAME@VERSION``, and its weight (0: all of it)."""

    name: str
    dataset: str
    weight: float = 0.0


@dataclass(frozen=True)
class Mixture(Source):
    """Everything that ``parts`` kept; with weights, as much as can be had in their proportion.

    Either every part has a weight or none. With weights the largest number of samples is taken for which no
    part must give a sample twice, of each part those that come first by a hash of ``seed`` and their id; the
    others enter as ``not_drawn``. An image (by SHA-256) that an earlier part has enters as
    ``in_another_part`` and is not counted for the weights. What the parts said of a sample travels in
    ``meta``; the stage ``inherited`` makes columns of it. A part named without a version is the newest when
    the build begins.
    """

    kind: ClassVar[str] = "mixture"
    parts: tuple[Part, ...] = ()
    seed: int = 0
    store: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        weights = [part.weight for part in self.parts]
        usable = all(0 <= weight < float("inf") for weight in weights)
        if (
            not usable
            or (any(weights) and not all(weights))
            or len({p.name for p in self.parts}) < len(weights)
        ):
            raise UsageError(
                f"source.parts: {', '.join(f'{p.name} {p.weight:g}' for p in self.parts)}: expected names "
                "that differ, and a weight above 0 for every part, or 0 for all to take everything"
            )

    def found_in(self, store: Store) -> Mixture:
        if not self.parts:
            raise UsageError("source.parts is empty: a mixture needs datasets to mix")
        there = open_store(self.store) if self.store else store
        found = [find_version(there, part.dataset) for part in self.parts]
        parts = [
            replace(part, dataset=f"{version.dataset}@{version.version}")
            for part, version in zip(self.parts, found, strict=True)
        ]
        return replace(self, parts=tuple(parts), store=there.url)

    def identity(self) -> dict[str, Any]:
        parts = [{"name": p.name, "dataset": p.dataset, "weight": p.weight} for p in self.parts]
        return {"kind": self.kind, "parts": parts, "seed": self.seed}

    def plan(self) -> Iterator[pa.Table]:
        store = open_store(self.store)
        versions = [find_version(store, part.dataset) for part in self.parts]
        kept = [_kept(version) for version in versions]
        twice = _in_another_part(kept)
        drawn = self._drawn(kept, twice)
        for part, version, rows, again, taken in zip(self.parts, versions, kept, twice, drawn, strict=True):
            source = store.source(version.manifest()["source"]["fingerprint"])
            tars = {shard.index: source.tar(shard).url for shard in source.shards()}
            reasons = np.where(again, "in_another_part", np.where(taken, "", "not_drawn"))
            told = rows.append_column("reason", pa.array(reasons.tolist(), pa.string()))
            for shard in sorted(set(told["shard"].to_pylist())):
                here = told.filter(pc.equal(told["shard"], shard))
                yield here.append_column("part", pa.array([part.name] * len(here))).append_column(
                    "tar", pa.array([tars[shard]] * len(here))
                )

    def _drawn(self, kept: list[pa.Table], twice: list[np.ndarray]) -> list[np.ndarray]:
        """bool [n] for each part: which of its samples are taken."""
        free = [int((~again).sum()) for again in twice]
        weights = np.array([part.weight for part in self.parts])
        if weights.any():
            total = min(n / share for n, share in zip(free, weights / weights.sum(), strict=True))
            free = [round(total * share) for share in weights / weights.sum()]
        taken = []
        for rows, again, number in zip(kept, twice, free, strict=True):
            keys = [
                hashlib.sha256(f"{self.seed}:{key}".encode()).digest()
                for key in rows["sample_id"].to_pylist()
            ]
            order = [i for i in sorted(range(len(keys)), key=keys.__getitem__) if not again[i]]
            mask = np.zeros(len(keys), bool)
            mask[order[:number]] = True
            taken.append(mask)
        return taken

    def tar_in_place(self, portion: pa.Table) -> str | None:
        return str(portion["tar"][0].as_py())

    def read(self, portion: pa.Table, scratch: str) -> Iterator[RawSample]:
        for row in portion.to_pylist():
            reason = row["reason"] or None
            said = {name: row[name] for name in INHERITED.names if row.get(name) is not None}
            yield RawSample(
                f"{row['part']}:{row['sample_id']}",
                row["sample_id"],
                row["caption_original"],
                None,
                url=row["url"],
                meta=json.dumps({"part": row["part"], "inherited": said}, sort_keys=True, ensure_ascii=False),
                error=reason,
                place=None if reason else (row["image_offset"], row["image_size"]),
            )


def _kept(version: Version) -> pa.Table:
    """Kept samples: id, url, words, what is inherited, and the places of their images."""
    there = set(version.table.names())
    wanted = dict.fromkeys(("sample_id", "url", "caption_original", *INHERITED.names))
    alive = pc.is_null(version.reasons())
    rows = version.samples([name for name in wanted if name in there]).filter(alive)
    places = version.table.places(["shard", "image_offset", "image_size"]).filter(alive)
    for name in places.column_names:
        rows = rows.append_column(name, places[name])
    return rows


def _in_another_part(kept: list[pa.Table]) -> list[np.ndarray]:
    """bool [n] for each part: whose image an earlier part has."""
    seen = np.array([], "S64")
    found = []
    for rows in kept:
        hashes = np.array(rows["sha256"].to_pylist(), "S64")
        found.append(np.isin(hashes, seen))
        seen = np.concatenate([seen, hashes])
    return found
