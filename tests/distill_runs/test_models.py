from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import diffusers
import pytest
import torch
import transformers
from diffusers import DDIMScheduler, DiffusionPipeline, LCMScheduler

from distill_runs.methods.finetune import Finetune
from distill_runs.models import (
    DISTILLED_MARK,
    as_model,
    check_same_latents,
    load_model,
    refuse_distilled,
)
from distill_runs.schedule import RectifiedFlow, VariancePreserving
from store.errors import UsageError


@pytest.fixture
def copied(random_models: dict[str, Path], tmp_path: Path) -> Callable[[str], Path]:
    """A copy of a family's folder, to be broken."""

    def copy(family: str) -> Path:
        return Path(shutil.copytree(random_models[family], tmp_path / "models" / family))

    return copy


def change(file: Path, **fields: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))


def refused(source: object) -> str:
    with pytest.raises(UsageError) as said:
        load_model(str(source))
    assert "\n" not in str(said.value)
    return str(said.value)


def test_each_family_is_known_by_its_parts(random_models: dict[str, Path]) -> None:
    unet, pixart, sd3 = (load_model(str(random_models[family])) for family in ("unet", "pixart", "sd3"))
    assert [model.family.name for model in (unet, pixart, sd3)] == ["unet", "pixart", "sd3"]
    assert isinstance(sd3.schedule, RectifiedFlow)
    for model, beta_schedule, first, last in (
        (unet, "scaled_linear", 0.00085, 0.012),
        (pixart, "linear", 1e-4, 0.02),
    ):
        assert isinstance(model.schedule, VariancePreserving)
        stock = DDIMScheduler(beta_schedule=beta_schedule, beta_start=first, beta_end=last)
        torch.testing.assert_close(model.schedule.alphas_cumprod_T.float(), stock.alphas_cumprod)
    assert sd3.vae_facts == {"channels": 16, "factor": 8, "scaling_factor": 1.5, "shift_factor": 0.06}


def test_latents_are_scaled_and_pictures_unscaled_as_the_stock_pipelines_do(
    random_models: dict[str, Path],
) -> None:
    model = load_model(str(random_models["sd3"]))
    x0 = torch.randn(2, 16, 3, 2, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(model.scaled(x0), (x0 - 0.06) * 1.5)
    vae = model.pipeline.vae
    with torch.no_grad():
        stock = vae.decode(x0 / vae.config.scaling_factor + vae.config.shift_factor).sample.clamp(-1, 1)
    torch.testing.assert_close(model.images(x0), stock)
    images = torch.rand(2, 3, 24, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    drawn = model.latents(images, torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = vae.encode(images).latent_dist.sample(torch.Generator().manual_seed(1))
    torch.testing.assert_close(drawn, expected)
    assert drawn.shape == (2, 16, 3, 2)


def test_a_saved_model_is_loaded_by_the_stock_pipeline(
    random_models: dict[str, Path], tmp_path: Path
) -> None:
    for family, folder in random_models.items():
        model = load_model(str(folder))
        model.save(tmp_path / family)
        pipeline = DiffusionPipeline.from_pretrained(tmp_path / family)
        assert type(pipeline) is type(model.pipeline)
        theirs = pipeline.unet if family == "unet" else pipeline.transformer
        assert all(torch.equal(t, theirs.state_dict()[n]) for n, t in model.net.state_dict().items())


def lose_the_index(folder: Path) -> None:
    (folder / "model_index.json").unlink()


def break_the_index(folder: Path) -> None:
    (folder / "model_index.json").write_text("{")


def name_no_pipeline(folder: Path) -> None:
    change(folder / "model_index.json", _class_name="NoSuchPipeline")


def lose_the_weights(folder: Path) -> None:
    (folder / "transformer" / "diffusion_pytorch_model.safetensors").unlink()


def cut_the_text_encoder(folder: Path) -> None:
    file = folder / "text_encoder" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def lack_a_layer(folder: Path) -> None:
    change(folder / "transformer" / "config.json", num_layers=7)


def lose_the_tokenizer(folder: Path) -> None:
    shutil.rmtree(folder / "tokenizer")


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lose_the_index, "no file named model_index.json"),
        (break_the_index, "is not a valid JSON file"),
        (name_no_pipeline, "no attribute NoSuchPipeline"),
        (lose_the_weights, "no file named diffusion_pytorch_model"),
        (cut_the_text_encoder, "incomplete metadata"),
        (lack_a_layer, "the weights of its transformer lack 21 tensors, such as transformer_blocks.6."),
        (lose_the_tokenizer, "the folder lacks tokenizer, which its model_index.json names"),
    ],
)
def test_a_model_that_is_not_whole_is_refused(
    harm: Callable[[Path], None], said: str, copied: Callable[[str], Path]
) -> None:
    folder = copied("pixart")
    harm(folder)
    message = refused(folder)
    assert message.startswith(f"the student '{folder}' cannot be loaded (")
    assert said in message
    assert "Expected a folder of diffusers, or the id of a model" in message


def test_an_unknown_model_without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for source in ("nobody/no-such-model", "/no/such/folder", "not an id??"):
        message = refused(source)
        assert message.startswith(f"the student '{source}' cannot be loaded (")
        assert message.endswith(f"(hf download {source}).")


