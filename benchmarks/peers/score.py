"""What a tool found, against the copies that were planted."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Truth:
    """``origin``: of each file stem, the stem it was made from, or itself."""

    origin: dict[str, str]

    @property
    def planted(self) -> int:
        return sum(name != origin for name, origin in self.origin.items())


def read_truth(path: Path) -> Truth:
    """From a list of ``[stem, stem of the original or null, kind or null]``."""
    return Truth({name: original or name for name, original, _ in json.loads(path.read_text())})


def score(result: dict[str, Any], truth: Truth) -> tuple[int, int] | None:
    """Copies found and false pairs of one result; None when it says nothing about copies.

    Pairs: a copy is found when it is paired with its original; a pair of two different pictures is false.
    Stems that are left: of each picture one file should be left, so each further one that went was found;
    a picture that is gone counts as one false pair.
    """
    if "pairs" in result:
        pairs = {tuple(sorted(pair)) for pair in result["pairs"]}
        found = sum(
            tuple(sorted((name, origin))) in pairs for name, origin in truth.origin.items() if name != origin
        )
        return found, sum(truth.origin[one] != truth.origin[two] for one, two in pairs)
    if "kept" in result:
        kept, pictures = set(result["kept"]), defaultdict(list)
        for name, origin in truth.origin.items():
            pictures[origin].append(name in kept)
        left = [(len(files), sum(files)) for files in pictures.values()]
        return sum(files - max(stay, 1) for files, stay in left), sum(stay == 0 for _, stay in left)
    return None
