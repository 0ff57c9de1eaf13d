"""Batches from packs that the real packer wrote, whole and broken."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import multiprocessing
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from distill_runs.batches import Batch
from distill_runs.loader import Loader
from distill_runs.packs import Data, Pack, check_bytes, open_pack
from stages.pack.pack import Pack as Packing
from stages.pack.pack import write_pack_shard
from store.errors import MashbillError, UsageError
from store.location import Location
from store.parquet import read_table, table_bytes
from store.tar import TarWriter, walk

BUCKETS = ((32, 32), (48, 32), (32, 48))
SHAPES = ((64, 64), (96, 64), (64, 96))
CROP_ASPECTS = dict(zip(SHAPES, (1.0, 1.6, 1 / 1.6), strict=True))
"""Those whose sizes at 32 px are the buckets."""
DATA = Data(resolution=32, batch_size=3, buckets=BUCKETS)
LEFT, RIGHT = (200, 30, 30), (30, 30, 200)


def source_image(number: int, size: tuple[int, int]) -> bytes:
    """Red on the left, blue on the right, and a green that tells images apart."""
    image = Image.new("RGB", size, LEFT)
    image.paste(RIGHT, (size[0] // 2, 0, *size))
    image.paste((0, 5 * number, 0), (0, 0, size[0], size[1] // 4))
    sink = io.BytesIO()
    image.save(sink, "PNG")
    return sink.getvalue()


def rows_of(count: int, source: Location) -> list[dict[str, Any]]:
    rows = []
    with source.writing() as path, open(path, "wb") as file:
        tar = TarWriter(file)
        for number in range(count):
            width, height = SHAPES[number % 3 if number < 30 else 0]
            member = tar.add(f"{number}.png", source_image(number, (width, height)))
            caption = f"two colors, {number}" if number % 2 else f"blue on the right, {number}"
            row = {"sample_id": f"{number:024x}", "caption": caption, "caption_original": f"raw {number}"}
            row |= {"url": None, "source_key": str(number), "width": width, "height": height}
            row |= {"crop_left": 0, "crop_top": 0, "crop_right": width, "crop_bottom": height}
            row["crop_aspect"] = CROP_ASPECTS[width, height]
            row |= {"split": "train", "dataset": "d", "version": "v", "tar": source.url}
            rows.append(row | {"image_offset": member.offset, "image_size": member.size})
        tar.close()
    return rows


def write_pack(folder: Location, rows: list[dict[str, Any]], per_shard: int = 7, **fields: Any) -> None:
    shards = []
    for number, start in enumerate(range(0, len(rows), per_shard)):
        place = folder / f"train-{number:05d}.tar"
        some = rows[start : start + per_shard]
        shards.append(write_pack_shard(place, some, Packing(resolutions=(32,), **fields), 32))
    index = {"dataset": "d", "version": "v", "width": None, "height": None, "shards": shards}
    index |= {"splits": {"train": len(rows)}} | {k: shards[0][k] for k in ("latents",) if k in shards[0]}
    (folder / "pack.json").write_json(index)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return rows_of(42, Location.of(tmp_path_factory.mktemp("source") / "source.tar"))


@pytest.fixture(scope="module")
def packed(rows: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Pack:
    """42 samples in six shards: 22 square, 10 wide, 10 high."""
    folder = Location.of(tmp_path_factory.mktemp("pack"))
    write_pack(folder, rows)
    return open_pack(folder.path)


@pytest.fixture
def broken(rows: list[dict[str, Any]], tmp_path: Path) -> Callable[[str, bytes | None], Pack]:
    """A pack of one shard in which a member has other bytes, or is not there."""

    def make(member: str, data: bytes | None) -> Pack:
        folder = Location.of(tmp_path / "broken")
        write_pack(folder, rows[:9], per_shard=9)
        path = Path((folder / "train-00000.tar").path)
        whole = path.read_bytes()
        with path.open("wb") as file:
            tar = TarWriter(file)
            for found in walk(io.BytesIO(whole), "t", len(whole)):
                content = whole[found.offset : found.offset + found.size]
                content = data or content if found.name == member else content
                if found.name != member or data is not None:
                    tar.add(found.name, content)
            tar.close()
        index = json.loads((tmp_path / "broken" / "pack.json").read_text())
        index["shards"][0] |= {"bytes": path.stat().st_size, "places": "", "sha256": sha256(path)}
        (folder / "pack.json").write_json(index)
        return open_pack(folder.path)

    return make


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def take(loader: Loader, count: int) -> list[Batch]:
    return list(itertools.islice(loader, count))


def words(batches: list[Batch]) -> list[Any]:
    return [(b.bucket, b.sample_ids, b.captions, b.flipped, b.crops, b.original_sizes) for b in batches]


def same(one: list[Batch], other: list[Batch]) -> bool:
    pixels = zip((b.images_BCHW for b in one), (b.images_BCHW for b in other), strict=True)
    return words(one) == words(other) and all(torch.equal(a, b) for a, b in pixels)  # type: ignore[arg-type]


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_every_epoch_holds_every_sample_once_over_all_ranks(packed: Pack, world_size: int) -> None:
    seen: dict[Any, Counter[str]] = {bucket: Counter() for bucket in BUCKETS}
    ranks = [Loader(packed, DATA, 0, rank, world_size) for rank in range(world_size)]
    while min(loader.epoch for loader in ranks) < 10:
        batches = [next(loader) for loader in ranks]
        assert len({batch.bucket for batch in batches}) == 1
        seen[batches[0].bucket].update(i for batch in batches for i in batch.sample_ids)
    assert [len(found) for found in seen.values()] == [22, 10, 10]
    for found in seen.values():
        assert max(found.values()) - min(found.values()) <= 1
    assert len({json.dumps(loader.cursor()) for loader in ranks}) == 1


def test_batches_are_of_one_bucket_with_what_is_known_of_each_sample(packed: Pack) -> None:
    for batch in take(Loader(packed, DATA, 0), 14):
        assert batch.images_BCHW is not None
        assert batch.images_BCHW.shape == (3, 3, batch.bucket[1], batch.bucket[0])
        assert batch.images_BCHW.dtype == torch.float32
        assert batch.images_BCHW.abs().max() <= 1
        assert batch.latents_BCHW is None
        shape = SHAPES[BUCKETS.index(batch.bucket)]
        assert batch.original_sizes == [shape] * 3
        assert batch.crops == [(0, 0, *shape)] * 3
        left, right = batch.images_BCHW[:, 0, -4, 2], batch.images_BCHW[:, 0, -4, -3]
        assert (left > 0.4).all()
        assert (right < -0.6).all()


def test_pixels_are_those_of_the_pack(packed: Pack) -> None:
    batch = next(Loader(packed, DATA, 0))
    assert batch.images_BCHW is not None
    for row, key in enumerate(batch.sample_ids):
        with fsspec.open(
            f"tar://{key}.jpg::{packed.location.path}/train-{int(key, 16) // 7:05d}.tar"
        ) as file:
            pixels = torch.tensor(list(Image.open(file).tobytes())).view(*batch.bucket[::-1], 3)
        assert torch.allclose(batch.images_BCHW[row], pixels.permute(2, 0, 1) / 127.5 - 1, atol=1e-6)


def test_one_square_bucket_takes_the_middle_and_scales(packed: Pack) -> None:
    batches = take(Loader(packed, Data(resolution=16, batch_size=21, buckets=((16, 16),)), 0), 2)
    assert len({i for batch in batches for i in batch.sample_ids}) == 42
    for batch in batches:
        for size, crop in zip(batch.original_sizes, batch.crops, strict=True):
            assert size is not None
            assert crop == ((size[0] - 64) / 2, (size[1] - 64) / 2, (size[0] + 64) / 2, (size[1] + 64) / 2)


@settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(0, 20), world=st.integers(1, 2), seed=st.integers(0, 2))
def test_a_cursor_continues_exactly(packed: Pack, cut: int, world: int, seed: int) -> None:
    data = Data(resolution=32, batch_size=2, buckets=BUCKETS, flip=0.5)
    for rank in range(world):
        loader = Loader(packed, data, seed, rank, world)
        take(loader, cut)
        cursor = json.loads(json.dumps(loader.cursor()))
        again = Loader(packed, data, seed, rank, world, cursor=cursor)
        assert (again.cursor(), again.continued) == (cursor, "")
        assert same(take(loader, 4), take(again, 4))


def test_another_number_of_ranks_goes_on_where_it_was(packed: Pack) -> None:
    data = Data(resolution=32, batch_size=2, buckets=((32, 32),))
    alone = [i for batch in take(Loader(packed, data, 0), 42) for i in batch.sample_ids]
    first = Loader(packed, data, 0, 0, 3)
    take(first, 2)
    ranks = [Loader(packed, data, 0, rank, 2, cursor=first.cursor()) for rank in range(2)]
    assert ranks[0].continued.startswith("3 ranks with batches of 2 before, 2 with batches of 2 now")
    then = [i for _ in range(8) for loader in ranks for i in next(loader).sample_ids]
    assert then == alone[12 : 12 + len(then)]


def test_a_cursor_of_other_data_is_refused(packed: Pack) -> None:
    cursor = Loader(packed, DATA, 0).cursor()
    with pytest.raises(UsageError, match="its seed is 0, this run's is 1"):
        Loader(packed, DATA, 1, cursor=cursor)
    with pytest.raises(UsageError, match="its buckets is"):
        Loader(packed, Data(resolution=32, batch_size=3, buckets=BUCKETS[:1]), 0, cursor=cursor)


def test_workers_change_nothing(packed: Pack) -> None:
    state = torch.get_rng_state()
    data = Data(resolution=32, batch_size=2, buckets=BUCKETS, flip=0.5)
    alone, helped = Loader(packed, data, 0), Loader(packed, data, 0, workers=2)
    assert same(take(alone, 9), take(helped, 9))
    assert helped.cursor() == alone.cursor()
    helped.close()
    assert same(take(alone, 3), take(helped, 3))
    helped.close()
    assert torch.equal(torch.get_rng_state(), state)


def test_a_killed_worker_is_said_so(packed: Pack) -> None:
    loader = Loader(packed, DATA, 0, workers=1)
    next(loader)
    for process in multiprocessing.active_children():
        if process.name.startswith("ForkServerProcess"):
            process.kill()
    with pytest.raises(MashbillError, match=r"a process that reads the pack ahead died .* \(now 1\)"):
        take(loader, 20)


def test_captions_and_flips_are_chosen_by_the_visit(packed: Pack) -> None:
    data = Data(resolution=32, batch_size=7, buckets=((32, 32),), flip=0.5, captions="random")
    batches = take(Loader(packed, data, 0), 24)
    assert {c.split()[0] for batch in batches for c in batch.captions} == {"two", "blue", "raw"}
    flips = [
        (int(key, 16) % 2, flipped)
        for batch in batches
        for key, flipped in zip(batch.sample_ids, batch.flipped, strict=True)
    ]
    assert not any(flipped for odd, flipped in flips if not odd)  # "blue on the right"
    assert 0.3 < sum(flipped for odd, flipped in flips if odd) / 84 < 0.7
    for batch in batches:
        assert batch.images_BCHW is not None
        assert ((batch.images_BCHW[:, 0, -4, 2] < 0) == torch.tensor(batch.flipped)).all()
    first = take(Loader(packed, Data(resolution=32, batch_size=7, buckets=((32, 32),)), 0), 6)
    assert not any(caption.startswith("raw") for batch in first for caption in batch.captions)
    assert [b.sample_ids for b in first] == [b.sample_ids for b in batches[:6]]


KEY = f"{4:024x}"
WRONG = {
    "an image that is none": (
        f"{KEY}.jpg",
        b"no image",
        rf"sample {KEY} of .*train-00000.tar cannot be decoded",
    ),
    "a cut image": (f"{KEY}.jpg", source_image(4, (48, 32))[:90], rf"sample {KEY} .* cannot be decoded"),
    "another size": (
        f"{KEY}.jpg",
        source_image(4, (64, 64)),
        rf"sample {KEY} .*has 64x64 pixels, .* says 48x32",
    ),
    "no image": (f"{KEY}.jpg", None, rf"sample {KEY} .* has no .jpg \(it has: json, txt\)"),
    "a broken json": (f"{KEY}.json", b"{", r"the \.json of sample .* cannot be read"),
    "a json of others": (
        f"{KEY}.json",
        b"{}",
        r"a \.json that is not what a pack writes \(KeyError: 'width'\)",
    ),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_wrong_inside_a_shard_is_named(kind: str, broken: Callable[..., Pack]) -> None:
    member, data, message = WRONG[kind]
    with pytest.raises(MashbillError, match=message):
        take(Loader(broken(member, data), DATA, 0), 3)


def test_broken_samples_may_be_skipped_and_are_counted(broken: Callable[..., Pack]) -> None:
    pack = broken(f"{KEY}.jpg", b"no image")
    data = Data(resolution=32, batch_size=3, buckets=BUCKETS, max_skipped=1)
    loader = Loader(pack, data, 0)
    batches = take(loader, 3)
    assert loader.skipped == loader.cursor()["skipped"] == 1
    assert sorted(len(batch.sample_ids) for batch in batches) == [2, 3, 3]
    assert KEY not in {i for batch in batches for i in batch.sample_ids}
    with pytest.raises(MashbillError, match=r"now 1; found by this rank: 2"):
        take(loader, 3)
    alone = Loader(pack, Data(resolution=32, batch_size=1, buckets=BUCKETS, max_skipped=9), 0)
    with pytest.raises(MashbillError, match="all 1 samples of a batch are broken"):
        take(alone, 9)


@pytest.mark.parametrize("walked", [False, True])
def test_a_shard_that_was_cut_after_the_start_is_named(
    walked: bool, rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    write_pack(Location.of(tmp_path), rows)
    without_places(tmp_path, walked)
    pack = open_pack(tmp_path)
    take(Loader(pack, DATA, 0), 20)  # its hash was right when this process opened it
    shard = tmp_path / "train-00002.tar"
    shard.write_bytes(shard.read_bytes()[:9000])
    message = "ends inside a member" if walked else "cannot be read .* bytes expected"
    with pytest.raises(MashbillError, match=rf"train-00002.tar {message}"):
        take(Loader(pack, DATA, 0), 20)
    shard.unlink()
    with pytest.raises(MashbillError, match=r"train-00002.tar"):
        take(Loader(pack, DATA, 0), 20)


def change_a_picture(path: Path) -> None:
    """Zeros in the middle of an image of the shard, which is decoded all the same."""
    whole = bytearray(path.read_bytes())
    image = next(m for m in walk(io.BytesIO(bytes(whole)), "t", len(whole)) if m.name.endswith(".jpg"))
    place = slice(image.offset, image.offset + image.size)
    before, middle = bytes(whole[place]), image.offset + image.size - 60
    whole[middle : middle + 8] = bytes(8)
    path.write_bytes(whole)
    seen = [Image.open(io.BytesIO(data)).tobytes() for data in (before, bytes(whole[place]))]
    assert seen[0] != seen[1]


def exchange_two_places(path: Path) -> None:
    table = read_table(Location.of(path))
    offsets = table["jpg_offset"].to_pylist()
    offsets[0], offsets[1] = offsets[1], offsets[0]
    number = table.column_names.index("jpg_offset")
    path.write_bytes(table_bytes(table.set_column(number, "jpg_offset", pa.array(offsets, pa.int64()))))


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    ("name", "harm"), [("train-00002.tar", change_a_picture), ("train-00002.parquet", exchange_two_places)]
)
def test_a_change_that_could_be_trained_on_is_not(
    name: str, harm: Callable[[Path], None], workers: int, rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    write_pack(Location.of(tmp_path), rows)
    pack = open_pack(tmp_path)
    size = (tmp_path / name).stat().st_size
    harm(tmp_path / name)
    assert (tmp_path / name).stat().st_size == size
    with pytest.raises(MashbillError, match=rf"{name} holds other bytes than were packed \(SHA-256 "):
        take(Loader(pack, DATA, 0, workers=workers), 20)
    skipping = Loader(pack, replace(DATA, max_skipped=9), 0)
    seen = {int(i, 16) for batch in take(skipping, 14) for i in batch.sample_ids}
    assert seen.isdisjoint(range(14, 21))
    assert skipping.skipped >= 5


def test_a_shard_is_hashed_once_in_a_process(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    write_pack(Location.of(tmp_path), rows)
    before = check_bytes.cache_info().misses
    for _ in range(2):
        take(Loader(open_pack(tmp_path), DATA, 0), 14)
    assert check_bytes.cache_info().misses == before + 12  # six shards, and where their samples lie


def without_places(folder: Path, walked: bool) -> None:
    index = json.loads((folder / "pack.json").read_text())
    for shard in index["shards"] if walked else ():
        (folder / shard.pop("places")).unlink()
    (folder / "pack.json").write_text(json.dumps(index))


def test_a_pack_without_places_is_walked(rows: list[dict[str, Any]], packed: Pack, tmp_path: Path) -> None:
    write_pack(Location.of(tmp_path), rows)
    without_places(tmp_path, True)
    assert same(take(Loader(open_pack(tmp_path), DATA, 0), 14), take(Loader(packed, DATA, 0), 14))


def test_a_pack_in_an_object_store(rows: list[dict[str, Any]], packed: Pack) -> None:
    remote = Location.of("memory://packs/loader")
    for name in packed.location.names():
        (remote / name).write_bytes((packed.location / name).read_bytes())
    assert same(take(Loader(open_pack(remote.url), DATA, 0), 14), take(Loader(packed, DATA, 0), 14))