def test_a_denoiser_of_no_known_family(random_models: dict[str, Path]) -> None:
    stranger = SimpleNamespace(components={"unet": torch.nn.Linear(1, 1)})
    with pytest.raises(UsageError, match=r"a denoiser of class Linear; expected one of UNet2DConditionModel"):
        as_model("x", stranger)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("family", "file", "fields", "said"),
    [
        (
            "unet",
            "scheduler/scheduler_config.json",
            {"prediction_type": "flow_prediction"},
            "predicts 'flow_pr",
        ),
        (
            "unet",
            "scheduler/scheduler_config.json",
            {"beta_schedule": "squaredcos_cap_v2"},
            "the beta schedule",
        ),
        (
            "unet",
            "scheduler/scheduler_config.json",
            {"rescale_betas_zero_snr": True},
            "has rescale_betas_zero",
        ),
    ],
)
def test_what_a_model_says_of_itself_must_be_known(
    family: str, file: str, fields: dict[str, Any], said: str, copied: Callable[[str], Path]
) -> None:
    folder = copied(family)
    change(folder / file, **fields)
    assert said in refused(folder)


def test_pixart_alpha_is_not_sigma(random_models: dict[str, Path]) -> None:
    pipeline = DiffusionPipeline.from_pretrained(random_models["pixart"])
    config = dict(pipeline.transformer.config) | {"use_additional_conditions": True}
    alpha = diffusers.PixArtTransformer2DModel.from_config(config)
    with pytest.raises(UsageError, match="wants resolution and aspect ratio as conditions"):
        as_model("alpha", DiffusionPipeline.from_pretrained(random_models["pixart"], transformer=alpha))


def test_a_vae_that_does_not_fit_its_denoiser(random_models: dict[str, Path]) -> None:
    sixteen = load_model(str(random_models["sd3"])).pipeline.vae
    pipeline = DiffusionPipeline.from_pretrained(random_models["pixart"], vae=sixteen)
    with pytest.raises(UsageError, match="its VAE has 16 latent channels, its denoiser takes 4"):
        as_model("mixed", pipeline)


def test_a_teacher_of_other_latents_or_another_prediction(
    random_models: dict[str, Path], copied: Callable[[str], Path]
) -> None:
    unet, sd3 = load_model(str(random_models["unet"])), load_model(str(random_models["sd3"]))
    check_same_latents(unet, load_model(str(random_models["pixart"])), "teacher")
    with pytest.raises(
        UsageError, match=r"the teacher .* has other latents than .*: channels 16 \(student 4\)"
    ):
        check_same_latents(unet, sd3, "teacher")
    folder = copied("unet")
    change(folder / "scheduler" / "scheduler_config.json", prediction_type="v_prediction")
    with pytest.raises(
        UsageError, match=r"the teacher .* predicts v, the student .* epsilon; expected the same"
    ):
        check_same_latents(unet, load_model(str(folder)), "teacher")


def with_a_guidance_embedding(folder: Path) -> None:
    pipeline = DiffusionPipeline.from_pretrained(folder)
    config = dict(pipeline.unet.config) | {"time_cond_proj_dim": 8}
    diffusers.UNet2DConditionModel.from_config(config).save_pretrained(folder / "unet")


def with_the_scheduler_of_lcm(folder: Path) -> None:
    pipeline = DiffusionPipeline.from_pretrained(folder)
    pipeline.scheduler = LCMScheduler.from_config(pipeline.scheduler.config)
    pipeline.save_pretrained(folder)


def with_our_mark(folder: Path) -> None:
    (folder / DISTILLED_MARK).write_text("{}")


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (with_a_guidance_embedding, "its UNet has a guidance embedding"),
        (with_the_scheduler_of_lcm, "its scheduler is LCMScheduler"),
        (with_our_mark, "it holds distilled.json"),
    ],
)
def test_a_model_of_few_steps_is_refused(
    harm: Callable[[Path], None], reason: str, copied: Callable[[str], Path]
) -> None:
    folder = copied("unet")
    refuse_distilled(load_model(str(folder)))
    harm(folder)
    with pytest.raises(UsageError, match=rf"distilled to few steps \({reason}\).* say --set force=true"):
        refuse_distilled(load_model(str(folder)))


def test_a_model_whose_name_says_few_steps_is_refused(copied: Callable[[str], Path]) -> None:
    folder = copied("sd3")
    named = folder.with_name("sd3.5-large-turbo")
    folder.rename(named)
    with pytest.raises(UsageError, match="its name says so"):
        refuse_distilled(load_model(str(named)))


def test_a_name_is_not_read_of_the_folders_above_it(copied: Callable[[str], Path]) -> None:
    """A home directory named flash says nothing of the model."""
    folder = copied("sd3")
    below = folder.parents[1] / "flash-storage" / "teacher"
    below.parent.mkdir()
    folder.rename(below)
    refuse_distilled(load_model(str(below)))


def test_min_snr_is_refused_for_a_flow(random_models: dict[str, Path]) -> None:
    Finetune(min_snr=5.0).check(load_model(str(random_models["unet"])))
    with pytest.raises(UsageError, match=r"min_snr=5.0: .* is a flow"):
        Finetune(min_snr=5.0).check(load_model(str(random_models["sd3"])))


def test_loading_says_nothing_and_leaves_the_libraries_as_they_were(
    random_models: dict[str, Path], tmp_path: Path, capfd: Any, caplog: pytest.LogCaptureFixture
) -> None:
    before = [
        (lib.utils.logging.get_verbosity(), lib.utils.logging.is_progress_bar_enabled()) for lib in LIBRARIES
    ]
    with caplog.at_level(logging.WARNING):
        for family, folder in random_models.items():
            model = load_model(str(folder))
            model.encode(["a red circle and a blue square " * 20])
            model.save(tmp_path / family)
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []
    after = [
        (lib.utils.logging.get_verbosity(), lib.utils.logging.is_progress_bar_enabled()) for lib in LIBRARIES
    ]
    assert before == after
    assert before[0][1]


LIBRARIES = (diffusers, transformers)
