"""A dataset of three aspects from build over pack to the batches of a run, in pixels and in latents."""

from __future__ import annotations

import io
import itertools
import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL
from PIL import Image

from distill_runs.loader import Loader
from distill_runs.packs import Data, Pack, check_pack, open_pack
from pipelines.distill import prepare
from store.aspects import bucket_size, covering
from store.errors import MashbillError
from store.store import Store, open_store
from store.versions import Version, find_version

ASPECTS = (1.0, 1.5, 0.6667)
BUCKETS = tuple(bucket_size(aspect, 64) for aspect in ASPECTS)
SIZES = ((120, 120), (130, 110), (160, 107), (200, 100), (107, 160), (90, 200), (121, 120))
IMAGES = 42

RECIPE = """
from distill_runs.methods.finetune import Finetune
from distill_runs.packs import Data
from distill_runs.settings import Run, Stage
from store.aspects import bucket_size

def ours(buckets):
    stage = Stage(data=Data(resolution=64, buckets=buckets), steps=1)
    return Run("ours", "l-orig", "tiny/student", Finetune(), (stage,))

def with_buckets():
    return ours(tuple(bucket_size(aspect, 64) for aspect in (1.0, 1.5, 0.6667)))

def without():
    return ours(())
"""


@pytest.fixture(scope="module")
def version(
    tmp_path_factory: pytest.TempPathFactory, make_jpeg: Any, cli: Any, folder_source: Any
) -> Version:
    folder = tmp_path_factory.mktemp("aspects")
    torch.manual_seed(0)
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
    vae = AutoencoderKL(block_out_channels=(8, 16), latent_channels=4, norm_num_groups=8, **blocks)
    vae.save_pretrained(folder / "vae")
    (folder / "in").mkdir()
    for number in range(IMAGES):
        width, height = SIZES[number % len(SIZES)]
        (folder / "in" / f"{number}.jpg").write_bytes(make_jpeg(width, height, number))
        (folder / "in" / f"{number}.txt").write_text(f"picture {number}")
    changes = ["crop.aspects=1, 1.5, 0.6667", "pack.resolutions=64,32", "pack.samples_per_shard=9"]
    changes += [f"pack.latents={folder / 'vae'}", "split.validation_share=0"]
    settings = [text for change in changes for text in ("--set", change)]
    line = ["build", "l-orig", "--store", folder / "store", *folder_source(folder / "in"), "--workers", "1"]
    done = cli(*line, *settings, "--json")
    assert done.code == 0, done.err
    assert done.json["kept"] == IMAGES
    return find_version(open_store(folder / "store"), "l-orig")


@pytest.fixture(scope="module")
def pack(version: Version) -> Pack:
    return open_pack(version.pack("64").path)


@pytest.fixture(scope="module")
def samples(version: Version) -> dict[str, dict[str, Any]]:
    return {row["sample_id"]: row for row in version.samples().to_pylist()}


def test_every_sample_has_the_size_of_the_aspect_nearest_to_its_own(
    pack: Pack, samples: dict[str, dict[str, Any]]
) -> None:
    assert BUCKETS == ((64, 64), (80, 48), (48, 80))
    assert pack.sizes == tuple(sorted(BUCKETS))
    index = json.loads((pack.location / "pack.json").read_bytes())
    assert (index["width"], index["height"]) == (None, None)
    expected = Counter(
        min(BUCKETS, key=lambda b: abs(math.log(row["width"] / row["height"] * b[1] / b[0])))
        for row in samples.values()
    )
    found: Counter[tuple[int, int]] = Counter()
    for shard in pack.shards:
        found.update(shard.sizes)
    assert found == expected == {(64, 64): 18, (80, 48): 12, (48, 80): 12}


