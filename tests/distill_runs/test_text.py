from pathlib import Path

import torch

from distill_runs.text import TextEncoder


def test_tokens_are_words_without_case_or_points() -> None:
    encoder = TextEncoder(channels=8, buckets=100, max_words=3)
    ids, mask = encoder.tokenize(["A red, RED square too many", "", "a"])
    assert mask.tolist() == [[True] * 4, [True] + [False] * 3, [True, True, False, False]]
    assert ids[0, 2] == ids[0, 3]
    assert ids[0, 1] == ids[2, 1]
    assert int(ids.max()) < 102


def test_padding_changes_no_word_and_saving_nothing(tmp_path: Path) -> None:
    encoder = TextEncoder(channels=8, buckets=100, max_words=5).eval()
    encoder.save_pretrained(tmp_path)
    loaded = TextEncoder.from_pretrained(tmp_path)
    alone = encoder(*encoder.tokenize(["blue"]))
    padded = loaded(*loaded.tokenize(["blue", "one two three four"]))[:1, :2]
    torch.testing.assert_close(alone, padded)
