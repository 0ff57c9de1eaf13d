import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from distill_runs.finetune import finetune, load_run
from distill_runs.recipe import Finetune
from distill_runs.sampling import sample_images
from store.errors import MashbillError, UsageError

Recipe = Callable[..., Finetune]


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_a_run_leaves_everything(pack: Path, small: Recipe, tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "first"
    recipe = small(sample_every_steps=6, sample_prompts=("a $red square", "日本 square", ""))
    summary = finetune(recipe, str(pack), str(folder), progress=False)
    assert summary == json.loads((folder / "run.json").read_text())
    assert (summary["dataset"], summary["version"]) == ("squares", "v1")
    assert len(summary["pack"]["shards"]) == 2
    rows = read_metrics(folder)
    assert [row["step"] for row in rows] == list(range(1, 13))
    assert np.isfinite([[row["loss"], row["grad_norm"], row["lr"]] for row in rows]).all()
    assert rows[0]["lr"] == pytest.approx(3e-4)
    assert rows[-1]["lr"] == 3e-3
    pictures = ["loss.png", "samples.png", "samples/step-000006.png", "samples/step-000012.png"]
    for name in pictures:
        assert len(Image.open(folder / name).convert("RGB").getcolors(1 << 24)) > 50, name
    assert [path.name for path in folder.parent.iterdir()] == ["first"]


def test_the_grid_shows_the_pictures_it_is_given(tmp_path: Path) -> None:
    from distill_runs.pictures import draw_grid

    colors = torch.eye(3)[:, :, None, None].expand(3, 3, 4, 4) * 2 - 1
    draw_grid(tmp_path / "grid.png", colors, ["red", "green", "blue"], "title")
    counts = Image.open(tmp_path / "grid.png").convert("RGB").getcolors(1 << 24)
    shown = {color: count for count, color in counts}
    assert min(shown[color] for color in ((255, 0, 0), (0, 255, 0), (0, 0, 255))) > 10_000


def test_same_seed_same_run_and_the_callers_random_state_stays(
    pack: Path, small: Recipe, tmp_path: Path
) -> None:
    state = torch.get_rng_state()
    for name, seed in (("one", 0), ("two", 0), ("three", 1)):
        finetune(small(steps=2, seed=seed), str(pack), str(tmp_path / name), progress=False)
    assert torch.equal(state, torch.get_rng_state())
    for file in ("metrics.jsonl", "samples.png", "checkpoint/unet/diffusion_pytorch_model.safetensors"):
        one, two, three = ((tmp_path / name / file).read_bytes() for name in ("one", "two", "three"))
        assert one == two, file
        assert one != three, file


def test_it_learns(pack: Path, small: Recipe, tmp_path: Path) -> None:
    recipe = small(steps=25, learning_rate=1e-2, log_every_steps=7, num_sample_steps=2)
    loss = finetune(recipe, str(pack), str(tmp_path / "run"), progress=False)["loss"]
    assert loss["first"] > 0.8
    assert loss["mean_of_last_tenth"] < 0.5 * loss["first"]
    steps = [row["step"] for row in read_metrics(tmp_path / "run")]
    assert steps == [1, 7, 14, 21, 25]


def test_a_loaded_run_predicts_the_same(pack: Path, small: Recipe, tmp_path: Path) -> None:
    recipe = small(steps=2)
    finetune(recipe, str(pack), str(tmp_path / "run"), progress=False)
    run, again = load_run(tmp_path / "run"), load_run(tmp_path / "run")
    assert run.recipe == recipe
    x_t = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(3))
    captions, timesteps = ["a red square", ""], torch.tensor([10, 900])
    with torch.no_grad():
        epsilon = run.denoiser.epsilon(x_t, timesteps, captions)
        assert torch.equal(epsilon, again.denoiser.epsilon(x_t, timesteps, captions))
    images = sample_images(run.denoiser, captions, 3, 2.0, seed=0)
    assert images.shape == (2, 3, 16, 16)
    assert images.abs().max() <= 1


