"""What a recipe returns: one dataset's whole setting."""

from __future__ import annotations

import re
from dataclasses import dataclass

from stages.pack.pack import Pack
from stages.stage import MapStage, Reduction, SelectStage, Source
from store.errors import UsageError
from store.versions import NAME


@dataclass(frozen=True)
class Dataset:
    """A dataset as a frozen value; variants are made with ``dataclasses.replace``.

    ``columns`` run in order: a stage reads what the source or an earlier stage wrote, the latest where
    several wrote the same name. ``select`` rules run in order over the samples the earlier ones kept.
    """

    name: str
    source: Source
    columns: tuple[MapStage | Reduction, ...]
    select: tuple[SelectStage, ...]
    pack: Pack

    def __post_init__(self) -> None:
        if not re.fullmatch(NAME, self.name):
            raise UsageError(
                f"dataset name {self.name!r}: expected lower-case letters, digits, '-' and '.', such as l-pp"
            )
