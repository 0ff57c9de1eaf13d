"""Source ``generated``: images that pipelines make of prompts."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from stages.generate.capture import Capture
from stages.generate.noise import image_seed
from stages.pinned import exact_revision
from stages.source.generated import Generated
from stages.source.prompts import PromptDataset, PromptFile, PromptList, prompt_id
from store.errors import MashbillError, UsageError
from store.extras import captured
from store.location import Location
from store.schema import sample_id
from store.store import open_store

# diffusers itself, in some schedulers
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
ROOT = Path(__file__).resolve().parents[3]
TEXTS = ("a red circle", "a blue square", "", "a red circle ", "a green star")
TEACHER = Generated(
    model="tinyworld/models/unet",
    prompts=PromptList(TEXTS),
    images_per_prompt=2,
    steps=2,
    guidance_scale=3.0,
    batch_size=4,
)
Rows = list[dict[str, Any]]
Take = Callable[[Generated], Rows]


def pixels(row: dict[str, Any]) -> np.ndarray[Any, Any]:
    return np.asarray(Image.open(io.BytesIO(row["image"])))


def by_id(rows: Rows) -> dict[str, dict[str, Any]]:
    assert len({row["sample_id"] for row in rows}) == len(rows)
    return {row["sample_id"]: row for row in rows}


def planned_ids(source: Generated) -> list[str]:
    """The ids of a source's samples, before any image is made."""
    rows = [row for portion in source.plan() for row in portion.to_pylist()]
    return [sample_id(row["locator"], row["prompt"]) for row in rows]


def test_rows_meta_and_reasons(taken: Take) -> None:
    rows = taken(TEACHER)
    found = [(row["source_key"], row["caption_original"], row["source_error"]) for row in rows]
    assert found == [
        ("0-0", "a red circle", None),
        ("0-1", "a red circle", None),
        ("1-0", "a blue square", None),
        ("1-1", "a blue square", None),
        ("2", "", "empty_prompt"),
        ("3", "a red circle", "repeated_prompt"),
        ("4-0", "a green star", None),
        ("4-1", "a green star", None),
    ]
    files = exact_revision(TEACHER.model, "main", "source.model")
    assert json.loads(rows[1]["meta"]) == {
        "synthetic": True,
        "generator": f"StableDiffusionPipeline@{files}",
        "revision": files,
        "pipeline": "StableDiffusionPipeline",
        "scheduler": "DDIMScheduler",
        "steps": 2,
        "guidance_scale": 3.0,
        "negative_prompt": None,
        "dtype": "float32",
        "seed": image_seed(0, "a red circle", 1),
        "prompt": "a red circle",
        "prompt_id": prompt_id("a red circle"),
        "prompt_index": 1,
    }
    assert json.loads(rows[4]["meta"]) == {"synthetic": True}
    assert rows[4]["image"] is None
    assert pixels(rows[0]).shape == (64, 64, 3)
    assert not np.array_equal(pixels(rows[0]), pixels(rows[1]))


def test_resharded_reordered_and_rebatched(taken: Take) -> None:
    """Bitwise at one batch; to 2 of 255 with others, since sums in floating point depend on the batch."""
    once = by_id(taken(replace(TEACHER, batch_size=1)))
    turned = PromptList(TEXTS[::-1])
    resharded = by_id(taken(replace(TEACHER, batch_size=1, shard_size=3, prompts=turned)))
    rebatched = by_id(taken(replace(TEACHER, shard_size=5, batch_size=8)))
    images = {key: row for key, row in once.items() if row["image"]}
    assert images.keys() == {key for key, row in resharded.items() if row["image"]}
    assert once.keys() == rebatched.keys()
    for key, row in images.items():
        assert resharded[key]["image"] == row["image"]
        difference = np.abs(pixels(rebatched[key]).astype(int) - pixels(row))
        assert difference.max() <= 2
        assert difference.mean() < 0.02


def test_more_images_of_a_prompt_and_more_prompts_keep_the_others(taken: Take) -> None:
    few = taken(replace(TEACHER, prompts=PromptList(TEXTS[:1]), images_per_prompt=1, batch_size=1))
    many = by_id(taken(replace(TEACHER, batch_size=1)))
    (row,) = few
    assert many[row["sample_id"]]["image"] == row["image"]


@pytest.mark.parametrize("family", ["pixart", "sd3"])
def test_other_families(family: str, taken: Take, random_models: dict[str, Path]) -> None:
    source = replace(TEACHER, model=str(random_models[family]), width=64, height=32, batch_size=3)
    rows = [row for row in taken(source) if row["image"]]
    assert [pixels(row).shape for row in rows] == [(32, 64, 3)] * 6
    alone = by_id(taken(replace(source, batch_size=1)))
    for row in rows:
        assert np.abs(pixels(alone[row["sample_id"]]).astype(int) - pixels(row)).max() <= 2


