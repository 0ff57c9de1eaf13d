"""A batch that was halved stays halved, and standard error says so."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from stages.pretrained import device
from stages.score.batching import Batching


def test_one_at_a_time_on_a_cpu() -> None:
    assert Batching("clip_similarity", 32).batch_size == (32 if device() == "cuda" else 1)


def test_a_halved_batch_stays_halved(capsys: pytest.CaptureFixture[str]) -> None:
    sizes: list[int] = []

    def run(items: Sequence[int]) -> Sequence[int]:
        sizes.append(len(items))
        if len(items) > 2:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return items

    batching = Batching("clip_similarity", 8)
    batching.batch_size = 8  # as on a GPU
    assert batching.scored(run, range(4)) == list(range(4))
    assert batching.scored(run, range(4)) == list(range(4))
    assert sizes == [4, 2, 2, 2, 2]
    assert capsys.readouterr().err == "clip_similarity: the GPU's memory holds batches of 2 only; going on\n"
