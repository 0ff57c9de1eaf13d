"""What a run measures: one row per logged step, in files that need no service to read.

::

    metrics.jsonl      a line per logged step, written as the run goes
    metrics.parquet    the same as a table, when the run is done
    events/            TensorBoard events of the same numbers
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet
from tensorboardX import SummaryWriter

Row = dict[str, float]


class Metrics:
    """The rows of a run, from those of its checkpoint on."""

    def __init__(self, folder: Path, step: int) -> None:
        """Open the rows of ``folder``; those after ``step`` are forgotten: they are taken again."""
        self.folder = folder
        self.rows = [row for row in _rows(folder / "metrics.jsonl") if row["step"] <= step]
        kept = folder / ".metrics.jsonl"
        kept.write_text("".join(json.dumps(row) + "\n" for row in self.rows))
        os.replace(kept, folder / "metrics.jsonl")
        self._log = (folder / "metrics.jsonl").open("a")
        self._events = SummaryWriter(  # a file of its own, even within a second of the start before
            str(folder / "events"), purge_step=step + 1, flush_secs=10, filename_suffix=f".{step:08d}"
        )

    def add(self, row: Row) -> None:
        """Take in a row; it has a ``step``."""
        self.rows.append(row)
        self._log.write(json.dumps(row) + "\n")
        self._log.flush()
        for name, value in row.items():
            if name != "step":
                self._events.add_scalar(name, value, int(row["step"]))

    def column(self, name: str) -> tuple[list[int], list[float]]:
        """(steps, values) of the rows that have the column."""
        rows = [row for row in self.rows if name in row]
        return [int(row["step"]) for row in rows], [row[name] for row in rows]

    @property
    def names(self) -> list[str]:
        """Every column but ``step``, in order of appearance."""
        return [name for name in dict.fromkeys(n for row in self.rows for n in row) if name != "step"]

    def write_table(self) -> None:
        """Every row, and null where a row has not all columns."""
        columns = {name: [row.get(name) for row in self.rows] for name in ("step", *self.names)}
        parquet.write_table(pa.table(columns), self.folder / "metrics.parquet")

    def close(self) -> None:
        """Close the files; once more is no harm."""
        self._log.close()
        self._events.close()


def _rows(path: Path) -> list[Row]:
    """The whole lines of the file; a last one that was cut by a kill is left out."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
