"""Text encodings beside the images of a pack: what is said of them, and the room they take."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.pack_sizes import bytes_of_sample
from stages.pack.pack import Pack
from stages.pack.text import load_text_encoders
from stages.pack.text_shapes import text_encoders
from store.errors import UsageError
from store.store import open_store
from store.versions import find_version

TEXTS = ["A red circle ", "two blue stars in a row", "", "two blue stars in a row"]


def build_line(store: Path, source: list[str], **fields: object) -> list[object]:
    changes = {"resolutions": 32, "samples_per_shard": 6} | fields
    settings = [text for name, value in changes.items() for text in ("--set", f"pack.{name}={value}")]
    return ["build", "l-orig", "--store", store, *source, *settings, "--workers", "1", "--json"]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("built") / "store"


@pytest.fixture(scope="module")
def pack(
    store: Path, random_models: dict[str, Path], photos: Any, cli: Any, folder_source: Any
) -> tuple[Path, str]:
    """Of the three encoders of SD3, and what the build said."""
    done = cli(*build_line(store, folder_source(photos.path), text=random_models["sd3"]))
    assert done.code == 0, done.err
    return Path(find_version(open_store(store), "l-orig").pack("32").path), done.err


def members(pack: Path) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for file in sorted(pack.glob("*.tar")):
        with tarfile.open(file) as tar:
            found |= {m.name: tar.extractfile(m).read() for m in tar}  # type: ignore[union-attr]
    return found


def test_the_index_says_what_made_them(pack: tuple[Path, str], random_models: dict[str, Path]) -> None:
    index = json.loads((pack[0] / "pack.json").read_text())
    assert index["format"] == (
        "webdataset: jpg, txt, json, text_encoder.npy, text_encoder.pooled.npy, text_encoder_2.npy, "
        "text_encoder_2.pooled.npy, text_encoder_3.npy"
    )
    text = index["text"]
    assert text["pipeline"] == str(random_models["sd3"])
    assert (text["family"], text["dtype"], len(text["files"])) == ("sd3", "float16", 12)
    shapes = [(e["class"], e["width"], e["pooled"], e["masked"]) for e in text["encoders"].values()]
    assert shapes == [
        ("CLIPTextModelWithProjection", 32, 16, False),
        ("CLIPTextModelWithProjection", 16, 16, False),
        ("T5EncoderModel", 48, 0, False),
    ]
    assert all((pack[0] / file).exists() for file in text["empty"])


def test_every_caption_is_encoded(pack: tuple[Path, str], random_models: dict[str, Path]) -> None:
    files, encoders = members(pack[0]), load_text_encoders(str(random_models["sd3"]), "main")
    keys = [name.removesuffix(".json") for name in files if name.endswith(".json")]
    assert len(keys) == 15
    for key in keys[:4]:
        fields = json.loads(files[f"{key}.json"])
        encoded = encoders.encode(fields["captions"])
        for name, lengths in fields["text_lengths"].items():
            stored = np.load(io.BytesIO(files[f"{key}.{name}.npy"]))
            assert lengths == [len(one[name]) for one in encoded]
            assert stored.dtype == np.float16
            joined = np.concatenate([one[name] for one in encoded])
            np.testing.assert_allclose(stored.astype("f4"), joined.astype("f4"), atol=2e-3)
        pooled = np.load(io.BytesIO(files[f"{key}.text_encoder.pooled.npy"]))
        assert pooled.shape == (len(fields["captions"]), 16)


def test_the_bytes_are_those_that_were_said(pack: tuple[Path, str], random_models: dict[str, Path]) -> None:
    """Counted from configurations before anything was made; of SD3 every byte."""
    files = members(pack[0])
    expected = 0
    for name in (name for name in files if name.endswith(".json")):
        captions = len(json.loads(files[name])["captions"])
        expected += bytes_of_sample(Pack(text=str(random_models["sd3"])), (32, 32), captions).text
    found = [len(data) for name, data in files.items() if name.endswith(".npy")]
    assert expected == sum(512 + size + -size % 512 for size in found)
    assert f"packing 32: text encodings {expected / 1e3:.1f} kB" in pack[1]


def test_a_masked_encoding_takes_at_most_what_is_said(random_models: dict[str, Path]) -> None:
    model = str(random_models["pixart"])
    _, (t5,) = text_encoders(model, "main")
    (one,) = load_text_encoders(model, "main").encode(["a red circle"])
    assert one["text_encoder"].shape[0] < t5.max_length
    assert bytes_of_sample(Pack(text=model), (32, 32), 1).at_most


def test_equal_texts_are_equal_bytes(random_models: dict[str, Path]) -> None:
    for family in ("unet", "pixart", "sd3"):
        encoders = load_text_encoders(str(random_models[family]), "main")
        first, again = encoders.encode(TEXTS), encoders.encode(TEXTS)
        for name, array in first[1].items():
            assert array.tobytes() == first[3][name].tobytes() == again[1][name].tobytes()
            assert array.dtype == np.float16


def test_the_version_verifies_and_the_second_build_writes_nothing(
    pack: tuple[Path, str],
    store: Path,
    random_models: dict[str, Path],
    photos: Any,
    cli: Any,
    folder_source: Any,
    tree: Any,
) -> None:
    version = find_version(open_store(store), "l-orig")
    assert "packs/32/empty.text_encoder.npy" in version.manifest()["files"]
    before = tree(store / "datasets", times=True)
    line = build_line(store, folder_source(photos.path), text=random_models["sd3"])
    done = cli(*line)
    assert done.code == 0, done.err
    assert tree(store / "datasets", times=True) == before


def test_a_dry_run_and_a_plan_say_the_bytes(
    tmp_path: Path, random_models: dict[str, Path], photos: Any, cli: Any, folder_source: Any
) -> None:
    model = random_models["pixart"]
    line = build_line(tmp_path / "none", folder_source(photos.path), text=model, latents=model)[:-1]
    planned = cli(*line, "--dry-run", "--json").json["arrays"]["32"]
    assert planned["latents"] == 1024  # a block for the tar's header, one for 4 x 4 x 4 float16 and theirs
    assert planned["captions"] == 2
    assert planned["at_most"]
    assert "pack 32: latents 1.0 kB, text encodings at most" in cli(*line, "--dry-run").out
    settings = [text for n in ("text", "latents") for text in ("--set", f"pack.{n}={model}")]
    found = cli("plan", "l-orig", "--samples", 1000, *settings, "--set", "pack.resolutions=32", "--json").json
    parts = {part["name"]: part["written"] for part in found["parts"]}
    assert parts["latents 32"] == 1000 * 1024
    name = "text encodings 32 of 2 captions a sample, at most"
    assert parts[name] == 1000 * planned["text"]
    assert name in found["not_measured"]


def lose_a_tensor(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    file = folder / "text_encoder" / "model.safetensors"
    tensors = load_file(file)
    del tensors[min(tensors)]
    save_file(tensors, file, {"format": "pt"})


def lose_the_index(folder: Path) -> None:
    (folder / "model_index.json").unlink()


def be_of_another_class(folder: Path) -> None:
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | {"_class_name": "FluxPipeline"}))


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lose_a_tensor, "the weights of its text_encoder lack 1 tensors"),
        (lose_the_index, "is no pipeline whose text encoders are known"),
        (be_of_another_class, r"Expected one of StableDiffusionPipeline, PixArtSigma"),
    ],
)
def test_a_model_that_is_not_whole_is_refused(
    harm: Callable[[Path], None], said: str, random_models: dict[str, Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(random_models["pixart"], tmp_path / "model"))
    harm(folder)
    with pytest.raises(UsageError, match=said):
        load_text_encoders(str(folder), "main")
