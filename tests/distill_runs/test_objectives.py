import torch

from distill_runs.objectives import epsilon_loss
from distill_runs.sampling import guided


def test_epsilon_loss_is_the_mean_square() -> None:
    predicted = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert epsilon_loss(predicted, torch.tensor([[1.0, 0.0], [3.0, 0.0]])).item() == 5.0
    half = torch.zeros(2, dtype=torch.bfloat16)
    assert epsilon_loss(half, half).dtype == torch.float32


def test_guidance_one_is_conditional_and_zero_is_unconditional() -> None:
    unconditional, conditional = torch.tensor([1.0]), torch.tensor([3.0])
    assert [guided(unconditional, conditional, g).item() for g in (0, 1, 2)] == [1.0, 3.0, 5.0]
