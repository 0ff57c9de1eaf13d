"""Each select rule and the split on rows with known answers."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from stages.select.caption_length import CaptionLength
from stages.select.keep_best import KeepBest
from stages.select.min_side import MinSide
from stages.select.no_prompt_copies import NoPromptCopies
from stages.select.readable import Readable
from stages.select.split import Split
from stages.stage import Batch, SelectStage
from store.errors import UsageError


def decide(rule: SelectStage, **columns: Any) -> list[str | None]:
    count = len(next(iter(columns.values())))
    ids = {"sample_id": [f"{number:024x}" for number in range(count)]}
    return list(rule.decide(pa.table(ids | columns)).to_pylist())


def texts(*values: str | None) -> pa.Array:
    return pa.array(values, pa.string())


def test_readable_gives_the_reason_it_was_told() -> None:
    header, decoded = texts(None, "zero_size", None), texts(None, "corrupt", "truncated")
    assert decide(Readable(), header_error=header, decode_error=decoded) == [None, "zero_size", "truncated"]


def test_caption_length_counts_characters_not_bytes() -> None:
    captions = texts(None, "", "a", "雪" * 4, "雪" * 5)
    missing, long = "caption_missing", "caption_too_long"
    assert decide(CaptionLength(max_chars=4), caption=captions) == [missing, missing, None, None, long]


def test_min_side_looks_at_the_shorter_side() -> None:
    sides = [(300, 300), (299, 1000), (1000, 299), (4000, 300)]
    width, height = (pa.array(side, pa.int32()) for side in zip(*sides, strict=True))
    assert decide(MinSide(), width=width, height=height) == [None, "too_small", "too_small", None]


BEST = [
    # cluster, width, height, sharpness, caption, content, bytes -> reason
    ("a", 100, 100, 1.0, "x", "1", 10, "duplicate_near"),
    ("a", 200, 100, 0.1, "x", "2", 10, None),  # most pixels
    ("b", 100, 100, 1.0, "x", "3", 10, "duplicate_near"),
    ("b", 100, 100, 2.0, "x", "4", 10, None),  # sharpest
    ("c", 100, 100, 1.0, "short", "5", 10, "duplicate_exact"),
    ("c", 100, 100, 1.0, "longer", "5", 10, None),  # longest caption
    ("d", 100, 100, None, None, "6", 10, None),  # smallest id
    ("d", 100, 100, None, None, "6", 10, "duplicate_exact"),
    ("f", 100, 100, 1.09, "x", "a", 10, "duplicate_near"),  # compressed again: hardly sharper
    ("f", 100, 100, 1.02, "x", "b", 20, None),  # most bytes
    (None, 100, 100, 1.0, "x", "7", 10, None),  # in no cluster: alone
    (None, 100, 100, 1.0, "x", "7", 10, None),
    ("e", 50_000, 50_000, 1.0, "x", "8", 10, None),  # more pixels than 32 bits hold
    ("e", 40_000, 50_000, 1.0, "x", "9", 10, "duplicate_near"),
]


def test_keep_best_of_each_cluster() -> None:
    cluster, width, height, sharpness, caption, content, num_bytes, reasons = zip(*BEST, strict=True)
    found = decide(
        KeepBest(),
        cluster_id=texts(*cluster),
        width=pa.array(width, pa.int32()),
        height=pa.array(height, pa.int32()),
        sharpness=pa.array(sharpness, pa.float32()),
        num_bytes=pa.array(num_bytes, pa.int64()),
        caption=texts(*caption),
        sha256=texts(*content),
    )
    assert found == list(reasons)


def split(stage: Split, ids: list[str]) -> list[str]:
    return list(stage.open()(Batch(len(ids), {"sample_id": ids}))["split"])


def test_a_share_of_samples_goes_to_validation_and_stays_there() -> None:
    ids = [f"{number:024x}" for number in range(4000)]
    found = split(Split(validation_share=0.1), ids)
    assert 320 < found.count("validation") < 480
    assert split(Split(validation_share=0.1), ids[::-1]) == found[::-1]
    larger = split(Split(validation_share=0.2), ids)
    assert all(more == "validation" for less, more in zip(found, larger, strict=True) if less == "validation")
    assert split(Split(validation_share=0.1, seed=1), ids) != found
    assert set(split(Split(validation_share=0), ids)) == {"train"}
    assert set(split(Split(validation_share=1), ids)) == {"validation"}
    for share in (-0.1, 1.1, float("nan")):
        with pytest.raises(UsageError, match="0 to 1"):
            Split(validation_share=share)


def test_copies_of_a_prompt_that_is_gone_have_a_first_one_of_their_own() -> None:
    def decide(ids: list[str], copy_of: list[str | None]) -> list[str | None]:
        columns = {"sample_id": ids, "prompt_copy_of": copy_of}
        rows = pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})
        return list(NoPromptCopies().decide(rows).to_pylist())

    copy = "prompt_copy"
    assert decide(["a", "b", "c", "d"], [None, "a", "a", None]) == [None, copy, copy, None]
    assert decide(["c", "b", "d"], ["a", "a", None]) == [copy, None, None]  # a rule dropped "a"
    assert decide(["z", "b"], [None, "z"]) == [None, copy]  # the prompt itself stays, whatever its id
    assert decide(["b"], ["a"]) == [None]
    assert decide([], []) == []


def test_exact_copies_are_in_one_split() -> None:
    stage = Split(validation_share=0.5, by="sha256")
    columns = {
        "sample_id": [f"id{i}" for i in range(200)],
        "sha256": [f"{i % 20}" for i in range(199)] + [None],
    }
    sides = stage.open()(Batch(200, columns))["split"]
    assert all(len({*sides[i:199:20]}) == 1 for i in range(20))
    assert len({*sides}) == 2
    own = Split(validation_share=0.5).open()(Batch(1, {"sample_id": ["id199"]}))["split"]
    assert sides[199:] == own
