"""Which column sets a recipe needs, by name and fingerprint, and which of them can share a pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from pipelines.dataset import Dataset
from pipelines.outranked import kept_from
from stages.pinned import Known, models_in, pinned
from stages.stage import MapStage, Reduction, Resources, SelectStage
from store.digest import fingerprint, settings
from store.errors import UsageError
from store.schema import SAMPLE_ROWS
from store.store import Store

SOURCE_COLUMNS = ("sample_id", "source_key", "url", "caption_original", "meta", "source_error")
WORDS = ("caption", "split")
"""What every dataset has, one of prompts alone too."""
PACKED = ("sha256", *WORDS, "width", "height", "crop_left")
"""What a dataset with packs has: ``sha256`` ties a version to the bytes of its images."""
TAKEN = (*SAMPLE_ROWS.names, "kept", "reason")
"""Column names that are not a stage's to write."""


@dataclass(frozen=True)
class Step:
    """One stage in its place: ``reads`` maps each column to the step that wrote it (None: source).

    ``without`` are the image shards that a reduction, this one or one before it, did not see. They
    are part of its fingerprint: with those shards it would have said other things.
    """

    stage: MapStage | Reduction
    fingerprint: str
    reads: dict[str, Step | None]
    without: frozenset[int] = frozenset()

    def made_by(self) -> dict[str, Any]:
        """What the column set's manifest says of its making."""
        inputs = {name: step.fingerprint for name, step in self.reads.items() if step}
        return {"stage": settings(self.stage), "reads": inputs}


Grant = Callable[[str, Resources], Resources]
"""What a stage of that name, which declares so much, gets where it runs."""


def resolved(dataset: Dataset, store: Store) -> Dataset:
    """The recipe with everything it names exact: versions of datasets, revisions of models.

    Raises:
        MashbillError: something is not there, or cannot be told.
    """
    known: Known = {}
    return replace(
        dataset,
        source=pinned(dataset.source.found_in(store), "source", known),
        columns=tuple(pinned(stage, stage.name, known) for stage in dataset.columns),
        pack=pinned(dataset.pack, "pack", known),
    )


def models_named(dataset: Dataset) -> dict[str, str]:
    """Every model of a resolved recipe, as ``MODEL@REVISION`` by the path of its field."""
    parts = {"source": dataset.source, "pack": dataset.pack} | {s.name: s for s in dataset.columns}
    return {path: model for name, part in parts.items() for path, model in models_in(part, name).items()}


def plan(dataset: Dataset, source_fingerprint: str, aside: frozenset[int] = frozenset()) -> list[Step]:
    """The steps of a recipe in order; ``aside`` are image shards to leave out.

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
        kept = kept_from(stage, columns_of(steps)) if isinstance(stage, MapStage) else []
        reads = {column: writer(steps, column, stage, dataset.name) for column in (*stage.reads, *kept)}
        inputs = {column: step.fingerprint for column, step in reads.items() if step}
        written = [[column.name, str(column.type)] for column in stage.writes]
        key = {"stage": settings(stage), "writes": written, "reads": inputs, "source": source_fingerprint}
        without = aside if isinstance(stage, Reduction) else _unseen(reads)
        if without:
            key["without"] = sorted(without)
        steps.append(Step(stage, fingerprint(key), reads, without))
    for number, rule in enumerate(dataset.select):
        if any(rule.name == earlier.name for earlier in dataset.select[:number]):
            raise UsageError(f"recipe {dataset.name}: two rules are named {rule.name}")
        for column in rule.reads:
            writer(steps, column, rule, dataset.name)
    required = PACKED if dataset.pack.resolutions else WORDS
    missing = [column for column in required if column not in columns_of(steps)]
    if missing:
        what = "a dataset with packs" if dataset.pack.resolutions else "every dataset"
        raise UsageError(f"recipe {dataset.name}: no stage writes {', '.join(missing)}; {what} needs them")
    _check_carried(dataset, steps)
    return steps


def _check_carried(dataset: Dataset, steps: list[Step]) -> None:
    """Refuse a recipe in which what its source found, such as a person's words, would go nowhere."""
    if not {*dataset.source.needs} <= {*columns_of(steps)}:
        raise UsageError(
            f"recipe {dataset.name}: source {dataset.source.kind} needs a stage that writes "
            f"{', '.join(dataset.source.needs)}. Put Inherited() of stages.image.inherited into its columns."
        )


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


def _unseen(reads: dict[str, Step | None]) -> frozenset[int]:
    """The shards that some writer of these columns did not see."""
    return frozenset().union(*(step.without for step in reads.values() if step))


def passes(steps: list[Step], grant: Grant) -> list[list[Step]]:
    """Steps in groups that run together: each reduction alone, neighboring map stages in one pass.

    Map stages share a pass when they are granted the same and no GPU: two models in one worker would
    need the sum of their memory.
    """
    groups: list[list[Step]] = []
    for step in steps:
        if groups and _share(groups[-1][-1], step, grant):
            groups[-1].append(step)
        else:
            groups.append([step])
    return groups


def needs_of(step: Step, grant: Grant) -> Resources:
    """What a pass with this step holds; reductions run where the build does."""
    return grant(step.stage.name, step.stage.resources) if isinstance(step.stage, MapStage) else Resources()


def _share(left: Step, right: Step, grant: Grant) -> bool:
    if not (isinstance(left.stage, MapStage) and isinstance(right.stage, MapStage)):
        return False
    needs = needs_of(left, grant)
    return needs == needs_of(right, grant) and not needs.gpus


assert set(SOURCE_COLUMNS) <= set(SAMPLE_ROWS.names)
