"""Runs that read text encodings from their pack: the same losses, other encoders refused."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from distill_runs.loader import Loader
from distill_runs.models import load_model
from distill_runs.packs import Data, open_pack
from distill_runs.refusals import check_fit
from distill_runs.run import train
from distill_runs.settings import Run, Samples, Validation
from distill_runs.texts import empty_caption, encoded_caption
from stages.pack.text import load_text_encoders, text_lengths, text_members
from store.errors import MashbillError, UsageError
from store.runs import run_in
from store.store import open_store
from store.versions import find_version
from tests.distill_runs.small_runs import ALONE, small_run, staged, take, trainer_of
from tinyworld.train.pipelines import write_untrained

FAMILIES = ["unet", "pixart", "sd3"]
TEXT = Data(resolution=64, batch_size=4, captions="random", text=True)
WORDS = replace(TEXT, text=False)


@pytest.fixture(scope="module")
def students(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Pipelines with the text encoders and VAEs that are shipped, and random denoisers."""
    folder = tmp_path_factory.mktemp("students")
    for family in FAMILIES:
        write_untrained(family, folder / family)
    return {family: folder / family for family in FAMILIES}


@pytest.fixture(scope="module")
def packs(
    tmp_path_factory: pytest.TempPathFactory,
    students: dict[str, Path],
    photos: Any,
    cli: Any,
    folder_source: Any,
) -> dict[str, Path]:
    """A pack by family: 15 samples of 64 pixels with two captions each."""
    store, found = tmp_path_factory.mktemp("built") / "store", {}
    for family, student in students.items():
        changes = (f"text={student}", "resolutions=64", "samples_per_shard=6")
        settings = [text for change in changes for text in ("--set", f"pack.{change}")]
        line = ["build", "l-orig", "--store", store, *folder_source(photos.path), *settings]
        done = cli(*line, "--workers", "1", "--set", "split.validation_share=0.3")
        assert done.code == 0, done.err
        assert "packing 64: text encodings " in done.err
        found[family] = Path(find_version(open_store(store), "l-orig").pack("64").path)
    return found


def run_of(student: Path, data: Data, **fields: Any) -> Run:
    run = small_run(student, caption_dropout=0.25, encoder_dropout=0.25, **fields)
    return staged(run, {"data": data})


@pytest.mark.parametrize("family", FAMILIES)
def test_the_losses_are_those_of_encoding_while_training(
    family: str, students: dict[str, Path], packs: dict[str, Path], tmp_path: Path
) -> None:
    """To the rounding of float16, with captions drawn and dropped alike."""
    losses = []
    for data in (WORDS, TEXT):
        with trainer_of(run_of(students[family], data), packs[family], tmp_path / str(data.text)) as trainer:
            trainer.start()
            losses.append([row["loss/task"] for row in take(trainer, 2)])
    assert losses[1] == pytest.approx(losses[0], rel=2e-4)
    assert losses[1] != losses[0]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_condition_is_that_of_the_stock_pipeline(
    family: str, students: dict[str, Path], packs: dict[str, Path]
) -> None:
    model, pack = load_model(str(students[family])), open_pack(packs[family])
    batch, empty = next(Loader(pack, TEXT, seed=0)), empty_caption(pack)
    assert batch.text is not None
    dropped = {name: [i % 2 == n % 2 for i in range(4)] for n, name in enumerate(model.family.encoders)}
    ours, stock = model.condition(batch.text, empty, dropped), model.encode(batch.captions, dropped)
    assert ours.tokens_BLD.shape == stock.tokens_BLD.shape
    read = torch.ones_like(stock.tokens_BLD, dtype=torch.bool)
    if stock.mask_BL is not None:
        assert ours.mask_BL is not None
        assert torch.equal(ours.mask_BL, stock.mask_BL)
        read = stock.mask_BL.bool()[..., None].expand_as(read)
        assert not ours.tokens_BLD[~read].any()
    torch.testing.assert_close(ours.tokens_BLD[read].float(), stock.tokens_BLD[read], atol=2e-3, rtol=1e-3)
    if stock.pooled_BD is not None:
        assert ours.pooled_BD is not None
        torch.testing.assert_close(ours.pooled_BD.float(), stock.pooled_BD, atol=2e-3, rtol=1e-3)


@pytest.mark.parametrize("family", FAMILIES)
def test_each_caption_of_a_sample_is_found_among_the_others(
    family: str, students: dict[str, Path], packs: dict[str, Path]
) -> None:
    captions = ["a red circle", "two blue stars in a row", "dog"]
    encoded = load_text_encoders(str(students[family]), "main").encode(captions)
    members, lengths = text_members(encoded), text_lengths(encoded)
    for number, expected in enumerate(encoded):
        found = encoded_caption(members, lengths, number, open_pack(packs[family]))
        assert found.keys() == expected.keys()
        assert all(np.array_equal(array, expected[name]) for name, array in found.items())


def test_only_what_a_denoiser_reads_is_there(packs: dict[str, Path]) -> None:
    """PixArt masks padding, so that it is not stored; the others read it."""
    for family, padded in (("unet", True), ("pixart", False), ("sd3", True)):
        batch = next(Loader(open_pack(packs[family]), TEXT, seed=0))
        assert batch.text is not None
        ends = [text.tokens_BLD[:, -1].abs().amax(-1) > 0 for text in batch.text.values()]
        assert all(bool(end.all()) is padded for end in ends)


