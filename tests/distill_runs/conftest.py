"""A small real pack: JPEGs of one colored square each, in tar files, with their index."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image, ImageDraw

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


def write_pack(folder: Path, shard_sizes: tuple[int, ...] = (5, 3), validation: int = 0) -> Path:
    """``validation``: samples of one more shard, of that split."""
    folder.mkdir()
    names = [f"train-{shard:05d}.tar" for shard in range(len(shard_sizes))]
    if validation:
        names, shard_sizes = [*names, "validation-00000.tar"], (*shard_sizes, validation)
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
        counts[names[shard]] = size
        write_tar(folder / names[shard], members)
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


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pack of 16 samples in two shards, and 8 for validation; for reading only."""
    return write_pack(tmp_path_factory.mktemp("packs") / "squares", (8, 8), validation=8)
