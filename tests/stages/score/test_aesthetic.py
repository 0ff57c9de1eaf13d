"""Aesthetic heads by hand: files of both LAION shapes and of none."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from stages.image.cropped import CROP
from stages.score.aesthetic import Aesthetic, layers_of
from stages.score.dual_encoder import open_dual_encoder
from stages.stage import Batch
from store.errors import MashbillError, UsageError

SHIPPED = "tinyworld/models/clip"
WIDTH = 128


@pytest.fixture(scope="module")
def image() -> Image.Image:
    from tinyworld.draw import draw
    from tinyworld.scene import random_scene

    return draw(random_scene(5), 96, 64)


def rate(stage: Aesthetic, *images: Any) -> list[float | None]:
    crop = {name: [side] * len(images) for name, side in zip(CROP, (0, 0, 64, 64), strict=True)}
    return list(stage.open()(Batch(len(images), crop, list(images), [None] * len(images)))["aesthetic"])


def linear(width: int = WIDTH) -> dict[str, torch.Tensor]:
    """LAION's v1: the sum of the first two numbers doubled, and 5 more."""
    weight = torch.zeros(1, width)
    weight[0, :2] = 2.0
    return {"weight": weight, "bias": torch.tensor([5.0])}


def mlp(width: int = WIDTH) -> dict[str, torch.Tensor]:
    """LAION's v2: numbered layers with dropouts between, and none active when it is read."""
    torch.manual_seed(0)
    sizes = (width, 1024, 128, 64, 16, 1)
    state = {}
    for place, before, after in zip((0, 2, 4, 6, 7), sizes, sizes[1:], strict=False):
        state[f"layers.{place}.weight"] = torch.randn(after, before) / before**0.5
        state[f"layers.{place}.bias"] = torch.randn(after)
    return state


def test_v1_by_hand(tmp_path: Path, image: Image.Image) -> None:
    torch.save(linear(), tmp_path / "v1.pth")
    stage = Aesthetic(model=SHIPPED, head=str(tmp_path / "v1.pth"))
    (seen_D,) = open_dual_encoder(SHIPPED, "main", "x").embed_images([image.crop((0, 0, 64, 64))])
    assert float(seen_D.norm()) == pytest.approx(1)
    expected = float(2 * (seen_D[0] + seen_D[1]) + 5)
    assert rate(stage, image, None, image) == [pytest.approx(expected), None, pytest.approx(expected)]


@pytest.mark.parametrize("name", ["head.safetensors", "sac+logos.pth"])
def test_v2_in_a_folder(tmp_path: Path, image: Image.Image, name: str) -> None:
    state = dict(reversed(mlp().items()))  # the order in the file is not the order of the layers
    (save_file if name.endswith("safetensors") else torch.save)(state, tmp_path / name)
    found = rate(Aesthetic(model=SHIPPED, head=str(tmp_path), head_file=name), image)
    value = open_dual_encoder(SHIPPED, "main", "x").embed_images([image.crop((0, 0, 64, 64))])
    for place in (0, 2, 4, 6, 7):
        value = value @ state[f"layers.{place}.weight"].T + state[f"layers.{place}.bias"]
    assert found == [pytest.approx(float(value), abs=1e-5)]


def test_layers_are_in_the_order_of_their_numbers() -> None:
    eye, last = torch.eye(2), torch.ones(1, 2)
    state = {"layers.10.weight": last, "layers.10.bias": torch.zeros(1)}
    state |= {"layers.9.weight": eye, "layers.9.bias": torch.zeros(2)}
    assert [tuple(weight.shape) for weight, _ in layers_of(state)] == [(2, 2), (1, 2)]


@pytest.mark.parametrize(
    ("state", "why"),
    [
        ({}, "holds nothing"),
        ({"weight": torch.ones(1, 4)}, "it holds weight"),
        (linear() | {"scale": torch.ones(1)}, "it holds bias, scale, weight"),
        ({"weight": torch.ones(2, 4), "bias": torch.ones(2)}, "its last layer gives 2"),
        ({"weight": torch.ones(1, 4), "bias": torch.ones(3)}, r"weight is \(1, 4\) with a bias of \(3,\)"),
        ({"weight": torch.ones(4), "bias": torch.ones(4)}, r"weight is \(4,\)"),
        (mlp() | {"layers.2.weight": torch.ones(128, 9)}, r"layers\.2\.weight is \(128, 9\) .* after 1024"),
    ],
)
def test_a_head_that_is_none(tmp_path: Path, state: dict[str, torch.Tensor], why: str) -> None:
    torch.save(state, tmp_path / "head.pth")
    with pytest.raises(MashbillError, match=rf"aesthetic\.head=.*{why}"):
        Aesthetic(model=SHIPPED, head=str(tmp_path / "head.pth")).open()


def test_a_head_of_another_model(tmp_path: Path, image: Image.Image) -> None:
    torch.save(linear(768), tmp_path / "head.pth")
    with pytest.raises(MashbillError, match=r"reads embeddings of 768 numbers, and .* makes 128"):
        rate(Aesthetic(model=SHIPPED, head=str(tmp_path / "head.pth")), image)


class Runs:
    """What a pickle of a stranger could hold."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (self.path, "w")


def test_a_head_runs_no_code(tmp_path: Path) -> None:
    (tmp_path / "head.pth").write_bytes(pickle.dumps(Runs(str(tmp_path / "ran"))))
    with pytest.raises(MashbillError, match=r"aesthetic\.head=.* cannot be loaded"):
        Aesthetic(model=SHIPPED, head=str(tmp_path / "head.pth")).open()
    torch.save(Runs(str(tmp_path / "ran")), tmp_path / "head.pth")
    with pytest.raises(MashbillError, match=r"aesthetic\.head=.* cannot be loaded"):
        Aesthetic(model=SHIPPED, head=str(tmp_path / "head.pth")).open()
    assert not (tmp_path / "ran").exists()


def test_a_head_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"aesthetic\.head is empty"):
        Aesthetic(model=SHIPPED).open()
    with pytest.raises(MashbillError, match=r"aesthetic\.head=.* cannot be loaded"):
        Aesthetic(model=SHIPPED, head=str(tmp_path), head_file="none.pth").open()
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(MashbillError, match="holds no state dict"):
        Aesthetic(model=SHIPPED, head=str(tmp_path), head_file="list.pth").open()
