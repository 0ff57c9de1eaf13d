"""Reduction ``prompt_copies``: prompts that say the same in other words' order, or nearly."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
import pyarrow as pa

from stages.dedup.caption_copies import words_of
from stages.stage import Reduction
from store.errors import UsageError

_HASHES, _ROWS = 60, 3
"""Minima per prompt, and how many of them must agree to make two prompts candidates: two prompts with a share
of 0.8 of their words in common are found in all but 1 of a million cases, with 0.5 in 0.93."""

_FULL = 32
"""Prompts that a bucket remembers."""

Counted = tuple[str, int]
"""A word and its number among those alike in a text."""


@dataclass(frozen=True)
class PromptCopies(Reduction):
    """``prompt_copy_of``: id of the first prompt, by id, that has nearly the same words; null for itself.

    Two prompts are copies where the words both have are ``similarity`` (0 to 1) or more of the words either
    has (Jaccard; each word counts as often as it occurs). Every copy is compared with the prompt it is a copy
    of. Candidates come from minima of hashes (Broder 1997). Of each bucket the first 32 prompts are compared,
    so the time grows with the prompts and not with their pairs; among very many much alike prompts some near
    copies stay. Prompts with equal words are always found.
    """

    name: ClassVar[str] = "prompt_copies"
    version: ClassVar[int] = 1
    reads: ClassVar[tuple[str, ...]] = ("caption",)
    writes: ClassVar[pa.Schema] = pa.schema([("prompt_copy_of", pa.string())])
    similarity: float = 0.9

    def __post_init__(self) -> None:
        if not 0.5 <= self.similarity <= 1:
            raise UsageError(f"similarity={self.similarity}: expected 0.5 to 1")

    def reduce(self, rows: pa.Table, scratch: str) -> pa.Table:
        ids = rows["sample_id"].to_pylist()
        words = [_counted(text) for text in rows["caption"].to_pylist()]
        order = [i for i in np.argsort(np.array(ids, "S24"), kind="stable").tolist() if words[i]]
        minima = {i: _minima(words[i]) for i in order}
        copy_of: list[str | None] = [None] * len(ids)
        same: dict[frozenset[Counted], int] = {}
        buckets: list[dict[bytes, list[int]]] = [{} for _ in range(_HASHES // _ROWS)]
        for i in order:
            first = same.setdefault(words[i], i)
            if first != i:
                copy_of[i] = copy_of[first] or ids[first]
                continue
            bands = [minima[i][start : start + _ROWS].tobytes() for start in range(0, _HASHES, _ROWS)]
            mine = [bucket.setdefault(band, []) for bucket, band in zip(buckets, bands, strict=True)]
            near = [j for j in set().union(*mine) if _jaccard(words[i], words[j]) >= self.similarity]
            if near:
                copy_of[i] = min(ids[j] for j in near)
                continue
            for bucket in mine:
                if len(bucket) < _FULL:
                    bucket.append(i)
        return pa.table({"prompt_copy_of": pa.array(copy_of, pa.string())})


def _counted(text: str | None) -> frozenset[Counted]:
    """The words of a text, each with its number among those alike."""
    seen: dict[str, int] = {}
    found = []
    for word in words_of(text or ""):
        seen[word] = seen.get(word, 0) + 1
        found.append((word, seen[word]))
    return frozenset(found)


def _jaccard(left: frozenset[Counted], right: frozenset[Counted]) -> float:
    both = len(left & right)
    return both / (len(left) + len(right) - both)


def _minima(words: frozenset[Counted]) -> np.ndarray:
    """uint64 [_HASHES]: the least of each hash over the words."""
    return np.asarray(np.array([_hashes(word) for word in words]).min(axis=0))


@lru_cache(maxsize=1 << 17)
def _hashes(word: Counted) -> np.ndarray:
    digest = hashlib.blake2b(f"{word[0]}\0{word[1]}".encode(), digest_size=7).digest()
    return (np.uint64(int.from_bytes(digest, "big")) ^ _MASKS) * _FACTORS


_rng = np.random.default_rng(0)
_MASKS = _rng.integers(0, 1 << 56, _HASHES, np.uint64)
_FACTORS = _rng.integers(0, 1 << 63, _HASHES, np.uint64) * np.uint64(2) + np.uint64(1)
