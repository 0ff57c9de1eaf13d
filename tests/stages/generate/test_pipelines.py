"""What a model's class takes, known before its weights are loaded."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import diffusers
import pytest

from stages.generate.pipelines import Call, check, opened, pipeline_class
from stages.generate.schedulers import Scheduler
from store.errors import MashbillError, UsageError

OWN = Scheduler()


def test_the_class_is_read_from_the_index(random_models: dict[str, Path]) -> None:
    expected = {"unet": "StableDiffusion", "pixart": "PixArtSigma", "sd3": "StableDiffusion3"}
    for family, name in expected.items():
        assert pipeline_class(str(random_models[family]), "main").__name__ == f"{name}Pipeline"
        check(str(random_models[family]), "main", Call(steps=2, width=64, height=64), OWN)


def test_a_class_gets_what_it_takes() -> None:
    asked = Call(4, 0.0, 512, 256, "", 128)
    flux = {"num_inference_steps": 4, "guidance_scale": 0.0, "width": 512, "height": 256}
    assert asked.arguments(diffusers.FluxPipeline) == flux | {"max_sequence_length": 128}
    assert Call().arguments(diffusers.StableDiffusionPipeline) == {}
    fixed = {"clean_caption": False, "use_resolution_binning": False}
    assert Call().arguments(diffusers.PixArtSigmaPipeline) == fixed
    assert Call().made_with(diffusers.StableDiffusion3Pipeline) == {"steps": 28, "guidance_scale": 7.0}
    assert Call(4, 1.5).made_with(diffusers.StableDiffusion3Pipeline) == {"steps": 4, "guidance_scale": 1.5}
    assert Call(4).made_with(diffusers.DDPMPipeline) == {"steps": 4, "guidance_scale": None}


@pytest.mark.parametrize(
    ("call", "kind", "says"),
    [
        (Call(negative_prompt="x"), "LatentConsistencyModelPipeline", "takes no negative_prompt"),
        (Call(negative_prompt="x"), "FluxPipeline", "reads it only with true_cfg_scale"),
        (Call(max_sequence_length=77), "StableDiffusionPipeline", "takes no max_sequence_length"),
        (Call(guidance_scale=4.0), "DDPMPipeline", "takes no guidance_scale"),
        (Call(width=64), "DDPMPipeline", "takes no width"),
    ],
)
def test_what_a_class_does_not_take_is_refused(call: Call, kind: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        call.arguments(getattr(diffusers, kind))


@pytest.mark.parametrize(
    ("call", "scheduler", "says"),
    [
        (Call(width=60), OWN, r"width=60: the VAE of .* so that sizes are multiples of 8; such as 64"),
        (Call(height=3), OWN, r"height=3: .* such as 8"),
        (Call(), Scheduler("Euler"), r"class_name=Euler: diffusers .* has no such scheduler"),
        (Call(), Scheduler("StableDiffusionPipeline"), "has no such scheduler"),
        (Call(), Scheduler(options=("shift=3.0",)), "DDIMScheduler has no 'shift'; it has num_train"),
        (Call(), Scheduler(options=("shift",)), "'shift' is no NAME=VALUE"),
    ],
)
def test_wrong_settings_are_refused_ahead(
    call: Call, scheduler: Scheduler, says: str, random_models: dict[str, Path]
) -> None:
    with pytest.raises(UsageError, match=says):
        check(str(random_models["unet"]), "main", call, scheduler)


def test_a_transformer_takes_cells_together(random_models: dict[str, Path]) -> None:
    """The small SD3 has patches of one cell."""
    check(str(random_models["sd3"]), "main", Call(width=64, height=72), OWN)
    model = str(random_models["pixart"])
    check(model, "main", Call(width=64, height=48), OWN)
    with pytest.raises(UsageError, match=r"height=72: .* 2 x 2 at once, .* multiples of 16; such as"):
        check(model, "main", Call(width=64, height=72), OWN)


def test_another_scheduler(random_models: dict[str, Path]) -> None:
    wanted = Scheduler("DPMSolverMultistepScheduler", ("solver_order=3", "timestep_spacing=trailing"))
    check(str(random_models["unet"]), "main", Call(), wanted)
    own = opened(str(random_models["unet"]), "main", "float32", OWN).scheduler
    found = opened(str(random_models["unet"]), "main", "float32", wanted).scheduler
    assert type(found).__name__ == wanted.class_name
    assert (found.config.solver_order, found.config.timestep_spacing) == (3, "trailing")
    assert found.config.beta_schedule == own.config.beta_schedule
    only = Scheduler(options=("shift=3.0",))
    flow = opened(str(random_models["sd3"]), "main", "float32", only).scheduler
    assert (type(flow).__name__, flow.config.shift) == ("FlowMatchEulerDiscreteScheduler", 3.0)


def test_a_model_that_is_not_there(tmp_path: Path, random_models: dict[str, Path]) -> None:
    with pytest.raises(MashbillError, match=r"source\.model='.*' at revision 'main' cannot be loaded"):
        check(str(tmp_path), "main", Call(), OWN)
    with pytest.raises(UsageError, match=r"source\.model is empty"):
        check("", "main", Call(), OWN)
    folder = tmp_path / "model"
    shutil.copytree(random_models["unet"], folder)
    index = json.loads((folder / "model_index.json").read_text())
    for name in ("DDPMPipeline", "NoSuchPipeline"):
        (folder / "model_index.json").write_text(json.dumps(index | {"_class_name": name}))
        with pytest.raises(UsageError, match=f"is a {name}, which diffusers .* text-to-image"):
            check(str(folder), "main", Call(), OWN)


def test_a_class_that_auto_does_not_know_is_loaded_too(
    random_models: dict[str, Path], tmp_path: Path
) -> None:
    from diffusers.pipelines.auto_pipeline import AUTO_TEXT2IMAGE_PIPELINES_MAPPING as KNOWN

    assert diffusers.StableDiffusionPAGPipeline in KNOWN.values()
    assert diffusers.StableDiffusionSAGPipeline not in KNOWN.values()
    folder = tmp_path / "sag"
    shutil.copytree(random_models["unet"], folder)
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(
        json.dumps(index | {"_class_name": "StableDiffusionSAGPipeline"})
    )
    assert type(opened(str(folder), "main", "float32", OWN)).__name__ == "StableDiffusionSAGPipeline"
