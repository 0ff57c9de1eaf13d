"""Reads a frozen study, and refuses one whose files were changed."""

from __future__ import annotations

import hashlib
from typing import Any

import pyarrow as pa

from curation_ui.study.design import Study
from curation_ui.study.pairs import Pair
from store.errors import MashbillError
from store.parquet import read_table


def load_pairs(study: Study, record: dict[str, Any]) -> list[Pair]:
    """Every pair of the study.

    Raises:
        MashbillError: the file is not as it was frozen.
    """
    return [Pair(**row) for row in _table(study, record, "pairs.parquet").to_pylist()]


def load_images(study: Study, record: dict[str, Any]) -> pa.Table:
    """Every image of the study: a row of ``study_create.IMAGES`` each. Raises as ``load_pairs``."""
    return _table(study, record, "images.parquet")


def _table(study: Study, record: dict[str, Any], name: str) -> pa.Table:
    file = study.location / name
    table = read_table(file)
    if hashlib.sha256(file.read_bytes()).hexdigest() != record["files"][name]:
        raise MashbillError(
            f"{file.url} is not as it was frozen: what is asked may not change once a study is made. Restore "
            "the file, or create another study."
        )
    return table
