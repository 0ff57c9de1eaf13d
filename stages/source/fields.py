"""Fields of a sample as its source wrote them, whatever is wrong with them."""

from __future__ import annotations

import json
from typing import Any


def text_or_none(value: Any) -> str | None:
    """The value as text: a URL or caption need not have been written as a string."""
    return None if value is None else str(value)


def json_object(data: bytes, name: str) -> dict[str, Any]:
    """The object in the JSON file ``name``.

    What is no JSON gives the one field ``json_error``, which says so; another value than an object
    gives the one field ``json``. Both travel along in ``meta``: one bad file stops nothing.
    """
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        return {"json_error": f"{name} is not valid JSON: {error}"}
    return value if isinstance(value, dict) else {"json": value}
