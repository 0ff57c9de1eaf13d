"""A small real pack: JPEGs of one colored square each, in tar files, with their index."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image, ImageDraw

from distill_runs.recipe import Finetune
from distill_runs.recipes.finetune_tiny import finetune_tiny

COLORS = {"red": (220, 40, 40), "green": (40, 170, 70), "blue": (40, 70, 220), "white": (250,) * 3}
CORNERS = {"top left": (4, 4), "bottom right": (28, 28)}
SIDE_PX = 48


def picture(color: str, corner: str, side_px: int = SIDE_PX) -> bytes:
    """JPEG of a 16 px square in one corner of a gray image."""
    image = Image.new("RGB", (side_px, side_px), (90, 90, 90))
    left, top = CORNERS[corner]
    ImageDraw.Draw(image).rectangle((left, top, left + 15, top + 15), fill=COLORS[color])
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


def write_tar(path: Path, members: list[tuple[str, bytes]]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def write_index(folder: Path, counts: dict[str, int], **other: Any) -> None:
    """``pack.json`` for the shards in ``counts`` (shard name to samples)."""
    shards = [
        {
            "name": name,
            "samples": samples,
            "bytes": (folder / name).stat().st_size,
            "sha256": hashlib.sha256((folder / name).read_bytes()).hexdigest(),
        }
        for name, samples in counts.items()
    ]
    splits = {"train": 0, "validation": 0}
    for shard in shards:
        splits[shard["name"].partition("-")[0]] += shard["samples"]
    index = {"dataset": "squares", "version": "v1", "splits": splits, "width": SIDE_PX}
    index |= {"height": SIDE_PX, "format": "webdataset", "shards": shards} | other
    (folder / "pack.json").write_text(json.dumps(index))


def write_pack(folder: Path, shard_sizes: tuple[int, ...] = (5, 3)) -> Path:
    folder.mkdir()
    kinds = [(color, corner) for color in COLORS for corner in CORNERS]
    counts = {}
    for shard, size in enumerate(shard_sizes):
        members = []
        for row in range(size):
            color, corner = kinds[(sum(shard_sizes[:shard]) + row) % len(kinds)]
            caption = f"a {color} square, {corner}"
            key = f"{shard:04x}{row:020x}"
            members.append((f"{key}.jpg", picture(color, corner)))
            members.append((f"{key}.txt", caption.encode()))
            fields = {
                "sample_id": key,
                "caption": caption,
                "captions": [caption],
                "width": SIDE_PX,
                "height": SIDE_PX,
                "original_width": SIDE_PX,
                "original_height": SIDE_PX,
                "crop": [0, 0, SIDE_PX, SIDE_PX],
            }
            members.append((f"{key}.json", json.dumps(fields).encode()))
        counts[f"train-{shard:05d}.tar"] = size
        write_tar(folder / f"train-{shard:05d}.tar", members)
    write_index(folder, counts)
    return folder


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    """Eight samples in two shards."""
    return write_pack(tmp_path / "pack")


@pytest.fixture
def write() -> SimpleNamespace:
    """The functions that make packs and break them."""
    return SimpleNamespace(pack=write_pack, tar=write_tar, index=write_index, picture=picture)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def small() -> Callable[..., Finetune]:
    """A recipe that trains in a second; keyword arguments replace its fields."""

    def recipe(**fields: Any) -> Finetune:
        base = replace(
            finetune_tiny(),
            name="small",
            dataset="squares",
            resolution=16,
            steps=12,
            batch_size=8,
            block_out_channels=(8, 16),
            text_channels=16,
            text_buckets=64,
            num_samples=3,
            num_sample_steps=2,
        )
        return replace(base, **fields)

    return recipe


# Random text-to-image pipelines of the three families, as small as their classes allow.


def write_models(folder: Path) -> Path:
    """Random VAEs, text encoders and learned tokenizers, where ``tinyworld.train.pipelines`` looks."""
    from diffusers import AutoencoderKL
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection, T5Config, T5EncoderModel

    from tinyworld.scene import random_scene
    from tinyworld.train.tokens import caption_texts, train_clip_tokenizer, train_t5_tokenizer

    torch.manual_seed(0)
    texts = caption_texts(random_scene(seed) for seed in range(200))
    clip, t5 = train_clip_tokenizer(texts), train_t5_tokenizer(texts)
    for name, width in (("clip-text", 32), ("clip-text-2", 16)):
        config = CLIPTextConfig(
            vocab_size=len(clip),
            hidden_size=width,
            intermediate_size=width,
            projection_dim=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=clip.model_max_length,
            bos_token_id=clip.bos_token_id,
            eos_token_id=clip.eos_token_id,
            pad_token_id=clip.pad_token_id,
        )
        CLIPTextModelWithProjection(config).save_pretrained(folder / name)
        clip.save_pretrained(folder / name)
    config = T5Config(vocab_size=len(t5), d_model=48, d_kv=24, d_ff=48, num_layers=1, num_heads=2)
    T5EncoderModel(config).save_pretrained(folder / "t5")
    t5.save_pretrained(folder / "t5")
    for channels in (4, 16):
        AutoencoderKL(
            block_out_channels=(8, 8, 8, 8),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=1,
            norm_num_groups=4,
            latent_channels=channels,
            scaling_factor=1.5 if channels == 16 else 0.8,
            shift_factor=0.06 if channels == 16 else None,
            use_quant_conv=channels == 4,
            use_post_quant_conv=channels == 4,
        ).save_pretrained(folder / f"vae-{channels}")
    return folder


@pytest.fixture(scope="session")
def random_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folder of a random stock pipeline for each family."""
    from tinyworld.train.pipelines import UNTRAINED, write_untrained

    parts = write_models(tmp_path_factory.mktemp("parts"))
    folder = tmp_path_factory.mktemp("random-models")
    for family in UNTRAINED:
        write_untrained(family, parts, folder / family)
    return {family: folder / family for family in UNTRAINED}
