"""Fixtures every test may use."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path | None:
    """Folder of larger public test data beside the checkout, or None where there is none."""
    folder = ROOT.parent / "shared" / "data"
    return folder if folder.is_dir() else None
