import itertools
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from distill_runs.pack import batches, open_pack
from store.errors import MashbillError, UsageError


def ids_of(pack: Path, seed: int, num_batches: int = 4) -> list[str]:
    stream = batches(open_pack(pack, "train"), 4, 16, seed)
    return [i for batch in itertools.islice(stream, num_batches) for i in batch.sample_ids]


def test_every_epoch_holds_every_sample_in_an_order_of_its_own(pack: Path) -> None:
    ids = ids_of(pack, seed=0)
    assert len(set(ids[:8])) == 8
    assert sorted(ids[:8]) == sorted(ids[8:])
    assert ids[:8] != ids[8:]


def test_the_seed_names_the_order(pack: Path) -> None:
    assert ids_of(pack, seed=1) == ids_of(pack, seed=1)
    assert ids_of(pack, seed=1) != ids_of(pack, seed=2)


def test_images_are_floats_with_their_captions(pack: Path) -> None:
    batch = next(batches(open_pack(pack, "train"), 8, 16, 0))
    assert batch.images_BCHW.shape == (8, 3, 16, 16)
    assert batch.images_BCHW.dtype == torch.float32
    assert batch.images_BCHW.min() >= -1
    assert batch.images_BCHW.max() <= 1
    row = batch.captions.index("a red square, top left")
    red, green, blue = batch.images_BCHW[row, :, 3, 3].tolist()
    assert red > 0.5
    assert max(green, blue) < -0.5


def test_a_folder_with_odd_characters(tmp_path: Path, write: SimpleNamespace) -> None:
    folder = write.pack(tmp_path / "a#b ?c")
    assert len(ids_of(folder, seed=0, num_batches=2)) == 8


def test_a_folder_without_a_pack_is_refused(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(UsageError, match=r"no pack\.json"):
            open_pack(folder, "train")


def test_an_empty_split_is_refused(pack: Path) -> None:
    with pytest.raises(MashbillError, match="no samples in split 'validation'"):
        open_pack(pack, "validation")


def test_images_of_different_sizes_are_refused(pack: Path, write: SimpleNamespace) -> None:
    write.index(pack, {"train-00000.tar": 5}, width=None, height=None)
    with pytest.raises(UsageError, match="different sizes"):
        open_pack(pack, "train")


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"splits": {"train": 1}, "width": 1, "height": 1}'])
def test_a_broken_index_is_refused(pack: Path, text: str) -> None:
    (pack / "pack.json").write_text(text)
    with pytest.raises(MashbillError, match="cannot be read"):
        open_pack(pack, "train")


def test_a_missing_or_cut_shard_is_refused(pack: Path) -> None:
    shard = pack / "train-00001.tar"
    shard.write_bytes(shard.read_bytes()[:-512])
    with pytest.raises(MashbillError, match=r"train-00001.tar has \d+ bytes"):
        open_pack(pack, "train")
    shard.unlink()
    with pytest.raises(MashbillError, match=r"train-00001.tar is missing"):
        open_pack(pack, "train")


def test_what_is_wrong_inside_a_shard_is_named(pack: Path, write: SimpleNamespace) -> None:
    good = write.picture("red", "top left")
    cases = {
        "has no .txt": [("k.jpg", good)],
        "has no .jpg": [("k.txt", b"x")],
        "cannot be decoded": [("k.jpg", b"no image"), ("k.txt", b"x")],
        "64x64 pixels; pack.json expects 48x48": [
            ("k.jpg", write.picture("red", "top left", 64)),
            ("k.txt", b"x"),
        ],
        "not UTF-8": [("k.jpg", good), ("k.txt", b"\xff")],
        "holds 2 samples; pack.json expects 1": [
            (f"{key}.{ext}", data) for key in "kl" for ext, data in (("jpg", good), ("txt", b"x"))
        ],
    }
    for message, members in cases.items():
        write.tar(pack / "train-00000.tar", members)
        write.index(pack, {"train-00000.tar": 1})
        with pytest.raises(MashbillError, match=message):
            next(batches(open_pack(pack, "train"), 4, 16, 0))


def test_a_shard_that_is_no_tar_is_refused(pack: Path, write: SimpleNamespace) -> None:
    (pack / "train-00000.tar").write_bytes(b"\x01" * 2048)
    write.index(pack, {"train-00000.tar": 1})
    with pytest.raises(MashbillError, match="not a readable tar"):
        next(batches(open_pack(pack, "train"), 4, 16, 0))
