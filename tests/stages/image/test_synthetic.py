"""Stage ``synthetic``."""

from __future__ import annotations

import json
from typing import Any

from stages.image.synthetic import Synthetic
from stages.stage import Batch

MADE = {
    "synthetic": True,
    "generator": "some/model",
    "seed": 2**63 - 1,
    "steps": 32,
    "guidance_scale": 4,
    "prompt_id": "0123",
    "parent": "abcd",
    "parent_split": "test",
}


def columns(*meta: str | None) -> list[dict[str, Any]]:
    written = Synthetic().open()(Batch(len(meta), {"meta": list(meta)}))
    return [{name: values[i] for name, values in written.items()} for i in range(len(meta))]


def test_what_the_source_wrote_and_what_a_crawl_wrote() -> None:
    made, crawled, nothing = columns(json.dumps(MADE), '{"generator": "WordPress", "seed": 7}', None)
    assert made == {
        "synthetic": True,
        "generator": "some/model",
        "generation_seed": 2**63 - 1,
        "generation_steps": 32,
        "generation_guidance": 4,
        "prompt_id": "0123",
        "prompt_parent": "abcd",
        "prompt_split": "test",
    }
    assert set(crawled.values()) == set(nothing.values()) == {False, None}
    assert crawled["synthetic"] is False


def test_odd_values_are_null() -> None:
    odd = {"synthetic": True, "generator": 3, "seed": 2**64, "steps": True, "guidance_scale": "4"}
    (row,) = columns(json.dumps(odd))
    assert row.pop("synthetic") is True
    assert set(row.values()) == {None}
    (row,) = columns('{"synthetic": "yes"}')
    assert row["synthetic"] is False
