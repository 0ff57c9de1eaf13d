"""A person's words and crops outrank every model's: no stage of a recipe writes over them.

The rule is kept here, for all stages alike. Where a column that a map stage writes was written before it,
and a person's rows are marked, those rows are not shown to the stage: their values stay, and its other
columns are null there. No model is asked about them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from stages.stage import Batch, MapStage

WORDS = ("caption", "captions")
CROP = ("crop_left", "crop_top", "crop_right", "crop_bottom", "crop_choice", "crop_aspect")
BY_PERSON = {"caption_by_person": WORDS, "crop_by_person": CROP}
"""Of each mark the columns that are a person's where it is true."""


def kept_from(stage: MapStage, known: Iterable[str]) -> list[str]:
    """What must be read so that ``stage`` leaves a person's values: marks, and what it would write over.

    ``known``: the columns written before it. Empty for a stage that writes none of a person's.
    """
    there, found = set(known), list[str]()
    for mark, columns in BY_PERSON.items():
        over = [name for name in columns if name in stage.writes.names and name in there]
        found += [mark, *over] if over and mark in there else []
    return found


Columns = dict[str, Sequence[Any]]


def leaving_decided(stage: MapStage, batch: Batch, call: Callable[[Batch], Columns]) -> Columns:
    """What ``stage`` writes for a batch by ``call``, which is not shown the rows that are a person's."""
    theirs = _theirs(stage, batch)
    if not any(theirs):
        return call(batch)
    rows = [i for i, stays in enumerate(theirs) if not stays]
    written, result = call(_some(batch, rows)) if rows else {}, Columns()
    for name in stage.writes.names:
        values = list(batch.columns.get(name, [None] * batch.size))
        for i, value in zip(rows, written.get(name, ()), strict=True):
            values[i] = value
        result[name] = values
    return result


def _theirs(stage: MapStage, batch: Batch) -> list[bool]:
    """Which rows have a mark of a person on something that the stage would write over."""
    over = [name for name in stage.writes.names if name in batch.columns]
    marks = [mark for mark, columns in BY_PERSON.items() if mark in batch.columns and {*columns} & {*over}]
    return [any(batch.columns[mark][i] for mark in marks) for i in range(batch.size)]


def _some(batch: Batch, rows: list[int]) -> Batch:
    columns = {name: [values[i] for i in rows] for name, values in batch.columns.items()}
    images = [batch.images[i] for i in rows] if batch.images else ()
    broken = [batch.broken[i] for i in rows] if batch.broken else ()
    return Batch(len(rows), columns, images, broken)
