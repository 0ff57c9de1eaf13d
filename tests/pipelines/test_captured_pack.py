"""What a teacher's images were captured with, from generation over a pack to the batches of a run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from distill_runs.loader import Loader
from distill_runs.models import load_model
from distill_runs.packs import Data, Pack, check_pack, open_pack
from distill_runs.same_models import check_same_models
from pipelines.build import build
from pipelines.dataset import Dataset
from pipelines.executors import Serial
from pipelines.recipes.tiny_scenes import tiny_scenes
from pipelines.settings import apply_settings
from stages.generate.capture import Capture
from stages.source.generated import Generated
from stages.source.prompts import PromptList
from store.errors import MashbillError, UsageError
from store.extras import captured
from store.store import Store, open_store
from store.versions import find_version

MODEL = "tinyworld/models/unet"
SOURCE = Generated(
    model=MODEL,
    prompts=PromptList(tuple(f"{color} circle" for color in ("red", "blue", "green", "white"))),
    steps=4,
    guidance_scale=2.0,
    capture=Capture(noise=True, latents=True, trajectory=(1.0, 0.5, 0.0)),
    shard_size=3,
)
EXTRAS = ("noise", "trajectory")
DATA = Data(resolution=64, batch_size=4, extras=EXTRAS)


def drawn(extras: tuple[str, ...] = EXTRAS, source: Generated = SOURCE, resolution: int = 64) -> Dataset:
    recipe = apply_settings(tiny_scenes(), ["split.validation_share=0"])
    pack = replace(recipe.pack, extras=extras, resolutions=(resolution,), samples_per_shard=2)
    return replace(recipe, name="drawn", source=source, pack=pack)


def built(store: Store, dataset: Dataset) -> Path:
    build(store, dataset, Serial(), lambda *_: None)
    name = str(dataset.pack.resolutions[0])
    return Path(find_version(store, "drawn").pack(name).path)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return open_store(tmp_path_factory.mktemp("captured") / "store", create=True)


@pytest.fixture(scope="module")
def pack(store: Store) -> Pack:
    return open_pack(built(store, drawn()))


def source_arrays(store: Store, pack: Pack) -> dict[str, dict[str, np.ndarray[Any, Any]]]:
    """What was captured, by sample, from the source's own shards."""
    (source,) = [store.source(p.name) for p in Path((store.root / "sources").path).iterdir()]
    found = {}
    for shard in source.shards():
        for row in source.rows(shard).to_pylist():
            found[row["sample_id"]] = captured(source.tar(shard), row)
    return found


def test_a_batch_holds_bit_by_bit_what_was_captured(store: Store, pack: Pack) -> None:
    expected, loader = source_arrays(store, pack), Loader(pack, DATA, seed=0)
    batch = next(loader)
    assert set(batch.extras) == set(EXTRAS)
    assert batch.extras["trajectory"].shape == (4, 3, 4, 16, 16)
    assert sorted(batch.sample_ids) == sorted(expected)
    for i, sample_id in enumerate(batch.sample_ids):
        for name in EXTRAS:
            there = expected[sample_id][name]
            assert batch.extras[name][i].numpy().dtype == there.dtype
            assert batch.extras[name][i].numpy().tobytes() == there.tobytes()


def test_the_index_says_what_they_are(pack: Pack) -> None:
    index = json.loads((pack.location / "pack.json").read_bytes())
    assert index["format"].endswith("captured.noise.npy, captured.trajectory.npy")
    about = index["captured"]
    assert about["arrays"] == {
        "noise": {"shape": [4, 16, 16], "dtype": "float32"},
        "trajectory": {"shape": [3, 4, 16, 16], "dtype": "float32"},
    }
    assert about["trajectory_times"] == [999.0, 499.0, 0.0]
    assert (about["steps"], about["guidance_scale"]) == (4, 2.0)
    assert about["pipeline"] == "StableDiffusionPipeline"
    assert {"channels", "factor", "scaling_factor", "shift_factor", "weights"} <= set(about["vae"])


def test_other_times_sizes_and_names_are_refused(pack: Pack) -> None:
    check_pack(pack, replace(DATA, trajectory_times=(999.0, 499.0, 0.0)))
    for wrong, said in (
        (replace(DATA, trajectory_times=(999.0, 749.0, 0.0)), r"at the times \[999.0, 499.0, 0.0\], and"),
        (replace(DATA, extras=("latents",)), r"has no captured 'latents' \(it has: noise, trajectory\)"),
        (replace(DATA, resolution=32), "captured arrays of the pack .* are of images of 64x64 pixels"),
    ):
        with pytest.raises(UsageError, match=said):
            check_pack(pack, wrong)
    for fields, said in (
        ({"extras": EXTRAS, "flip": 0.5}, "latents cannot be mirrored"),
        ({"trajectory_times": (1.0,)}, "none without 'trajectory'"),
    ):
        with pytest.raises(UsageError, match=said):
            Data(**fields)


def test_another_vae_is_refused(pack: Pack) -> None:
    model = load_model(MODEL)
    check_pack(pack, DATA, model.vae_facts)
    check_same_models(model, pack, DATA)
    with pytest.raises(UsageError, match=r"captured arrays of the pack .* by another VAE"):
        check_pack(pack, DATA, model.vae_facts | {"scaling_factor": 0.5})
    with torch.no_grad():
        next(model.pipeline.vae.parameters()).add_(1e-4)
    with pytest.raises(UsageError, match="whose weights are others than those of"):
        check_same_models(model, pack, DATA)


def test_images_that_are_not_packed_as_they_were_made_are_refused(store: Store) -> None:
    with pytest.raises(MashbillError, match=r"was made at 64x64 pixels; of it the box .* at 32x32, which"):
        built(store, drawn(resolution=32))


def test_arrays_that_were_not_captured_are_refused(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store", create=True)
    source = replace(SOURCE, capture=Capture(noise=True))
    with pytest.raises(MashbillError, match=r"has no captured 'trajectory' \(it has: noise\)"):
        built(store, drawn(source=source))


def test_unknown_names_are_refused() -> None:
    with pytest.raises(UsageError, match=r"extras=\('image',\): expected some of noise, latents, trajectory"):
        drawn(("image",))
