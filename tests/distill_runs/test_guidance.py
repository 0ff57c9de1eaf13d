from __future__ import annotations

from pathlib import Path

import torch

from distill_runs.guidance import guided
from distill_runs.models import load_model


def test_one_is_conditional_and_zero_is_unconditional() -> None:
    unconditional, conditional = torch.tensor([1.0]), torch.tensor([3.0])
    assert [guided(unconditional, conditional, g).item() for g in (0, 1, 2, 7.5)] == [1.0, 3.0, 5.0, 16.0]


def test_the_w_of_consistency_models_is_one_less() -> None:
    unconditional, conditional = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
    for w in (0.0, 1.0, 6.5):
        theirs = conditional + w * (conditional - unconditional)
        torch.testing.assert_close(guided(unconditional, conditional, w + 1), theirs)


def test_both_branches_in_one_batch_are_the_two_alone(random_models: dict[str, Path]) -> None:
    """Each network of a family is linear in nothing; guidance of its predictions is."""
    for folder in random_models.values():
        model = load_model(str(folder))
        model.net.eval()
        side, channels = 6, model.vae_facts["channels"]
        x_t = torch.randn(2, channels, side, side, generator=torch.Generator().manual_seed(0))
        times_B = model.schedule.times(torch.tensor([0.5, 0.5]))
        condition, null = model.encode(["a red circle", "two blue stars"]), model.encode([""])
        with torch.no_grad():
            conditional = model.predict(model.net, x_t, times_B, condition)
            unconditional = model.predict(model.net, x_t, times_B, model.encode(["", ""]))
            found = {g: model.guided(model.net, condition, null, g)(x_t, times_B) for g in (1.0, 0.0, 4.5)}
        torch.testing.assert_close(found[1.0], conditional)
        torch.testing.assert_close(found[0.0], unconditional, rtol=1e-4, atol=1e-5)
        expected = unconditional + 4.5 * (conditional - unconditional)
        torch.testing.assert_close(found[4.5], expected, rtol=1e-4, atol=1e-5)
        assert (conditional - unconditional).abs().max() > 1e-4
