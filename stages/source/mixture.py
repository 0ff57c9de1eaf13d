"""Source ``mixture``: kept samples of several dataset versions; no image twice, none copied."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from stages.source.kept import inherited, kept_samples, portions
from stages.source.prompts import asked_of
from stages.stage import Source
from store.errors import UsageError
from store.sources import RawSample
from store.store import Store, open_store
from store.versions import find_version


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
    others enter as ``not_drawn``. An image (by SHA-256) that was drawn from an earlier part enters as
    ``in_another_part``, one that its own part has twice as ``repeated_image``. What the parts said of a
    sample travels in ``meta``; the stage ``inherited`` makes columns of it. A part named without a version is
    the newest when the build begins.
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
        kept = [kept_samples(version) for version in versions]
        for part, version, rows, reasons in zip(self.parts, versions, kept, self._reasons(kept), strict=True):
            told = rows.append_column("reason", pa.array(reasons.tolist(), pa.string()))
            told = told.append_column("part", pa.array([part.name] * len(told), pa.string()))
            yield from portions(store, version, told)

    def decided(self) -> list[dict[str, Any]]:
        """What people decided of the parts, as their manifests say."""
        store = open_store(self.store)
        manifests = [find_version(store, part.dataset).manifest() for part in self.parts]
        return [entry for manifest in manifests for entry in manifest.get("decisions", [])]

    def _reasons(self, kept: list[pa.Table]) -> list[np.ndarray]:
        """For each part and sample why it is left out, "" where it is drawn."""
        hashes = [np.array(rows["sha256"].to_pylist(), "S64") for rows in kept]
        orders = [self._order(rows["sample_id"].to_pylist()) for rows in kept]
        weights = np.array([part.weight for part in self.parts])
        if not weights.any():
            reasons, _ = _drawn(hashes, orders, [len(rows) for rows in kept])
            return reasons
        shares = weights / weights.sum()
        low, high = 0, 1 + int(min(len(rows) / share for rows, share in zip(kept, shares, strict=True)))
        while low < high:  # the largest total for which every part has its share
            total = (low + high + 1) // 2
            wanted = [round(total * share) for share in shares]
            _, had = _drawn(hashes, orders, wanted)
            low, high = (total, high) if had == wanted else (low, total - 1)
        wanted = [round(low * share) for share in shares]
        if not all(wanted):
            raise UsageError(
                f"source.parts: with these weights {self.parts[wanted.index(0)].name} gives no sample: it "
                "has too few images that the parts before it do not take. Change the weights, or give none."
            )
        return _drawn(hashes, orders, wanted)[0]

    def _order(self, sample_ids: list[str]) -> list[int]:
        keys = [hashlib.sha256(f"{self.seed}:{key}".encode()).digest() for key in sample_ids]
        return sorted(range(len(keys)), key=keys.__getitem__)

    def tar_in_place(self, portion: pa.Table) -> str | None:
        return str(portion["tar"][0].as_py())

    def read(self, portion: pa.Table, scratch: str) -> Iterator[RawSample]:
        for row in portion.to_pylist():
            reason = row["reason"] or None
            fields = {"part": row["part"], "inherited": inherited(row)} | asked_of(row.get("meta"))
            yield RawSample(
                f"{row['part']}:{row['sample_id']}",
                row["sample_id"],
                row["caption_original"],
                None,
                url=row["url"],
                meta=json.dumps(fields, sort_keys=True, ensure_ascii=False),
                error=reason,
                place=None if reason else (row["image_offset"], row["image_size"]),
            )


def _drawn(
    hashes: list[np.ndarray], orders: list[list[int]], wanted: list[int]
) -> tuple[list[np.ndarray], list[int]]:
    """Draw from the parts in turn, each as many as are wanted of it, no image twice.

    Returns for each part its samples' reasons, and how many were drawn.
    """
    taken: set[bytes] = set()
    reasons, numbers = [], []
    for mine, order, number in zip(hashes, orders, wanted, strict=True):
        reason = np.full(len(mine), "not_drawn", "U16")
        drawn: set[bytes] = set()
        for i in order:
            if mine[i] in taken:
                reason[i] = "in_another_part"
            elif mine[i] in drawn:
                reason[i] = "repeated_image"
            elif len(drawn) < number:
                reason[i] = ""
                drawn.add(mine[i])
        taken |= drawn
        reasons.append(reason)
        numbers.append(len(drawn))
    return reasons, numbers
