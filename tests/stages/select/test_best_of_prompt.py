"""Rule ``best_of_prompt``."""

from __future__ import annotations

import pyarrow as pa
import pytest

from stages.select.best_of_prompt import BestOfPrompt
from store.errors import UsageError

ROWS = [
    ("e", "cat", 0.5),
    ("a", "cat", 0.9),
    ("b", "cat", 0.9),
    ("c", "cat", None),
    ("d", "dog", None),
    ("f", "dog", float("nan")),
    ("g", None, 0.1),
    ("h", None, None),
    ("i", "bird", -1.0),
]


def kept(rule: BestOfPrompt, rows: list[tuple[str, str | None, float | None]]) -> list[str]:
    ids, prompts, scores = zip(*rows, strict=True)
    table = pa.table(
        {
            "sample_id": pa.array(ids, pa.string()),
            "prompt_id": pa.chunked_array([prompts[:4], prompts[4:]], pa.string()),
            rule.by: pa.array(scores, pa.float32()),
        }
    )
    reasons = rule.decide(table).to_pylist()
    assert set(reasons) <= {None, *rule.reasons}
    return sorted(key for key, reason in zip(ids, reasons, strict=True) if reason is None)


@pytest.mark.parametrize("rows", [ROWS, ROWS[::-1]])
def test_the_best_of_each_prompt_stay(rows: list[tuple[str, str | None, float | None]]) -> None:
    assert kept(BestOfPrompt(), rows) == ["a", "d", "g", "h", "i"]
    assert kept(BestOfPrompt(by="aesthetic", keep=2), rows) == ["a", "b", "d", "f", "g", "h", "i"]
    assert kept(BestOfPrompt(keep=3), rows) == ["a", "b", "d", "e", "f", "g", "h", "i"]


def test_whole_numbers_are_scores_and_words_are_not() -> None:
    table = pa.table({"sample_id": ["a", "b"], "prompt_id": ["x", "x"], "score": [3, 4], "word": ["p", "q"]})
    assert BestOfPrompt(by="score").decide(table).to_pylist() == ["not_best_of_prompt", None]
    with pytest.raises(UsageError, match=r"by=word: a column of string"):
        BestOfPrompt(by="word").decide(table)
    with pytest.raises(UsageError, match="keep=0"):
        BestOfPrompt(keep=0)


def test_it_reads_the_score_that_is_named() -> None:
    assert BestOfPrompt(by="aesthetic").reads == ("prompt_id", "aesthetic")
