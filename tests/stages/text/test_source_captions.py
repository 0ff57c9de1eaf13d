"""Stage ``source_captions``: what a dataset brings along."""

from __future__ import annotations

import json

import pytest

from pipelines.outranked import kept_from, leaving_decided
from pipelines.recipes.ye_pop_own import ye_pop_own
from stages.stage import Batch
from stages.text.source_captions import SourceCaptions
from store.errors import UsageError


def test_captions_come_in_order_cleaned_and_once() -> None:
    told = [
        {"cogvlm_caption": " A &amp; B ", "llava_caption": "Two."},
        {"llava_caption": "Two."},
        {"cogvlm_caption": "Same.", "llava_caption": "Same. "},
        {"cogvlm_caption": 7, "llava_caption": "  "},
        None,
    ]
    meta = [None if one is None else json.dumps(one) for one in told]
    old = ["old"] * 4 + [None]
    written = SourceCaptions().open()(Batch(5, {"meta": meta, "caption": old}))
    assert written["captions"] == [["A & B", "Two."], ["Two."], ["Same."], ["old"], []]
    assert written["caption"] == ["A & B", "Two.", "Same.", "old", None]
    assert written["caption_before"] == old


def test_fields_must_be_named_once() -> None:
    for fields in ((), ("a", "a")):
        with pytest.raises(UsageError, match=r"source_captions\.fields"):
            SourceCaptions(fields=fields)


def test_the_recipe_asks_no_model_for_words() -> None:
    names = [stage.name for stage in ye_pop_own().columns]
    assert "source_captions" in names
    assert "recaption" not in names


def test_words_of_a_person_stay() -> None:
    stage = SourceCaptions()
    known = ("caption", "captions", "caption_by_person")
    assert set(kept_from(stage, known)) == set(known)
    columns = {
        "meta": [json.dumps({"cogvlm_caption": "A machine's."})] * 2,
        "caption": ["A person's.", "Old."],
        "captions": [["A person's."], None],
        "caption_by_person": [True, False],
    }
    written = leaving_decided(stage, Batch(2, columns), stage.open())
    assert written["caption"] == ["A person's.", "A machine's."]
    assert written["captions"] == [["A person's."], ["A machine's."]]
