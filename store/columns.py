"""Column sets: one stage's output over one source, a Parquet file per image shard.

Every file has ``sample_id`` and the written columns, for the same rows in the same order as the
shard it belongs to. A file is there when it is complete; the set is when ``column_set.json`` is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from store.digest import file_sha256
from store.errors import MashbillError
from store.location import Location
from store.parquet import read_table, write_table


@dataclass(frozen=True)
class ColumnSet:
    """A column set in the store, complete or growing."""

    location: Location

    @property
    def complete(self) -> bool:
        return (self.location / "column_set.json").exists()

    def present(self) -> set[int]:
        """Indices of the shards that are done."""
        names = (name.removesuffix(".parquet") for name in self.location.names())
        return {int(name) for name in names if name.isdigit()}

    def read(self, shard: int, columns: Sequence[str] | None = None) -> pa.Table:
        return read_table(self._file(shard), columns)

    def write(self, shard: int, table: pa.Table, rows: int) -> None:
        """Commit one shard's columns; ``rows`` is how many the shard has."""
        if table.num_rows != rows:
            raise MashbillError(
                f"{self.location.name} made {table.num_rows} rows of {rows} in shard {shard}: a stage "
                "must return every row it was given. Nothing was written; mend the stage."
            )
        write_table(self._file(shard), table)

    def commit(self, made_by: dict[str, Any], shards: Sequence[int]) -> None:
        """Mark the set complete, with the hash of each file, so that ``verify`` can check them."""
        files = {f"{i:05d}.parquet": file_sha256(self._file(i)) for i in shards}
        (self.location / "column_set.json").write_json({"made_by": made_by, "files": files})

    def manifest(self) -> dict[str, Any]:
        return dict((self.location / "column_set.json").read_json())

    def _file(self, shard: int) -> Location:
        return self.location / f"{shard:05d}.parquet"
