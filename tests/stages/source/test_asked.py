"""Source ``asked``: what enters, and that neither an attribute's name nor the cut into shards changes it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from stages.prompt.specification import Attribute, Specification, Value
from stages.source.asked import Asked
from store.errors import UsageError
from store.sources import RawSample

SPECIFICATION = Specification(
    (
        Attribute("number", (Value("two", 0.5), Value("3", 0.25))),
        Attribute("sample_id", (Value("red", 0.5), Value("blue", 0.5))),
    ),
    ("[{number} {sample_id} stars|a(n) {sample_id} star]", "{sample_id}[, {number}]"),
)


def taken(source: Asked) -> list[RawSample]:
    return [sample for portion in source.plan() for sample in source.read(portion, "")]


def test_attributes_may_be_called_as_columns_are() -> None:
    samples = taken(Asked(SPECIFICATION, samples=8))
    assert [sample.source_key for sample in samples] == [f"{n:08d}" for n in range(8)]
    asked = [json.loads(sample.meta or "")["asked"] for sample in samples]
    assert sorted(one.get("number", "") for one in asked) == ["", "", "3", "3", "two", "two", "two", "two"]
    for one, sample in zip(asked, samples, strict=True):
        assert one["sample_id"] in (sample.caption or "").lower()
        assert sample.image is None
        assert sample.error is None


def test_shards_of_another_size_hold_the_same() -> None:
    source = Asked(SPECIFICATION, samples=50)
    assert taken(replace(source, shard_size=7)) == taken(source)
    assert replace(source, shard_size=7).identity() == source.identity()
    assert replace(source, seed=1).identity() != source.identity()


def test_what_cannot_be_asked() -> None:
    with pytest.raises(UsageError, match=r"source\.samples=0"):
        Asked(SPECIFICATION, samples=0)
    with pytest.raises(UsageError, match="names 'size'; there are: number, sample_id"):
        Asked(replace(SPECIFICATION, templates=("{size} star",)))
