"""Latents beside the images of a pack: the means of the VAE, the same bytes every time, read back."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from PIL import Image

from distill_runs.loader import Loader
from distill_runs.packs import Data, check_pack, open_pack
from stages.pack.latents import load_encoder, weights_sha256
from stages.pack.pack import Pack
from stages.pinned import exact_revision
from store.errors import UsageError
from store.store import open_store
from store.versions import find_version


def save_vae(folder: Path, seed: int = 0) -> Path:
    """A random VAE of two levels: 4 channels, factor 2."""
    torch.manual_seed(seed)
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
    AutoencoderKL(
        block_out_channels=(16, 32), latent_channels=4, norm_num_groups=8, **blocks
    ).save_pretrained(folder)
    return folder


def build_line(store: Path, vae: Path, source: list[str]) -> list[object]:
    changes = (f"latents={vae}", "resolutions=32", "samples_per_shard=6")
    settings = [text for change in changes for text in ("--set", f"pack.{change}")]
    return ["build", "l-orig", "--store", store, *source, *settings, "--workers", "1", "--json"]


@pytest.fixture(scope="module")
def vae(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_vae(tmp_path_factory.mktemp("vae") / "vae").parent  # as a pipeline has it


@pytest.fixture(scope="module")
def pack(
    tmp_path_factory: pytest.TempPathFactory, vae: Path, photos: Any, cli: Any, folder_source: Any
) -> Path:
    store = tmp_path_factory.mktemp("built") / "store"
    done = cli(*build_line(store, vae, folder_source(photos.path)))
    assert done.code == 0, done.err
    return Path(find_version(open_store(store), "l-orig").pack("32").path)


def means(vae: Path, images_BCHW: torch.Tensor) -> torch.Tensor:
    model = AutoencoderKL.from_pretrained(vae / "vae")
    with torch.inference_mode():
        found: torch.Tensor = model.encode(images_BCHW).latent_dist.mean
    return found


def test_the_index_says_what_made_them(pack: Path, vae: Path) -> None:
    index = json.loads((pack / "pack.json").read_text())
    assert index["format"] == "webdataset: jpg, txt, json, latent.npy"
    assert index["latents"] == {
        "vae": str(vae),
        "revision": exact_revision(str(vae), "main", "pack.latents"),
        "sha256": weights_sha256(str(vae), "main"),
        "scaling_factor": 0.18215,
        "shift_factor": None,
        "channels": 4,
        "factor": 2,
        "dtype": "float16",
        "kind": "mean",
        "flipped": False,
    }
    assert all(shard["sizes"] == [[32, 32, shard["samples"]]] for shard in index["shards"])


def test_a_latent_is_the_mean_of_the_stored_image(pack: Path, vae: Path) -> None:
    for file in sorted(pack.glob("*.tar")):
        with tarfile.open(file) as tar:
            members = {m.name: tar.extractfile(m).read() for m in tar}  # type: ignore[union-attr]
        for name in (name for name in members if name.endswith(".jpg")):
            latent = np.load(io.BytesIO(members[name.replace(".jpg", ".latent.npy")]))
            pixels = np.array(Image.open(io.BytesIO(members[name])), np.float32) / 127.5 - 1
            expected = means(vae, torch.from_numpy(pixels).permute(2, 0, 1)[None])[0]
            assert (latent.dtype, latent.shape) == (np.float16, (4, 16, 16))
            assert torch.allclose(torch.from_numpy(latent).float(), expected, atol=1e-3, rtol=1e-3)


def test_the_loader_gives_what_encoding_while_training_gives(pack: Path, vae: Path) -> None:
    opened = open_pack(pack)
    check_pack(opened, Data(resolution=32, latents=True), dict(opened.latents))
    cached = next(Loader(opened, Data(resolution=32, batch_size=8, latents=True), 0))
    images = next(Loader(opened, Data(resolution=32, batch_size=8), 0))
    assert cached.images_BCHW is None
    assert cached.latents_BCHW is not None
    assert images.images_BCHW is not None
    assert (cached.sample_ids, cached.captions) == (images.sample_ids, images.captions)
    assert cached.latents_BCHW.dtype == torch.float32
    assert torch.allclose(cached.latents_BCHW, means(vae, images.images_BCHW), atol=1e-3, rtol=1e-3)


def test_the_same_input_gives_the_same_bytes_whatever_the_threads(
    vae: Path, make_jpeg: Callable[..., bytes]
) -> None:
    encoder = load_encoder(str(vae), "main")
    sizes = [(64, 64), (96, 64), (64, 64), (64, 96)] * 2
    images = [make_jpeg(width, height, n) for n, (width, height) in enumerate(sizes)]
    found = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        found.append(encoder.encode(images))
        assert torch.get_num_threads() == threads
    torch.set_num_threads(1)
    assert found[0] == found[1]
    shapes = [np.load(io.BytesIO(data)).shape for data in found[0]]
    assert shapes == [(4, height // 2, width // 2) for width, height in sizes]


def test_other_weights_in_the_same_folder_make_another_version(
    tmp_path: Path, photos: Any, cli: Any, folder_source: Any
) -> None:
    line = build_line(tmp_path / "s", save_vae(tmp_path / "vae"), folder_source(photos.path))
    first, again = cli(*line), cli(*line)
    assert again.json["version"] == first.json["version"]
    save_vae(tmp_path / "vae", seed=1)
    done = cli(*line)
    assert done.code == 0, done.err
    assert done.json["version"] != first.json["version"]


def test_a_folder_without_a_vae_is_refused(tmp_path: Path, photos: Any, cli: Any, folder_source: Any) -> None:
    (tmp_path / "empty").mkdir()
    done = cli(*build_line(tmp_path / "s", tmp_path / "empty", folder_source(photos.path)))
    assert done.code == 2
    assert "has no VAE: expected config.json in it or in its folder vae" in done.message


def test_latents_of_originals_and_odd_sizes_are_refused(vae: Path, make_jpeg: Callable[..., bytes]) -> None:
    with pytest.raises(UsageError, match=r"Take 0 out of pack\.resolutions"):
        Pack(resolutions=(64, 0), latents=str(vae))
    with pytest.raises(UsageError, match="31x32 pixels do not divide by 2"):
        load_encoder(str(vae), "main").encode([make_jpeg(31, 32, 0)])