@pytest.mark.parametrize("latents", [False, True])
def test_an_epoch_reads_every_sample_once(
    pack: Pack, samples: dict[str, dict[str, Any]], latents: bool
) -> None:
    data = Data(resolution=64, batch_size=6, buckets=BUCKETS, captions="first", latents=latents)
    check_pack(pack, data, dict(pack.latents) if latents else None)
    loader = Loader(pack, data, seed=3)
    for epoch in (1, 2):
        seen: Counter[str] = Counter()
        while loader.epoch < epoch:
            batch = next(loader)
            seen.update(batch.sample_ids)
            width, height = batch.bucket
            read, factor = (batch.latents_BCHW, 2) if latents else (batch.images_BCHW, 1)
            assert read is not None
            assert read.shape[2:] == (height // factor, width // factor)
            for key, caption, crop in zip(batch.sample_ids, batch.captions, batch.crops, strict=True):
                row = samples[key]
                assert (caption, batch.bucket) == (row["caption"], bucket_size(row["crop_aspect"], 64))
                assert crop == pytest.approx(shown(row, batch.bucket))
        assert seen == dict.fromkeys(samples, 1)


def shown(row: dict[str, Any], size: tuple[int, int]) -> list[float]:
    """The middle of the crop that has the aspect of the size, in pixels of the source image."""
    left, top = row["crop_left"], row["crop_top"]
    box = covering((row["crop_right"] - left, row["crop_bottom"] - top), size)
    return [left + box[0], top + box[1], left + box[2], top + box[3]]


def test_cached_latents_are_those_of_the_pixels(pack: Pack) -> None:
    vae = AutoencoderKL.from_pretrained(pack.latents["vae"])
    plain = Data(resolution=64, batch_size=6, buckets=BUCKETS)
    images = Loader(pack, plain, seed=3)
    cached = Loader(pack, Data(resolution=64, batch_size=6, buckets=BUCKETS, latents=True), seed=3)
    buckets = set()
    for _ in range(7):
        one, other = next(images), next(cached)
        assert one.sample_ids == other.sample_ids
        assert one.images_BCHW is not None
        assert other.latents_BCHW is not None
        with torch.inference_mode():
            means = vae.encode(one.images_BCHW).latent_dist.mean
        assert torch.allclose(other.latents_BCHW, means, atol=2e-3, rtol=2e-3)
        buckets.add(one.bucket)
    assert buckets == set(BUCKETS)


def test_nothing_is_distorted(pack: Pack, samples: dict[str, dict[str, Any]], make_jpeg: Any) -> None:
    """Each stored picture is the shown part of its source picture, scaled alike both ways."""
    loader = Loader(pack, Data(resolution=64, batch_size=6, buckets=BUCKETS), seed=0)
    for batch in itertools.islice(loader, IMAGES // 6):
        width, height = batch.bucket
        assert batch.images_BCHW is not None
        for key, image_CHW in zip(batch.sample_ids, batch.images_BCHW, strict=True):
            left, top, right, bottom = shown(samples[key], batch.bucket)
            assert (right - left) / (bottom - top) == pytest.approx(width / height)
            number = int(samples[key]["source_key"].removesuffix(".jpg"))
            source = Image.open(io.BytesIO(make_jpeg(*SIZES[number % len(SIZES)], number)))
            scaled = source.resize(batch.bucket, Image.Resampling.LANCZOS, box=(left, top, right, bottom))
            expected = torch.tensor(list(scaled.tobytes())).view(height, width, 3).permute(2, 0, 1)
            assert (image_CHW - (expected / 127.5 - 1)).abs().mean() < 0.03


def test_a_run_finds_the_pack_whose_sizes_are_its_buckets(version: Version, tmp_path: Path) -> None:
    store: Store = open_store(str(version.location.path).split("/datasets/")[0])
    recipe = tmp_path / "several_aspects.py"
    recipe.write_text(RECIPE)
    assert [pack.name for pack in prepare(store, f"{recipe}:with_buckets", []).packs] == ["64"]
    with pytest.raises(MashbillError, match=r"no pack of 64 px .*name data.buckets: of several sizes are 64"):
        prepare(store, f"{recipe}:without", [])
