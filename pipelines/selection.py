"""Which samples stay: the rules of a recipe over the columns, and the account of what they did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.dataset import Dataset
from store.errors import MashbillError
from store.tables import SampleTable
from store.versions import decided_samples


@dataclass(frozen=True)
class Selection:
    """``reasons``: for each row of ``table`` the reason it was left out for, null where it was kept.
    ``account``: per rule ``{name, samples_in, kept, dropped}``."""

    table: SampleTable
    reasons: pa.Array
    account: list[dict[str, Any]]

    def samples(self, columns: Sequence[str] | None = None) -> pa.Table:
        """One row per sample that entered, sorted by id, with ``kept`` and ``reason``."""
        return decided_samples(self.table, self.reasons, columns)

    @property
    def dropped(self) -> dict[str, int]:
        return _counts(self.reasons)


def select(table: SampleTable, dataset: Dataset) -> Selection:
    """Apply the recipe's rules in order, each to what the earlier ones kept.

    What never came, and every sample of a shard that was set aside, is dropped first.
    """
    reads = {name for rule in dataset.select for name in rule.reads}
    rows = table.read(sorted({"sample_id"} | reads - {"source_error"}))
    reasons = table.places(["source_error"])["source_error"].combine_chunks()
    rows = rows.append_column("source_error", reasons)
    account = [_entry("source", rows.num_rows, reasons)]
    for rule in dataset.select:
        alive = pc.is_null(reasons)
        some = rows.select(list(dict.fromkeys(["sample_id", *rule.reads]))).filter(alive)
        decided = _checked(rule.decide(some), rule.name, some.num_rows)
        account.append(_entry(rule.name, some.num_rows, decided))
        reasons = pc.replace_with_mask(reasons, alive, decided)
    return Selection(table, reasons, account)


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
    kept = int(pc.sum(pc.is_null(reasons)).as_py() or 0)
    return {"name": name, "samples_in": entered, "kept": kept, "dropped": _counts(reasons)}


def _counts(reasons: pa.Array) -> dict[str, int]:
    """How often each reason occurs, by its name."""
    counted = pc.value_counts(reasons.drop_null()).to_pylist()
    return dict(sorted((entry["values"], entry["counts"]) for entry in counted))
