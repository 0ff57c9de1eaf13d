"""Which samples stay: the rules of a recipe over the columns, and the account of what they did."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.columns import gather
from pipelines.dataset import Dataset
from pipelines.planner import SOURCE_COLUMNS, Step, columns_of
from store.errors import MashbillError
from store.sources import StoredSource
from store.store import Store

FIRST = ("sample_id", "url", "source_key", "caption", "caption_original", "width", "height")
DECIDED = ("kept", "reason")


@dataclass(frozen=True)
class Selection:
    """``samples``: one row per sample that entered, sorted by id, with ``kept`` and ``reason``.
    ``account``: per rule ``{name, samples_in, kept, dropped}``."""

    samples: pa.Table
    account: list[dict[str, Any]]

    @property
    def dropped(self) -> dict[str, int]:
        counts = Counter(reason for reason in self.samples["reason"].to_pylist() if reason is not None)
        return dict(sorted(counts.items()))


def select(store: Store, source: StoredSource, dataset: Dataset, steps: list[Step]) -> Selection:
    """Apply the recipe's rules in order, each to what the earlier ones kept."""
    table = _everything(store, source, steps)
    reasons = table["source_error"].combine_chunks()
    account = [_entry("source", table.num_rows, reasons)]
    for rule in dataset.select:
        alive = pc.is_null(reasons)
        rows = table.select(list(dict.fromkeys(["sample_id", *rule.reads]))).filter(alive)
        decided = _checked(rule.decide(rows), rule.name, rows.num_rows)
        account.append(_entry(rule.name, rows.num_rows, decided))
        reasons = pc.replace_with_mask(reasons, alive, decided)
    table = table.drop_columns(["source_error"])
    table = table.append_column("kept", pc.is_null(reasons)).append_column("reason", reasons)
    names = [n for n in FIRST if n in table.column_names]
    names += [n for n in (*DECIDED, *sorted(table.column_names)) if n not in names]
    return Selection(table.select(list(dict.fromkeys(names))).combine_chunks(), account)


def _everything(store: Store, source: StoredSource, steps: list[Step]) -> pa.Table:
    """All columns but working ones (binary), of all shards, sorted by ``sample_id``."""
    reads: dict[str, Step | None] = dict.fromkeys(SOURCE_COLUMNS)
    for name, step in columns_of(steps).items():
        if not _working(step.stage.writes.field(name).type):
            reads[name] = step
    tables = [gather(store, source, shard, reads) for shard in source.shards()]
    return pa.concat_tables(tables).sort_by("sample_id")


def _working(kind: pa.DataType) -> bool:
    """Columns that only another stage can read, such as thumbnails, stay in their column set."""
    return bool(
        pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind)
    )


def _checked(decided: Any, rule: str, rows: int) -> pa.Array:
    """A rule's answer as strings; refused when it is no reason or null for each row."""
    if isinstance(decided, pa.ChunkedArray):
        decided = decided.combine_chunks()
    kind = decided.type if isinstance(decided, pa.Array) else type(decided).__name__
    if not (isinstance(decided, pa.Array) and (pa.types.is_string(kind) or pa.types.is_null(kind))):
        raise MashbillError(f"rule {rule} answered {kind}, expected an Arrow array of strings; mend the rule")
    if len(decided) != rows:
        raise MashbillError(f"rule {rule} decided {len(decided)} of {rows} rows; mend the rule")
    decided = decided.cast(pa.string())
    if pc.any(pc.equal(decided, "")).as_py():
        raise MashbillError(f"rule {rule} gave an empty reason; a sample that stays has null. Mend the rule")
    return decided


def _entry(name: str, entered: int, reasons: pa.Array) -> dict[str, Any]:
    """One rule's account. ``kept`` is counted for itself, so that the sum can be checked."""
    dropped = Counter(reason for reason in reasons.to_pylist() if reason is not None)
    kept = int(pc.sum(pc.is_null(reasons)).as_py() or 0)
    return {"name": name, "samples_in": entered, "kept": kept, "dropped": dict(sorted(dropped.items()))}