def test_saved_and_trained_model_predict_the_same(small: Recipe, tmp_path: Path) -> None:
    from distill_runs.denoiser import build_denoiser, load_denoiser, save_denoiser

    built = build_denoiser(small())
    save_denoiser(built, tmp_path)
    inputs = torch.zeros(1, 3, 16, 16), torch.tensor([500]), ["a blue square"]
    with torch.no_grad():
        assert torch.equal(built.epsilon(*inputs), load_denoiser(tmp_path).epsilon(*inputs))


def test_no_weight_is_left_without_a_gradient(small: Recipe) -> None:
    from distill_runs.denoiser import build_denoiser

    denoiser = build_denoiser(small())
    x_t = torch.ones(2, 3, 16, 16)
    denoiser.epsilon(x_t, torch.tensor([1, 2]), ["one word", ""]).square().mean().backward()
    assert all(parameter.grad is not None for parameter in denoiser.parameters())


def test_a_loss_that_explodes_stops_the_run_and_leaves_nothing(
    pack: Path, small: Recipe, tmp_path: Path
) -> None:
    recipe = small(learning_rate=1e30, warmup_steps=0)
    with pytest.raises(MashbillError, match=r"stopped at step \d+ of 12: the (loss|grad_norm) is (nan|inf)"):
        finetune(recipe, str(pack), str(tmp_path / "run"), progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["pack"]


def test_a_run_is_never_overwritten(pack: Path, small: Recipe, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="already exists"):
        finetune(small(), str(pack), str(pack), progress=False)
    (tmp_path / "empty").mkdir()
    finetune(small(steps=1), str(pack), str(tmp_path / "empty"), progress=False)
    assert load_run(tmp_path / "empty").summary["recipe"]["steps"] == 1


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"dataset": "circles"}, "trains on circles, but the pack .* is squares@v1"),
        ({"dataset": "squares@v2"}, "trains on squares@v2"),
        ({"resolution": 64}, "48x48 pixels; resolution=64 would enlarge"),
        ({"split": "validation"}, "no samples in split 'validation'"),
    ],
)
def test_a_pack_that_does_not_fit_is_refused(
    pack: Path, small: Recipe, tmp_path: Path, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(MashbillError, match=message):
        finetune(small(**fields), str(pack), str(tmp_path / "run"), progress=False)
    assert not (tmp_path / "run").exists()


def test_a_pack_of_oblong_images_is_refused(
    pack: Path, write: SimpleNamespace, small: Recipe, tmp_path: Path
) -> None:
    write.index(pack, {"train-00000.tar": 5}, width=64)
    with pytest.raises(UsageError, match="64x48 pixels; expected square"):
        finetune(small(), str(pack), str(tmp_path / "run"), progress=False)


@pytest.mark.parametrize(
    "fields",
    [
        {"name": ""},
        {"name": "a/b"},
        {"dataset": "@v1"},
        {"split": "test"},
        {"resolution": 0},
        {"resolution": 15},
        {"steps": 0},
        {"batch_size": -1},
        {"learning_rate": float("nan")},
        {"warmup_steps": -1},
        {"max_grad_norm": 0.0},
        {"caption_dropout": 1.5},
        {"block_out_channels": (8,)},
        {"block_out_channels": (8, 12)},
        {"text_channels": 4},
        {"num_sample_steps": 1001},
        {"guidance_scale": -1.0},
    ],
)
def test_a_recipe_out_of_range_is_refused(small: Recipe, fields: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=f"{next(iter(fields))}=.* is not possible; expected"):
        small(**fields)


def test_what_is_no_run_is_refused(pack: Path, small: Recipe) -> None:
    with pytest.raises(UsageError, match=r"no run\.json"):
        load_run(pack)
    (pack / "run.json").write_text(json.dumps({"recipe": asdict(small()) | {"of_tomorrow": 1}}))
    with pytest.raises(MashbillError, match="of_tomorrow"):
        load_run(pack)


def test_recipes_import_without_torch() -> None:
    code = (
        "import sys, distill_runs; from distill_runs.recipes.finetune_tiny import finetune_tiny; "
        "finetune_tiny(); assert not {'torch', 'numpy', 'diffusers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
