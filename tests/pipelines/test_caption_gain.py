"""The gain of new captions, on tables whose answer is known."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest

from pipelines.caption_gain import caption_gain, gain_of
from pipelines.report import _templates
from stages.text.chat_endpoint import Endpoint
from stages.text.limit import Limit
from stages.text.recaption import Recaption

OLD = ["IMG &amp; 1234", None, "red red car", "a dog", "dropped", "no image"]
NEW = ["A red star left of a blue ring.", "New words.", "Two red cars.", "a dog", "Paid for.", None]
COLUMNS: dict[str, list[Any]] = {
    "kept": [True, True, True, True, False, True],
    "caption_before": OLD,
    "caption": NEW,
    "recaption_reason": [None, None, None, "loop", None, None],
    "recaption_requests": [1, 1, 2, 3, 1, None],
    "caption_prompt_tokens": [10, 10, 20, 30, 10, None],
    "caption_completion_tokens": [7, 3, 8, 60, 2, None],
    "clip_similarity_before": [0.1, None, 0.2, 0.3, 0.9, None],
    "clip_similarity": [0.4, 0.5, 0.3, 0.3, 0.1, None],
    "clip_cut_before": [False, None, False, False, True, None],
    "clip_cut": [True, False, False, False, False, None],
    "recaption_faults": ["short: loop", None, None, "long: loop, short: loop", "long: empty", None],
}
TYPES = {"kept": pa.bool_(), "caption_before": pa.string(), "caption": pa.string()}
LIMIT = Limit("tiny CLIP", "tinyworld/models/clip", 11)


def table(**changes: list[Any]) -> pa.Table:
    columns = COLUMNS | changes
    return pa.table({name: pa.array(values, TYPES.get(name)) for name, values in columns.items()})


def test_known_numbers() -> None:
    chat = Endpoint(prompt_usd=1e6, completion_usd=2e6)
    gain = caption_gain(table(), [LIMIT], {"color": "red blue", "count": "two"}, chat.cost_usd)
    assert gain is not None
    assert (gain["samples"], gain["new"], gain["kept_old"], gain["compared"]) == (5, 3, {"loop": 1}, 3)
    assert gain["words"]["before"] == {"mean": 2.0, "vocabulary": 5, "captions": 3}
    assert gain["words"]["after"] == {"mean": pytest.approx(13 / 3), "vocabulary": 10, "captions": 3}
    assert gain["attributes"] == [
        {"name": "color", "before": pytest.approx(1 / 3), "after": pytest.approx(2 / 3)},
        {"name": "count", "before": 0.0, "after": pytest.approx(1 / 3)},
    ]
    found = gain["similarity"]
    assert found["samples"] == 3
    assert [found[name] for name in ("before", "after", "gain")] == pytest.approx([0.2, 1 / 3, 2 / 15])
    assert found["better"] == pytest.approx(2 / 3)
    assert found["error"] == pytest.approx(0.0881917)
    assert gain["cost"] == {"requests": 8, "prompt_tokens": 80, "completion_tokens": 80, "usd": 240.0}
    assert gain["cut"] == {"before": 0.0, "after": pytest.approx(1 / 3)}
    assert gain["faults"] == {"long: loop": 1, "short: loop": 2}
    lengths = gain["lengths"][0]
    assert (lengths["name"], lengths["tokens"]) == ("tiny CLIP", 11)
    assert lengths["after"]["median"] == 7  # two, red, car, s, the point and both ends
    json.dumps(gain)


def test_captions_longer_than_a_student_reads_are_counted() -> None:
    gain = caption_gain(table(caption=["a red star " * 30, "x", "a", "a", "x", None]), [LIMIT])
    assert gain is not None
    assert gain["lengths"][0]["after"]["over"] == pytest.approx(1 / 3)
    assert gain["lengths"][0]["after"]["most"] == 92


def test_nothing_to_compare() -> None:
    assert caption_gain(table().drop_columns(["recaption_reason"])) is None
    empty = caption_gain(table().slice(0, 0), [LIMIT])
    assert empty is not None
    assert (empty["compared"], empty["similarity"], empty["cost"]["requests"]) == (0, None, 0)
    without = caption_gain(table().drop_columns(["clip_similarity"]))
    assert without is not None
    assert without["similarity"] is None
    assert without["cost"]["usd"] is None


@pytest.mark.parametrize("rows", [6, 1, 0])
def test_its_section_of_the_page(rows: int) -> None:
    gain = caption_gain(table().slice(0, rows), [LIMIT])
    environment = _templates()
    page = "{% import 'report_parts.html' as parts %}{% include 'report_captions.html' %}"
    shown = environment.from_string(page).render(gain=gain)
    assert "New captions" in shown
    assert ("CLIP similarity gained" in shown) is (rows > 0)
    assert ("tiny CLIP" in shown) is (rows > 0)


def test_a_recipe_brings_its_students_and_prices() -> None:
    priced = Recaption(Endpoint(prompt_usd=1e6), limits=(LIMIT,))
    gain = gain_of((priced,), table())
    assert gain is not None
    assert gain["cost"]["usd"] == 80.0
    assert [(one["name"], one["before"]["over"]) for one in gain["lengths"]] == [("tiny CLIP", 0.0)]
    parts = "{% import 'report_parts.html' as parts %}{% include 'report_captions.html' %}"
    page = _templates().from_string(parts).render(gain=gain)
    assert "80.00 US dollars" in page
    assert "tiny CLIP" in page
    assert "short: loop" in page
    free = gain_of((Recaption(Endpoint()),), table())
    assert free is not None
    assert (free["cost"]["usd"], free["lengths"]) == (None, [])
    assert gain_of((), table()) is None
