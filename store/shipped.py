"""Files that come with mashbill, named as they lie in the project: ``tinyworld/models/unet``."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[1]


def shipped(source: str) -> str:
    """The path of a model that comes with mashbill; any other source (a folder, a hub id) as it is.

    A folder below the current one comes first, so that a name means what ``ls`` shows.
    """
    inside = ROOT / source
    comes_along = source.startswith("tinyworld/") and not Path(source).exists() and inside.exists()
    return str(inside) if comes_along else source
