"""Which column sets a recipe needs, by name and fingerprint, and which of them can share a pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pipelines.dataset import Dataset
from stages.stage import MapStage, Reduction, SelectStage
from store.digest import fingerprint, settings
from store.errors import UsageError
from store.schema import SAMPLE_ROWS

SOURCE_COLUMNS = ("sample_id", "source_key", "url", "caption_original", "meta", "source_error")
REQUIRED = ("sha256", "caption", "width", "height", "split", "crop_left")
"""What every dataset has: ``sha256`` ties a version to the bytes of its images, the rest is packed."""
TAKEN = (*SAMPLE_ROWS.names, "kept", "reason")
"""Column names that are not a stage's to write."""


@dataclass(frozen=True)
class Step:
    """One stage in its place: ``reads`` maps each column to the step that wrote it (None: source)."""

    stage: MapStage | Reduction
    fingerprint: str
    reads: dict[str, Step | None]

    def made_by(self) -> dict[str, Any]:
        """What the column set's manifest says of its making."""
        inputs = {name: step.fingerprint for name, step in self.reads.items() if step}
        return {"stage": settings(self.stage), "reads": inputs}


def plan(dataset: Dataset, source_fingerprint: str) -> list[Step]:
    """The steps of a recipe in order.

    Raises:
        UsageError: a stage or rule reads a column nobody wrote before it, or two stages share a name.
    """
    steps: list[Step] = []
    for stage in dataset.columns:
        if any(stage.name == step.stage.name for step in steps):
            raise UsageError(f"recipe {dataset.name}: two stages are named {stage.name}")
        taken = [column for column in stage.writes.names if column in TAKEN]
        if taken:
            raise UsageError(
                f"recipe {dataset.name}: {stage.name} writes {taken[0]!r}, a name of the store's own"
            )
        reads = {column: writer(steps, column, stage, dataset.name) for column in stage.reads}
        inputs = {column: step.fingerprint for column, step in reads.items() if step}
        written = [[column.name, str(column.type)] for column in stage.writes]
        key = {"stage": settings(stage), "writes": written, "reads": inputs, "source": source_fingerprint}
        steps.append(Step(stage, fingerprint(key), reads))
    for number, rule in enumerate(dataset.select):
        if any(rule.name == earlier.name for earlier in dataset.select[:number]):
            raise UsageError(f"recipe {dataset.name}: two rules are named {rule.name}")
        for column in rule.reads:
            writer(steps, column, rule, dataset.name)
    missing = [column for column in REQUIRED if column not in columns_of(steps)]
    if missing:
        raise UsageError(
            f"recipe {dataset.name}: no stage writes {', '.join(missing)}; every dataset needs them"
        )
    return steps


def writer(
    steps: list[Step], column: str, reader: MapStage | Reduction | SelectStage, recipe: str
) -> Step | None:
    """The last step that writes ``column``, or None when the source has it."""
    for step in reversed(steps):
        if column in step.stage.writes.names:
            return step
    if column in SOURCE_COLUMNS:
        return None
    known = sorted({*SOURCE_COLUMNS, *columns_of(steps)})
    raise UsageError(
        f"recipe {recipe}: {reader.name} reads {column!r}, which nothing before it writes; "
        f"there are: {', '.join(known)}"
    )


def columns_of(steps: list[Step]) -> dict[str, Step]:
    """Every column the steps write, with the last step to write it."""
    return {name: step for step in steps for name in step.stage.writes.names}


def passes(steps: list[Step]) -> list[list[Step]]:
    """Steps in groups that run together: neighboring map stages in one pass, each reduction alone."""
    groups: list[list[Step]] = []
    for step in steps:
        joins = groups and all(isinstance(s.stage, MapStage) for s in (step, groups[-1][-1]))
        if joins:
            groups[-1].append(step)
        else:
            groups.append([step])
    return groups


assert set(SOURCE_COLUMNS) <= set(SAMPLE_ROWS.names)
