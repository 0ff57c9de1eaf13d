"""Reduction ``split_apart``: train, validation and test that share no copies and no prompts."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from stages.stage import Reduction
from store.errors import UsageError


@dataclass(frozen=True)
class SplitApart(Reduction):
    """Puts whole groups of samples into ``validation`` and ``test``, the rest into ``train``.

    Samples belong together that agree in any of ``by`` (nulls agree with nobody), and so do those that are
    linked through others. Groups are taken in the order of a hash until ``validation`` samples, then ``test``
    samples are reached, or ``largest_share`` (0 to 1) of all samples where that is fewer; a group that would
    pass the number is left to train. All samples that entered are counted, also those that rules drop later.
    A sample's side stays while its group and the size of the whole do; ``seed`` draws other sides.

    ``given`` is a column that says the side of some samples already, such as that of their prompts: their
    group is there, in ``test`` if any of it is, else in ``validation`` if any is, else in ``train``, whatever
    the numbers; the numbers are filled up from the other groups.
    """

    name: ClassVar[str] = "split_apart"
    version: ClassVar[int] = 1
    writes: ClassVar[pa.Schema] = pa.schema([("split", pa.string())])
    by: tuple[str, ...] = ("cluster_id",)
    validation: int = 24_000
    test: int = 24_000
    largest_share: float = 0.05
    seed: int = 0
    given: str = ""

    def __post_init__(self) -> None:
        if min(self.validation, self.test) < 0 or not 0 <= self.largest_share <= 0.5 or not self.by:
            raise UsageError(
                f"split_apart: by={self.by}, validation={self.validation}, test={self.test}, "
                f"largest_share={self.largest_share}: expected columns, samples, a share of 0 to 0.5"
            )

    @property
    def reads(self) -> tuple[str, ...]:  # type: ignore[override]
        return (*self.by, self.given) if self.given else self.by

    def reduce(self, rows: pa.Table, scratch: str) -> pa.Table:
        ids = np.array(rows["sample_id"].to_pylist(), "S24")
        group = _groups([rows[name] for name in self.by], len(ids))
        order = np.lexsort((ids, group))
        starts = np.flatnonzero(np.diff(group[order], prepend=-1))
        sizes = np.diff(starts, append=len(ids))
        keys = [hashlib.sha256(b"%d:%s" % (self.seed, ids[order[start]])).digest() for start in starts]
        wanted = [min(n, int(self.largest_share * len(ids))) for n in (self.validation, self.test)]
        side_of = self._given(rows, group, len(starts))
        ranked = sorted(np.flatnonzero(side_of == ""), key=keys.__getitem__)
        for name, number in zip(("validation", "test"), wanted, strict=True):
            left = []
            number -= int(sizes[side_of == name].sum())
            for at in ranked:
                if sizes[at] <= number:
                    side_of[at] = name
                    number -= sizes[at]
                else:
                    left.append(at)
            ranked = left
        side_of[side_of == ""] = "train"
        split = np.empty(len(ids), "U10")
        split[order] = np.repeat(side_of, sizes)
        return pa.table({"split": pa.array(split.tolist(), pa.string())})

    def _given(self, rows: pa.Table, group: np.ndarray, count: int) -> np.ndarray:
        """The side of each of ``count`` groups that has one already, else ""."""
        side_of = np.full(count, "", "U10")
        if self.given:
            told = rows[self.given].fill_null("").to_numpy()
            for name in ("train", "validation", "test"):  # the last to write is the strictest
                side_of[group[told == name]] = name
        return side_of


def _groups(columns: list[Any], count: int) -> np.ndarray:
    """int [n]: the number of each row's group."""
    links: list[np.ndarray] = []
    for column in columns:
        codes = column.combine_chunks().dictionary_encode().indices
        there = np.flatnonzero(codes.is_valid().to_numpy(zero_copy_only=False))
        values = codes.drop_null().to_numpy()
        _, first = np.unique(values, return_index=True)
        links.append(np.stack([there, there[first[values]]]) if len(there) else np.zeros((2, 0), np.int64))
    left, right = np.concatenate(links, axis=1)
    graph = coo_array((np.ones(len(left), bool), (left, right)), (count, count))
    return np.asarray(connected_components(graph, directed=False)[1]) if count else np.zeros(0, np.int64)
