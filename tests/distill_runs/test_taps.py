from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from distill_runs.models import Model, load_model
from distill_runs.taps import tapped
from store.errors import UsageError

TAPPED = {
    "unet": ("down_blocks.0", "down_blocks.1.attentions.1.proj_out", "mid_block", "up_blocks.2"),
    "pixart": ("transformer_blocks.0", "transformer_blocks.3.attn1"),
    "sd3": (
        "transformer_blocks.0",
        "transformer_blocks.5",
        "transformer_blocks.2.attn",
        "transformer_blocks.1.attn2",
    ),
}


def forward(model: Model) -> Tensor:
    x_t = torch.randn(2, model.vae_facts["channels"], 6, 4, generator=torch.Generator().manual_seed(0))
    times_B = model.schedule.times(torch.tensor([0.3, 0.8]))
    return model.predict(model.net, x_t, times_B, model.encode(["a red circle", "two blue stars"]))


def feature_gradients(model: Model, names: tuple[str, ...]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The features, and the parameters' gradients of the sum of their mean squares."""
    model.net.train()
    model.net.zero_grad()
    with tapped(model.net, names) as taps:
        forward(model)
        features = taps.drain()
        torch.stack([feature.square().mean() for feature in features.values()]).sum().backward()
    gradients = {n: p.grad.clone() for n, p in model.net.named_parameters() if p.grad is not None}
    return {name: feature.detach() for name, feature in features.items()}, gradients


@pytest.mark.parametrize("family", ["unet", "pixart", "sd3"])
def test_gradient_checkpointing_changes_no_gradient_of_a_feature(
    family: str, random_models: dict[str, Path]
) -> None:
    model = load_model(str(random_models[family]))
    plain, gradients = feature_gradients(model, TAPPED[family])
    model.net.enable_gradient_checkpointing()
    again, recomputed = feature_gradients(model, TAPPED[family])
    assert list(plain) == list(again) == list(TAPPED[family])
    assert len(gradients) > 20
    assert gradients.keys() == recomputed.keys()
    for name in plain:
        assert torch.equal(plain[name], again[name]), name
    for name, gradient in gradients.items():
        torch.testing.assert_close(recomputed[name], gradient, rtol=1e-5, atol=1e-7, msg=name)


def test_a_block_of_sd3_gives_its_image_and_not_its_text(random_models: dict[str, Path]) -> None:
    model = load_model(str(random_models["sd3"]))
    with tapped(model.net, TAPPED["sd3"]) as taps:
        forward(model)
        shapes = {name: tuple(feature.shape) for name, feature in taps.drain().items()}
    cells = 6 * 4 // model.config["patch_size"] ** 2
    assert shapes == dict.fromkeys(TAPPED["sd3"], (2, cells, 96))


class TwoParts(nn.Module):
    """A network that may leave its second part out, and recomputes both in the backward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = (nn.Sequential(nn.Linear(2, 2), nn.SiLU(), nn.Linear(2, 2)) for _ in "12")

    def forward(self, x: Tensor, both: bool = True) -> Tensor:
        x = checkpoint(self.first, x, use_reentrant=False)
        return checkpoint(self.second, x, use_reentrant=False) if both else x


def test_a_silent_tap_is_an_error_even_after_a_recomputation() -> None:
    net = TwoParts()
    with tapped(net, ("first.0", "second.0")) as taps:
        with pytest.raises(RuntimeError, match=r"did not run: first\.0, second\.0"):
            taps.drain()
        net(torch.ones(1, 2)).sum()
        sum(feature.sum() for feature in taps.drain().values()).backward()  # runs both again
        net(torch.ones(1, 2), both=False)
        with pytest.raises(RuntimeError, match=r"did not run: second\.0"):
            taps.drain()


def test_features_are_given_once_and_the_taps_are_taken_off() -> None:
    net = TwoParts()
    with tapped(net, ("first",)) as taps:
        net(torch.ones(1, 2))
        assert list(taps.drain()) == ["first"]
        with pytest.raises(RuntimeError, match="did not run: first"):
            taps.drain()
    net(torch.ones(1, 2))
    with pytest.raises(RuntimeError):
        taps.drain()
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())


def test_an_unknown_module_is_named(random_models: dict[str, Path]) -> None:
    model = load_model(str(random_models["pixart"]))
    with pytest.raises(UsageError, match="to take features of") as said:
        tapped(model.net, ("blocks.0",)).__enter__()
    assert "; its blocks are: " in str(said.value)
    assert "transformer_blocks.0" in str(said.value)
