"""What a run refuses before it reads a sample."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from distill_runs.packs import Data, Pack, Shard, bucket_samples, check_pack, open_pack
from store.errors import MashbillError, UsageError
from store.location import Location

VAE = {"sha256": "ab", "channels": 4, "factor": 8, "scaling_factor": 0.18215, "shift_factor": None}
SQUARE, WIDE = (64, 64), (96, 64)


def pack_of(sizes: dict[tuple[int, int], int], **fields: Any) -> Pack:
    shard = Shard("train-00000.tar", sum(sizes.values()), 1, "", sizes)
    pack = Pack(Location.of("/p"), "d", "v", "train", shard.samples, (shard,))
    return replace(pack, **fields)


def test_a_pack_is_described(pack: Path) -> None:
    opened = open_pack(pack)
    assert (opened.dataset, opened.version, opened.split, opened.samples) == ("squares", "v1", "train", 8)
    assert opened.sizes == ((48, 48),)
    assert [shard.samples for shard in opened.shards] == [5, 3]
    assert opened.latents == {}
    assert opened.buckets(Data(resolution=24)) == ((24, 24),)


def test_a_folder_without_a_pack_is_refused(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nothing", "memory://nothing/there"):
        with pytest.raises(UsageError, match=r"no pack\.json"):
            open_pack(folder)


def test_a_split_that_is_empty_or_unknown_is_refused(pack: Path) -> None:
    with pytest.raises(MashbillError, match="no samples in split 'validation'"):
        open_pack(pack, "validation")
    with pytest.raises(UsageError, match="no split 'test'; it has: train, validation"):
        open_pack(pack, "test")


def test_a_split_is_not_taken_for_one_whose_name_it_begins(pack: Path, write: SimpleNamespace) -> None:
    index = json.loads((pack / "pack.json").read_text())
    index["shards"][1]["name"] = "train-hard-00000.tar"
    index["splits"] = {"train": 5, "train-hard": 3}
    (pack / "train-00001.tar").rename(pack / "train-hard-00000.tar")
    (pack / "pack.json").write_text(json.dumps(index))
    assert [s.name for s in open_pack(pack, "train").shards] == ["train-00000.tar"]
    assert [s.name for s in open_pack(pack, "train-hard").shards] == ["train-hard-00000.tar"]


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"splits": {"train": 1}, "width": 1, "height": 1}'])
def test_a_broken_index_is_refused(pack: Path, text: str) -> None:
    (pack / "pack.json").write_text(text)
    with pytest.raises(MashbillError, match="cannot be read"):
        open_pack(pack)


def test_an_index_that_does_not_add_up_is_refused(pack: Path, write: SimpleNamespace) -> None:
    write.index(pack, {"train-00000.tar": 5}, splits={"train": 6})
    with pytest.raises(MashbillError, match="do not add up to 6 samples"):
        open_pack(pack)


def test_several_sizes_that_are_not_counted_are_refused(pack: Path, write: SimpleNamespace) -> None:
    write.index(pack, {"train-00000.tar": 5}, width=None, height=None)
    with pytest.raises(UsageError, match="does not say how many of each"):
        open_pack(pack)


def test_a_missing_or_cut_shard_is_refused(pack: Path) -> None:
    shard = pack / "train-00001.tar"
    shard.write_bytes(shard.read_bytes()[:-512])
    with pytest.raises(MashbillError, match=r"train-00001.tar has \d+ bytes"):
        open_pack(pack)
    shard.unlink()
    with pytest.raises(MashbillError, match=r"train-00001.tar is missing"):
        open_pack(pack)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("batch_size", {"batch_size": 0}),
        ("resolution", {"resolution": 0}),
        ("captions", {"captions": "best"}),
        ("flip", {"flip": 1.5}),
        ("flip", {"flip": 0.5, "latents": True}),
        ("max_skipped", {"max_skipped": -1}),
        ("buckets", {"resolution": 64, "buckets": (SQUARE, SQUARE)}),
        ("buckets", {"resolution": 512, "buckets": (SQUARE,)}),
    ],
)
def test_wrong_settings(name: str, wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=rf"data\.{name}="):
        Data(**wrong)


def test_samples_are_counted_by_bucket() -> None:
    pack = pack_of({SQUARE: 5, WIDE: 3, (104, 64): 1})
    assert bucket_samples(pack, (SQUARE, WIDE)) == {SQUARE: 5, WIDE: 4}


def test_a_bucket_smaller_than_a_batch_is_refused() -> None:
    pack = pack_of({SQUARE: 64, WIDE: 12})
    data = Data(resolution=64, batch_size=4, buckets=(SQUARE, WIDE, (64, 128)))
    check_pack(pack, data, world_size=3)
    with pytest.raises(UsageError, match=r"12 samples for the bucket 96x64, less than one batch .*4 x 4"):
        check_pack(pack, data, world_size=4)
    check_pack(pack_of({SQUARE: 2}), Data(resolution=64, batch_size=4))


def test_sizes_must_divide_by_the_factor_of_the_vae() -> None:
    pack = pack_of({(100, 100): 50})
    check_pack(pack, Data(resolution=96), VAE)
    with pytest.raises(UsageError, match="100x100 pixels do not divide by 8"):
        check_pack(pack, Data(resolution=100), VAE)


def test_latents_must_be_of_the_vae_of_the_run() -> None:
    data = Data(resolution=64, latents=True)
    check_pack(pack_of({SQUARE: 50}, latents=VAE), data, VAE)
    check_pack(pack_of({SQUARE: 50}, latents=VAE), data, {"channels": 4})
    with pytest.raises(UsageError, match="has no latents, and"):
        check_pack(pack_of({SQUARE: 50}), data, VAE)
    for name, other in {"sha256": "cd", "channels": 16, "scaling_factor": 1.5, "shift_factor": 0.1}.items():
        with pytest.raises(UsageError, match="made by another VAE"):
            check_pack(pack_of({SQUARE: 50}, latents=VAE), data, VAE | {name: other})


def test_latents_cannot_be_scaled() -> None:
    pack = pack_of({SQUARE: 50, WIDE: 50}, latents=VAE)
    check_pack(pack, Data(resolution=64, latents=True, buckets=(SQUARE, WIDE)), VAE)
    with pytest.raises(UsageError, match="are of images of 96x64 pixels, the run reads 64x64"):
        check_pack(pack, Data(resolution=64, latents=True, buckets=(SQUARE,)), VAE)