def test_a_run_trains_validates_and_draws(
    students: dict[str, Path], packs: dict[str, Path], tmp_path: Path
) -> None:
    data = replace(TEXT, batch_size=2)
    run = run_of(
        students["sd3"],
        data,
        validation=Validation(every=2, samples=2),
        samples=Samples(count=2, inference_steps=2),
        precision="bfloat16",
    )
    run = staged(run, {"steps": 2})
    (tmp_path / "run").mkdir()
    summary = train(run, [str(packs["sd3"])], run_in(tmp_path / "run"), progress=False)
    assert summary["steps"] == 2
    assert (tmp_path / "run" / "samples.png").exists()


def test_encoders_that_no_batch_needs_stay_as_they_are(
    students: dict[str, Path], packs: dict[str, Path], tmp_path: Path
) -> None:
    """In float32 in the memory of the CPU, where other runs have them in bfloat16 on their device."""
    for data, dtype in ((WORDS, torch.bfloat16), (TEXT, torch.float32)):
        run = run_of(students["pixart"], data, precision="bfloat16")
        with trainer_of(run, packs["pixart"], tmp_path) as trainer:
            assert trainer.model.pipeline.text_encoder.dtype == dtype
            assert trainer.null.tokens_BLD.dtype == torch.bfloat16


def other_weights(student: Path) -> None:
    file = student / "text_encoder" / "model.safetensors"
    tensors = load_file(file)
    name = min(tensors)
    tensors[name] = tensors[name] + 1e-6
    save_file(tensors, file, {"format": "pt"})


def other_words(student: Path) -> None:
    file = student / "tokenizer" / "tokenizer.json"
    fields = json.loads(file.read_text())
    vocabulary = fields["model"]["vocab"]
    first, second = list(vocabulary)[-2:]
    vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]
    file.write_text(json.dumps(fields))


def fewer_tokens(student: Path) -> None:
    file = student / "tokenizer" / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"model_max_length": 40}))


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (other_weights, r"made by another text_encoder: its weights \(SHA-256\) is [0-9a-f]+, the run's is"),
        (other_words, "made by another text_encoder: its tokenizer's vocabulary is"),
        (fewer_tokens, "its number of tokens that is read at most is 48, the run's is 40"),
    ],
)
def test_other_encoders_are_refused(
    harm: Callable[[Path], None],
    said: str,
    students: dict[str, Path],
    packs: dict[str, Path],
    tmp_path: Path,
) -> None:
    student = Path(shutil.copytree(students["unet"], tmp_path / "unet"))
    run, pack = run_of(student, TEXT), [open_pack(packs["unet"])]
    check_fit(run, load_model(run.student), pack, ALONE)
    harm(student)
    with pytest.raises(UsageError, match=said):
        check_fit(run, load_model(run.student), pack, ALONE)


def test_another_family_and_a_pack_without_text_are_refused(
    students: dict[str, Path], packs: dict[str, Path]
) -> None:
    run = run_of(students["unet"], TEXT)
    with pytest.raises(UsageError, match=r"of family pixart; the student .* is of family unet"):
        check_fit(run, load_model(run.student), [open_pack(packs["pixart"])], ALONE)
    without = replace(open_pack(packs["unet"]), text={})
    with pytest.raises(UsageError, match=r"has no text encodings, and data.text is set"):
        check_fit(run, load_model(run.student), [without], ALONE)


def changed(pack: Path, folder: Path, about: Callable[[dict[str, Any]], None]) -> Path:
    copy = Path(shutil.copytree(pack, folder))
    index = json.loads((copy / "pack.json").read_text())
    about(index)
    (copy / "pack.json").write_text(json.dumps(index))
    return copy


def test_encodings_that_are_not_what_the_encoders_make_are_refused(
    students: dict[str, Path], packs: dict[str, Path], tmp_path: Path
) -> None:
    """Where all that names the encoders is right, and the numbers are not."""
    run = run_of(students["unet"], TEXT)
    file = "empty.text_encoder.npy"

    def lie(index: dict[str, Any]) -> None:
        data = (tmp_path / "pack" / file).read_bytes()
        index["text"]["empty"][file] = hashlib.sha256(data).hexdigest()

    copy = Path(shutil.copytree(packs["unet"], tmp_path / "first"))
    np.save(copy / file, np.load(copy / file)[::-1])
    pack = changed(copy, tmp_path / "pack", lie)
    with pytest.raises(UsageError, match=r"not what the encoders of .* spreads apart"):
        check_fit(run, load_model(run.student), [open_pack(pack)], ALONE)
    with pytest.raises(MashbillError, match=r"empty.text_encoder.npy holds other bytes than were packed"):
        empty_caption(open_pack(copy))


def test_a_sample_whose_encodings_are_of_another_shape_is_named(
    packs: dict[str, Path], tmp_path: Path
) -> None:
    def widen(index: dict[str, Any]) -> None:
        index["text"]["encoders"]["text_encoder"]["width"] += 1

    pack = open_pack(changed(packs["unet"], tmp_path / "pack", widen))
    with pytest.raises(
        MashbillError, match=r"sample \w+ of .*tar has a text_encoder.npy of float16 \(\d+, 128\); expected"
    ):
        next(Loader(pack, TEXT, seed=0))
