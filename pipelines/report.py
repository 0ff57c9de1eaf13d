"""The report of a version."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from store.sources import StoredSource
from store.versions import Version


def write_report(version: Version, source: StoredSource, manifest: dict[str, Any], samples: pa.Table) -> None:
    """Placeholder until the report lands."""
    (version.location / "report" / "index.html").write_bytes(b"<html></html>")
