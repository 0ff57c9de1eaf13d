"""Fixtures every test may use."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import struct
import subprocess
import sys
import uuid
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipelines.cli import main
from pipelines.executors import Serial
from pipelines.intake import take_in
from stages.stage import Source
from store.store import open_store

ROOT = Path(__file__).resolve().parent.parent
TIMEOUT_S = 240


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if hasattr(getattr(item, "module", None), "in_ranks"):
            item.add_marker(pytest.mark.ranks)


@pytest.fixture(scope="session")
def shared_data() -> Path | None:
    """Folder of larger public test data beside the checkout, or None where there is none."""
    folder = ROOT.parent / "shared" / "data"
    return folder if folder.is_dir() else None


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out.splitlines()[-1])

    @property
    def message(self) -> str:
        """The one line a failed command says, after the progress it may have shown."""
        return self.err[self.err.rindex("mashbill: ") :].strip()


@dataclass(frozen=True)
class Photos:
    """A folder of image files with captions, and what ``l-orig`` must make of them."""

    path: Path
    kept: int
    dropped: dict[str, int]

    @property
    def count(self) -> int:
        return self.kept + sum(self.dropped.values())


def smooth(width: int, height: int, seed: int) -> Image.Image:
    rng = np.random.default_rng(seed)
    grid = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
    return grid.resize((width, height), Image.Resampling.BICUBIC)


def jpeg(width: int, height: int, seed: int) -> bytes:
    sink = io.BytesIO()
    smooth(width, height, seed).save(sink, "JPEG", quality=88)
    return sink.getvalue()


def png_bomb() -> bytes:
    """A PNG whose header announces 60,000 x 60,000 pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(bytes(1000))
    chunks = (struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in (header, data))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


BROKEN = {
    "bad-bomb.png": (png_bomb(), "too_many_pixels"),
    "bad-cut.jpg": (jpeg(320, 240, 90)[:3000], "truncated"),
    "bad-empty.jpg": (b"", "empty"),
    "bad-page.jpg": (b"<!DOCTYPE html><html><body>404 not found</body></html>", "not_an_image"),
}


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Photos:
    """14 JPEGs and a 1 x 1 pixel image that are kept, four broken files, and two bad captions."""
    folder = tmp_path_factory.mktemp("photos")
    for i in range(14):
        width, height = 200 + 37 * (i % 7), 200 + 53 * (i % 5)
        (folder / f"photo-{i:02d}.jpg").write_bytes(jpeg(width, height, i))
        (folder / f"photo-{i:02d}.txt").write_text(f"a soft picture &amp; number {i}", "utf-8")
    Image.new("RGB", (1, 1), (9, 9, 9)).save(folder / "tiny.png")
    (folder / "tiny.txt").write_text("one pixel")
    for name, (data, _) in BROKEN.items():
        (folder / name).write_bytes(data)
        (folder / name).with_suffix(".txt").write_text("a caption")
    (folder / "silent.jpg").write_bytes(jpeg(220, 230, 50))
    (folder / "novel.jpg").write_bytes(jpeg(230, 220, 51))
    (folder / "novel.txt").write_text("word " * 2000)
    dropped = {reason: 1 for _, reason in BROKEN.values()}
    dropped |= {"caption_missing": 1, "caption_too_long": 1}
    return Photos(folder, 15, dict(sorted(dropped.items())))


@pytest.fixture(scope="session")
def broken_files() -> dict[str, tuple[bytes, str]]:
    """Bytes and expected reason code by file name."""
    return BROKEN


@pytest.fixture(scope="session")
def make_jpeg() -> Callable[[int, int, int], bytes]:
    """A smooth JPEG of a width, a height and a seed."""
    return jpeg


@pytest.fixture(scope="session")
def cli() -> Callable[..., Done]:
    """Runs the command line in this process."""

    def run(*arguments: object) -> Done:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code = main([str(argument) for argument in arguments])
            except SystemExit as wrong:  # argparse
                code = int(wrong.code or 0)
        return Done(code, out.getvalue(), err.getvalue())

    return run


@pytest.fixture(scope="session")
def command() -> tuple[list[str], dict[str, str]]:
    """Arguments and environment that start the command line in a process of its own."""
    return [sys.executable, "-m", "pipelines"], {**os.environ, "PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="session")
def mashbill(command: tuple[list[str], dict[str, str]]) -> Callable[..., Done]:
    """Runs the command line in a process of its own."""

    def run(*arguments: object) -> Done:
        start, environment = command
        line = [*start, *map(str, arguments)]
        done = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S)
        return Done(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture(scope="session")
def folder_source() -> Callable[..., list[str]]:
    """The options that read a folder of images."""

    def options(path: Path, shard_size: int = 6) -> list[str]:
        fields = {"kind": "folder", "path": path, "shard_size": shard_size}
        return [text for key, value in fields.items() for text in ("--set", f"source.{key}={value}")]

    return options


@pytest.fixture(scope="session")
def tree() -> Callable[..., dict[str, str]]:
    """SHA-256 of every file below a folder but temporary ones and reports, by relative path."""

    def digests(folder: Path, times: bool = False) -> dict[str, str]:
        found = {}
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            name = file.relative_to(folder).as_posix()
            if name.startswith("tmp/") or "/report/" in name:
                continue
            digest = hashlib.sha256(file.read_bytes()).hexdigest()
            found[name] = f"{digest} {file.stat().st_mtime_ns}" if times else digest
        return found

    return digests


@pytest.fixture(scope="session")
def built(
    tmp_path_factory: pytest.TempPathFactory,
    photos: Photos,
    cli: Callable[..., Done],
    folder_source: Callable[..., list[str]],
) -> tuple[Path, dict[str, Any]]:
    """A store with one ``l-orig`` of ``photos`` in it, for reading only, and what the build printed."""
    store = tmp_path_factory.mktemp("built") / "store"
    options = ["--set", "pack.resolutions=64,0", "--workers", "1", "--json"]
    done = cli("build", "l-orig", "--store", store, *folder_source(photos.path), *options)
    assert done.code == 0, done.err
    return store, done.json


@pytest.fixture
def taken(tmp_path: Path) -> Callable[[Source], list[dict[str, Any]]]:
    """Takes a source into a new store; its rows in order, with ``image`` (bytes) and ``tar`` (URL)."""

    def take(source: Source) -> list[dict[str, Any]]:
        store = open_store(tmp_path / f"store-{uuid.uuid4().hex}", create=True)
        stored, _ = take_in(store, source, Serial(), lambda *_: None)
        rows = []
        for shard in stored.shards():
            tar = stored.tar(shard)
            for row in stored.rows(shard).to_pylist():
                place = (row["image_offset"], row["image_size"])
                image = None if place[0] is None else tar.read_ranges([place])[0]
                rows.append(row | {"image": image, "tar": tar.url})
        return rows

    return take


# Random text-to-image pipelines of the three families, as small as their classes allow.


def write_models(folder: Path) -> Path:
    """Random VAEs, text encoders and learned tokenizers, where ``tinyworld.train.pipelines`` looks."""
    import torch
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
        write_untrained(family, folder / family, models=parts)
    return {family: folder / family for family in UNTRAINED}
