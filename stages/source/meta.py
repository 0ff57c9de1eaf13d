"""The one text column that carries every field a source has beside image, URL and caption."""

from __future__ import annotations

import datetime
import json
import math
from collections.abc import Mapping
from typing import Any


def meta_json(fields: Mapping[str, Any]) -> str | None:
    """A JSON object of ``fields``, keys sorted; None when there are none.

    Dates become ISO text, bytes hex, NaN and infinities null; anything else unknown its ``str``.
    """
    if not fields:
        return None
    plain = {str(key): _plain(value) for key, value in fields.items()}
    return json.dumps(plain, sort_keys=True, ensure_ascii=False)


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value)