def test_ids_tell_generators_apart_and_not_where_they_lie(
    taken: Take, tmp_path: Path, random_models: dict[str, Path]
) -> None:
    base = replace(
        TEACHER, prompts=PromptList(TEXTS[:1]), images_per_prompt=1, model=str(random_models["unet"])
    )
    moved = tmp_path / "elsewhere"
    shutil.copytree(random_models["unet"], moved)
    (row,) = taken(base)
    ids = planned_ids(base)
    assert ids == [row["sample_id"]]
    assert planned_ids(replace(base, model=str(moved), batch_size=1)) == ids
    (moved / "scheduler" / "scheduler_config.json").write_text(
        (moved / "scheduler" / "scheduler_config.json").read_text().replace("trailing", "leading")
    )
    others = [
        replace(base, model=str(moved)),
        replace(base, steps=3),
        replace(base, guidance_scale=2.0),
        replace(base, seed=1),
        replace(base, negative_prompt="blurred"),
        replace(base, image_format="jpeg"),
    ]
    found = {key for other in others for key in planned_ids(other)}
    assert len(found | set(ids)) == 1 + len(others)


@pytest.mark.parametrize("image_format", ["png", "jpeg"])
def test_nothing_is_in_the_file_but_pixels(image_format: str, taken: Take) -> None:
    source = replace(TEACHER, prompts=PromptList(("a red circle",)), image_format=image_format)
    for row in taken(source):
        image = Image.open(io.BytesIO(row["image"]))
        image.load()
        assert image.format == image_format.upper()
        assert not image.getexif()
        assert set(image.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
        for secret in (
            b"red",
            b"circle",
            b"tEXt",
            b"iTXt",
            b"Exif",
            str(json.loads(row["meta"])["seed"]).encode(),
        ):
            assert secret not in row["image"]


def test_fields_beside_the_prompt_come_along(taken: Take, tmp_path: Path) -> None:
    file = tmp_path / "p.csv"
    file.write_text("Category,prompt,seed\nshapes,a red circle,text\n")
    (row,) = taken(replace(TEACHER, prompts=PromptFile(path=str(file)), images_per_prompt=1))
    meta = json.loads(row["meta"])
    assert meta["Category"] == "shapes"
    assert meta["seed"] == image_seed(0, "a red circle", 0)  # ours outranks the list's


def test_captured_arrays_travel_with_the_image(taken: Take) -> None:
    capture = Capture(noise=True, latents=True, trajectory=(1.0, 0.5, 0.0))
    rows = taken(replace(TEACHER, capture=capture))
    plain = by_id(taken(TEACHER))
    for row in rows:
        arrays = captured(Location.of(row["tar"]), row)
        if row["image"] is None:
            assert arrays == {}
            continue
        assert row["image"] == plain[row["sample_id"]]["image"]
        assert {name: array.shape for name, array in arrays.items()} == {
            "noise": (4, 16, 16),
            "latents": (4, 16, 16),
            "trajectory": (3, 4, 16, 16),
        }
        assert json.loads(row["meta"])["trajectory_times"] == [999.0, 499.0, 0.0]


def test_black_images_are_rows_with_a_reason(taken: Take, tmp_path: Path) -> None:
    """Weights of zeros in the VAE's last layer and a bias of -1: all that it makes is black."""
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "black"
    shutil.copytree(ROOT / "tinyworld" / "models" / "unet", folder)
    (weights,) = (folder / "vae").glob("*.safetensors")
    tensors = load_file(weights)
    for fill, reason in ((-1.0, "black_image"), (float("nan"), "not_finite")):
        tensors["decoder.conv_out.weight"].zero_()
        tensors["decoder.conv_out.bias"].fill_(fill)
        save_file(tensors, weights)
        source = replace(TEACHER, model=str(folder), prompts=PromptList(("a",)), revision=reason)
        rows = taken(source)
        assert [(row["source_error"], row["image"]) for row in rows] == [(reason, None)] * 2
        assert json.loads(rows[0]["meta"])["prompt"] == "a"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"model": "/nowhere/at/all"},
            r"source\.model='/nowhere/at/all' at revision 'main' cannot be loaded",
        ),
        ({"width": 66, "height": 64}, r"width=66: the VAE of .* sizes are multiples of 4; such as 64"),
        ({"max_sequence_length": 77}, "StableDiffusionPipeline takes no max_sequence_length"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_planned(
    changes: dict[str, Any], says: str, tmp_path: Path, taken: Take
) -> None:
    with pytest.raises(MashbillError, match=says):
        taken(replace(TEACHER, **changes))
    assert not list(tmp_path.rglob("plan*"))


@pytest.mark.parametrize(
    "changes",
    [
        {"images_per_prompt": 0},
        {"steps": 0},
        {"batch_size": 0},
        {"shard_size": 0},
        {"width": -1, "height": 64},
        {"dtype": "int8"},
        {"image_format": "gif"},
        {"guidance_scale": 1.0, "negative_prompt": "x"},
    ],
)
def test_values_out_of_range(changes: dict[str, Any]) -> None:
    (name, *_) = changes
    with pytest.raises(UsageError, match=rf"source\.(negative_prompt|{name})="):
        replace(TEACHER, **changes)


def test_one_side_alone_is_refused() -> None:
    with pytest.raises(UsageError, match="give both, or neither"):
        replace(TEACHER, width=64).identity()


def test_no_prompts_and_no_model(tmp_path: Path, taken: Take) -> None:
    (tmp_path / "none.txt").write_text("")
    with pytest.raises(MashbillError, match="has no prompts"):
        taken(replace(TEACHER, prompts=PromptFile(path=str(tmp_path / "none.txt"))))
    with pytest.raises(UsageError, match=r"source\.model is empty"):
        Generated().identity()


def test_prompts_of_a_dataset_are_pinned(built: tuple[Path, dict[str, Any]]) -> None:
    folder, result = built
    source = replace(TEACHER, prompts=PromptDataset(dataset="l-orig"), images_per_prompt=1)
    found = source.found_in(open_store(folder))
    assert found.identity()["prompts"]["dataset"] == f"l-orig@{result['version']}"
    rows = [row for portion in found.plan() for row in portion.to_pylist()]
    assert len(rows) == result["kept"]
    assert set(json.loads(rows[0]["fields"])) == {"parent", "parent_split"}


RECIPE = """
from pathlib import Path
from pipelines.dataset import Dataset
from stages.image.content_hash import ContentHash
from stages.image.crop import Crop
from stages.image.decode import Decode
from stages.image.size import Size
from stages.image.synthetic import Synthetic
from stages.pack.pack import Pack
from stages.select.best_of_prompt import BestOfPrompt
from stages.select.readable import Readable
from stages.select.split import Split
from stages.pinned import exact_revision
from stages.source.generated import Generated
from stages.source.prompts import PromptFile
from stages.text.clean_caption import CleanCaption

def drawn() -> Dataset:
    return Dataset(
        name="drawn",
        source=Generated(
            model="tinyworld/models/unet",
            prompts=PromptFile(path=str(Path(__file__).parent / "prompts.txt")),
            images_per_prompt=2,
            steps=2,
            shard_size=4,
            batch_size=2,
        ),
        columns=(ContentHash(), Size(), Decode(), CleanCaption(), Split(), Crop(), Synthetic()),
        select=(Readable(), BestOfPrompt(by="width")),
        pack=Pack(resolutions=(64,)),
    )
"""


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    lines = [f"a drawing of number {i}" for i in range(8)]
    (tmp_path / "prompts.txt").write_text("\n".join([*lines[:4], "", lines[0], *lines[4:]]) + "\n")
    file = tmp_path / f"drawn_{uuid.uuid4().hex}.py"
    file.write_text(RECIPE)
    return f"{file}:drawn"


@pytest.fixture
def one_thread() -> Iterator[dict[str, str]]:
    """Here, and by these variables in a process of its own: the number of threads turns last bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    torch.set_num_threads(before)


def test_a_killed_build_goes_on(
    recipe: str, tmp_path: Path, cli: Any, command: Any, tree: Any, one_thread: dict[str, str]
) -> None:
    start, environment = command
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    line = [*start, "build", recipe, "--store", str(killed), "--workers", "1"]
    with subprocess.Popen(
        line,
        env=environment | one_thread,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as build:
        until = time.monotonic() + 100
        while not list(killed.glob("sources/*/shards/00000.json")):
            assert build.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < until
            time.sleep(0.01)
        os.killpg(build.pid, signal.SIGKILL)
    finished = len(list(killed.glob("sources/*/shards/*.json")))
    results = [cli("build", recipe, "--store", store, "--workers", 1, "--json") for store in (killed, whole)]
    for result in results:
        assert result.code == 0, result.err
    first, second = (result.json for result in results)
    assert 1 <= finished < 5
    assert first["version"] == second["version"]
    assert first["samples_in"] == 18
    assert first["dropped"] == {"empty_prompt": 1, "not_best_of_prompt": 8, "repeated_prompt": 1}
    assert tree(killed / "sources") == tree(whole / "sources")


def test_the_command_line_says_what_is_wrong(recipe: str, tmp_path: Path, cli: Any) -> None:
    line = ["build", recipe, "--store", tmp_path / "s", "--workers", 1]
    done = cli(*line, "--set", "source.model=/nowhere")
    assert done.code == 1
    assert "source.model='/nowhere' at revision 'main' cannot be loaded" in done.message
    done = cli(*line, "--set", "source.scheduler.options=shift=3.0")
    assert (done.code, "DDIMScheduler has no 'shift'" in done.message) == (2, True)
    assert not list((tmp_path / "s").rglob("plan.json"))
