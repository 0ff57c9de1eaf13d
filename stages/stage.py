"""What a stage is: a frozen value that names the columns it reads and writes.

Four kinds. A **source** makes samples (``stages/source``). A **map** turns rows into rows: same rows,
same order. A **reduction** reads a few columns of everything and writes columns for every sample.
A **select** rule reads columns and says why a sample is left out.

The fields of a stage are exactly what changes its result (a field with ``compare=False`` does not): they,
the ``version`` and the fingerprints of what it reads name its column set. Raise ``version`` whenever the
same fields give other values. A class whose fields name pretrained models says so in ``models``, pairs of a
field and that of its revision: a build makes them exact first (``stages/pinned.py``).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, ClassVar

import pyarrow as pa

from store.sources import RawSample
from store.store import Store


class View(IntEnum):
    """What a map stage sees of each image. Larger views cost more; none changes another's value."""

    NONE = 0
    """Columns only."""
    BYTES = 1
    """``bytes``: the source file as it came."""
    HEADER = 2
    """``stages.image.picture.Header``: format and size, nothing decoded."""
    SMALL = 3
    """uint8 [h, w, 3] sRGB, upright, alpha on white, short side 64 to 127 px (less if the image is)."""
    FULL = 4
    """``PIL.Image`` in mode RGB: sRGB, upright, alpha on white, first frame, every pixel."""


@dataclass(frozen=True)
class Batch:
    """Some rows of one image shard, in order.

    ``columns`` holds the columns the stage reads, each a list as long as the batch. ``images`` holds
    the view the stage asked for, ``None`` where there is no image or it is broken (empty for
    ``View.NONE``); ``broken`` holds the reason code for those that could not be read at that view.
    """

    size: int
    columns: Mapping[str, list[Any]]
    images: Sequence[Any] = ()
    broken: Sequence[str | None] = field(default_factory=tuple)


class Source(ABC):
    """Makes samples. Planned once into portions, each read into one image shard.

    ``needs`` are columns that a stage of the recipe must write: those in which what this source found
    goes on.
    """

    kind: ClassVar[str]
    needs: ClassVar[tuple[str, ...]] = ()

    def found_in(self, store: Store) -> Source:
        """This source with what it reads from the store found there; called before ``identity``.

        A source that reads another dataset names that dataset's exact version from here on.
        """
        return self

    def awaited(self, store: Store, tell: Callable[[str, int, int], None]) -> Source:
        """This source once what it waits for is there; called by a build alone, before ``found_in``.

        ``tell``: what is waited for, how many of them are there, and how many must be.

        Raises:
            MashbillError: it is not there, and will not be waited for any longer.
        """
        return self

    def decided(self) -> list[dict[str, Any]]:
        """Of each dataset whose decisions by people this source reads, what the manifest says of them."""
        return []

    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """Whatever decides which samples come out, plain JSON; names the source in the store.

        Raises:
            MashbillError: the input is missing or is not of this kind.
        """

    @abstractmethod
    def plan(self) -> Iterator[pa.Table]:
        """The portions, in order: small tables that say what each shard will read."""

    @abstractmethod
    def read(self, portion: pa.Table, scratch: str) -> Iterator[RawSample]:
        """The samples of one portion, in order. ``scratch`` is an empty local folder."""

    def tar_in_place(self, portion: pa.Table) -> str | None:
        """URL of the tar the portion's images stay in; None when they are copied into the store."""
        return None


@dataclass(frozen=True)
class Resources:
    """What one worker holds while a stage runs. No part of a fingerprint: it changes no value.

    Counted on a Ray cluster only. ``gpus`` is a share of one GPU or a whole number of them;
    ``memory_gb`` are 10^9 bytes; ``custom`` holds names that the cluster's nodes give themselves.
    """

    cpus: float = 1.0
    gpus: float = 0.0
    memory_gb: float = 0.0
    custom: tuple[tuple[str, float], ...] = ()


class MapStage(ABC):
    """Rows to rows. ``open`` is called once per process and may load a model."""

    name: ClassVar[str]
    version: ClassVar[int]
    reads: ClassVar[tuple[str, ...]] = ()
    writes: ClassVar[pa.Schema]
    view: ClassVar[View] = View.NONE
    resources: ClassVar[Resources] = Resources()
    rows_at_once: ClassVar[int] = 1
    """Rows that it can use together: a batch has so many where memory holds them. It changes no value."""

    @abstractmethod
    def open(self) -> Callable[[Batch], dict[str, Sequence[Any]]]:
        """A function from a batch to the written columns, each as long as the batch."""


class Reduction(ABC):
    """A few columns of every sample to columns of every sample."""

    name: ClassVar[str]
    version: ClassVar[int]
    reads: ClassVar[tuple[str, ...]]
    writes: ClassVar[pa.Schema]

    @abstractmethod
    def reduce(self, rows: pa.Table, scratch: str) -> pa.Table:
        """The written columns, row for row beside ``rows``.

        ``rows`` has ``sample_id`` and the columns read, of every sample that entered, in any order:
        the answer may not depend on it. ``scratch`` is a local folder for spilling.
        """


class SelectStage(ABC):
    """A rule: columns to a reason code for each sample it leaves out."""

    name: ClassVar[str]
    version: ClassVar[int]
    reads: ClassVar[tuple[str, ...]]
    reasons: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def decide(self, rows: pa.Table) -> pa.Array | pa.ChunkedArray:
        """A reason (string) or null for each row of ``rows``.

        ``rows`` has ``sample_id`` and the columns read, of the samples that every earlier rule kept.
        """
