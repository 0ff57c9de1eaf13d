import itertools

import pytest
import torch
from diffusers import DDPMScheduler

from distill_runs.schedule import Level, convert, endpoints, flow_level, noised, vp_level

KINDS = ("x0", "epsilon", "v", "flow")


def level(alpha: float, sigma: float) -> Level:
    return Level(torch.tensor([alpha]), torch.tensor([sigma]))


def test_hand_derived_numbers() -> None:
    # alpha 0.6, sigma 0.8, x0 = 2, epsilon = -1: x_t = 1.2 - 0.8; v = -0.6 - 1.6; flow = -1 - 2.
    at = level(0.6, 0.8)
    x_t = noised(torch.tensor([[2.0]]), torch.tensor([[-1.0]]), at)
    assert x_t.item() == pytest.approx(0.4)
    said = {"x0": 2.0, "epsilon": -1.0, "v": -2.2, "flow": -3.0}
    for source, target in itertools.product(KINDS, KINDS):
        out = convert(torch.tensor([[said[source]]]), x_t, at, source, target)
        assert out.item() == pytest.approx(said[target], abs=1e-6), (source, target)


def test_flow_matches_the_formulas_of_rectified_flow() -> None:
    # t = 0.25, x0 = 4, epsilon = 8: x_t = 5, v = 4; x0 = x_t - t v, epsilon = x_t + (1 - t) v.
    at = flow_level(torch.tensor([0.25]))
    x0, epsilon = endpoints(torch.tensor([[4.0]]), torch.tensor([[5.0]]), at, "flow")
    assert (x0.item(), epsilon.item()) == (4.0, 8.0)


@pytest.mark.parametrize(("source", "target"), list(itertools.permutations(KINDS, 2)))
@pytest.mark.parametrize("process", ["vp", "flow"])
def test_round_trip(source: str, target: str, process: str) -> None:
    random = torch.Generator().manual_seed(0)
    x0, epsilon = torch.randn(2, 4, 3, 5, 7, generator=random, dtype=torch.float64)
    if process == "vp":
        abar = DDPMScheduler().alphas_cumprod.double()
        at = vp_level(abar, torch.tensor([1, 300, 700, 998]))
    else:
        at = flow_level(torch.tensor([0.01, 0.3, 0.7, 0.99], dtype=torch.float64))
    x_t = noised(x0, epsilon, at)
    start = convert(x0, x_t, at, "x0", source)
    back = convert(convert(start, x_t, at, source, target), x_t, at, target, source)
    torch.testing.assert_close(back, start, rtol=1e-9, atol=1e-9)


def test_ends_of_the_flow_are_exact() -> None:
    at = flow_level(torch.tensor([0.0, 1.0]))
    x0, epsilon = torch.tensor([[2.0], [2.0]]), torch.tensor([[5.0], [5.0]])
    x_t = noised(x0, epsilon, at)
    assert x_t.flatten().tolist() == [2.0, 5.0]
    found_x0, found_epsilon = endpoints(epsilon - x0, x_t, at, "flow")
    assert torch.equal(found_x0, x0)
    assert torch.equal(found_epsilon, epsilon)


def test_forward_process_is_the_schedulers() -> None:
    random = torch.Generator().manual_seed(0)
    x0, epsilon = torch.randn(2, 3, 3, 4, 4, generator=random)
    timesteps = torch.tensor([0, 500, 999])
    scheduler = DDPMScheduler()
    ours = noised(x0, epsilon, vp_level(scheduler.alphas_cumprod, timesteps))
    torch.testing.assert_close(ours, scheduler.add_noise(x0, epsilon, timesteps))


def test_half_precision_is_computed_in_single() -> None:
    half = torch.ones(1, 1, dtype=torch.bfloat16)
    at = Level(torch.tensor([0.6], dtype=torch.bfloat16), torch.tensor([0.8], dtype=torch.bfloat16))
    assert noised(half, half, at).dtype == torch.float32
    assert convert(half, half, at, "v", "epsilon").dtype == torch.float32
