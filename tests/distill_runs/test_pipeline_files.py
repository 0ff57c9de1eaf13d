"""Models whose files lack tensors or have others are refused; what is left out on purpose is no fault."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from distill_runs.models import load_model
from store.errors import UsageError

Tensors = dict[str, torch.Tensor]


@pytest.fixture
def changed(random_models: dict[str, Path], tmp_path: Path) -> Callable[..., Path]:
    """A copy of a family's folder in which the tensors of a part's file are others."""

    def change(family: str, part: str, harm: Callable[[Tensors], Tensors]) -> Path:
        folder = Path(shutil.copytree(random_models[family], tmp_path / family))
        file = folder / part / "model.safetensors"
        save_file(harm(load_file(file)), file, {"format": "pt"})
        return folder

    return change


def without(name: str) -> Callable[[Tensors], Tensors]:
    def harm(tensors: Tensors) -> Tensors:
        left = {n: tensor for n, tensor in tensors.items() if not n.endswith(name)}
        assert len(left) < len(tensors)
        return left

    return harm


@pytest.mark.parametrize(
    ("family", "part", "name", "said"),
    [
        (
            "pixart",
            "text_encoder",
            "SelfAttention.k.weight",
            "1 tensors, such as encoder.block.0.layer.0.Sel",
        ),
        ("pixart", "text_encoder", "shared.weight", "2 tensors, such as encoder.embed_tokens.weight"),
        ("unet", "text_encoder", "fc1.bias", "2 tensors, such as "),
        ("sd3", "text_encoder_2", "text_projection.weight", "1 tensors, such as text_projection.weight"),
        ("sd3", "text_encoder_3", "final_layer_norm.weight", "1 tensors, such as encoder.final_layer_norm."),
    ],
)
def test_a_text_encoder_that_lacks_weights_is_not_drawn_at_random(
    family: str, part: str, name: str, said: str, changed: Callable[..., Path]
) -> None:
    folder = changed(family, part, without(name))
    with pytest.raises(UsageError) as error:
        load_model(str(folder))
    assert f"the student '{folder}' cannot be loaded (the weights of its {part} lack {said}" in str(
        error.value
    )


def test_a_text_encoder_of_another_size_is_named(changed: Callable[..., Path]) -> None:
    folder = changed("pixart", "text_encoder", lambda tensors: tensors)
    config = folder / "text_encoder" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"d_ff": 56}))
    said = r"2 tensors of its text_encoder have other shapes .*wi\.weight has \(48, 48\), expected \(56, 48\)"
    with pytest.raises(UsageError, match=said):
        load_model(str(folder))


def as_the_hub_has_it(tensors: Tensors) -> Tensors:
    """CLIP of SD 1.5: every name behind ``text_model.``, and a buffer that transformers no longer keeps."""
    named = {f"text_model.{name.removeprefix('text_model.')}": tensor for name, tensor in tensors.items()}
    return named | {"text_model.embeddings.position_ids": torch.arange(77)[None]}


def tied_by_the_other_name(tensors: Tensors) -> Tensors:
    return {n.replace("shared.weight", "encoder.embed_tokens.weight"): t for n, t in tensors.items()}


def in_half_precision(tensors: Tensors) -> Tensors:
    return {name: tensor.bfloat16() for name, tensor in tensors.items()}


@pytest.mark.parametrize(
    ("family", "harmless"),
    [("unet", as_the_hub_has_it), ("pixart", tied_by_the_other_name), ("pixart", in_half_precision)],
)
def test_tied_weights_buffers_and_other_types_are_no_fault(
    family: str,
    harmless: Callable[[Tensors], Tensors],
    random_models: dict[str, Path],
    changed: Callable[..., Path],
) -> None:
    theirs = load_model(str(random_models[family])).pipeline.text_encoder
    ours = load_model(str(changed(family, "text_encoder", harmless))).pipeline.text_encoder
    assert ours.dtype == torch.float32
    for name, tensor in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], tensor, rtol=1e-2, atol=1e-4)
