"""Similarity of crops and captions on real dual encoders, tiny ones, loaded as any model is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from stages.image.cropped import CROP
from stages.score.clip_similarity import ClipSimilarity
from stages.stage import Batch, View
from store.errors import MashbillError, UsageError
from tinyworld.caption import caption
from tinyworld.draw import draw
from tinyworld.scene import random_scene

SHIPPED = "tinyworld/models/clip"
SEEDS = range(1_000_000_000, 1_000_000_012)


@pytest.fixture(scope="module")
def images() -> list[Image.Image]:
    return [draw(random_scene(seed), 96, 64) for seed in SEEDS]


@pytest.fixture(scope="module")
def captions() -> list[str]:
    return [caption(random_scene(seed)) for seed in SEEDS]


def batch(images: list[Any], box: tuple[int, ...] | None = None, **columns: list[Any]) -> Batch:
    crop = {name: [None if image is None else 0 for image in images] for name in CROP[:2]}
    crop |= {"crop_right": [image and image.width for image in images]}
    crop |= {"crop_bottom": [image and image.height for image in images]}
    if box:
        crop = {name: [side] * len(images) for name, side in zip(CROP, box, strict=True)}
    return Batch(len(images), crop | columns, images, [None] * len(images))


def similarity(model: str, image: Image.Image, text: str) -> float:
    """By the stock forward pass."""
    import torch
    from transformers import AutoModel, AutoProcessor

    network, processor = AutoModel.from_pretrained(model), AutoProcessor.from_pretrained(model)
    with torch.inference_mode():
        output = network(**processor(text=[text], images=[image], return_tensors="pt"))
        return float(output.image_embeds[0] @ output.text_embeds[0])


def test_it_is_the_cosine_of_the_stock_model(images: list[Image.Image], captions: list[str]) -> None:
    found = ClipSimilarity(model=SHIPPED).open()(batch(images, caption=captions))
    assert found["clip_similarity"][0] == pytest.approx(similarity(SHIPPED, images[0], captions[0]), abs=1e-5)
    assert found["clip_cut"] == [False] * len(images)
    wrong = ClipSimilarity(model=SHIPPED).open()(batch(images, caption=captions[1:] + captions[:1]))
    better = [a > b for a, b in zip(found["clip_similarity"], wrong["clip_similarity"], strict=True)]
    assert sum(better) >= len(better) - 1


def test_the_crop_is_what_is_scored(images: list[Image.Image], captions: list[str]) -> None:
    box = (32, 0, 96, 64)
    found = ClipSimilarity(model=SHIPPED).open()(batch(images[:2], box, caption=captions[:2]))
    expected = [similarity(SHIPPED, im.crop(box), t) for im, t in zip(images[:2], captions[:2], strict=True)]
    assert found["clip_similarity"] == pytest.approx(expected, abs=1e-5)


def test_several_captions_of_one_picture(images: list[Image.Image], captions: list[str]) -> None:
    stage = ClipSimilarity(model=SHIPPED, captions=("caption", "caption_original", "alt"))
    assert stage.reads == (*CROP, "caption", "caption_original", "alt")
    assert stage.writes.names[::2] == ["clip_similarity", "clip_similarity_original", "clip_similarity_alt"]
    three = images[:3]
    columns: dict[str, Any] = {
        "caption": captions[:3],
        "caption_original": [None, "", captions[1]],
        "alt": captions[:3],
    }
    found = stage.open()(batch(three, **columns))
    assert set(found) == set(stage.writes.names)
    assert found["clip_similarity"] == found["clip_similarity_alt"]
    assert found["clip_similarity_original"][:2] == found["clip_cut_original"][:2] == [None, None]
    assert found["clip_similarity_original"][2] < found["clip_similarity"][2]


def test_no_picture_no_caption_or_no_crop_is_null(images: list[Image.Image]) -> None:
    given = batch([images[0], None, images[0]], caption=["", "a red circle", None])
    found = ClipSimilarity(model=SHIPPED).open()(given)
    assert found == {"clip_similarity": [None] * 3, "clip_cut": [None] * 3}
    uncropped = batch(images[:1], caption=["a red circle"])
    uncropped.columns["crop_left"][0] = None
    assert ClipSimilarity(model=SHIPPED).open()(uncropped)["clip_similarity"] == [None]


def test_a_long_caption_is_cut_on_the_right_and_told(images: list[Image.Image]) -> None:
    start = "a red circle to the left of a blue square " * 10
    ends = [start + "on stripes", start + "in a meadow", "a red circle"]
    found = ClipSimilarity(model=SHIPPED).open()(batch([images[0]] * 3, caption=ends))
    assert found["clip_cut"] == [True, True, False]
    assert found["clip_similarity"][0] == found["clip_similarity"][1] != found["clip_similarity"][2]


def test_values_do_not_depend_on_neighbors(images: list[Image.Image], captions: list[str]) -> None:
    run = ClipSimilarity(model=SHIPPED).open()
    together = run(batch(images, caption=captions))["clip_similarity"]
    alone = [
        run(batch([im], caption=[t]))["clip_similarity"][0] for im, t in zip(images, captions, strict=True)
    ]
    assert together == alone


def test_a_siglip_reads_padded_texts(tmp_path: Path, images: list[Image.Image]) -> None:
    import torch
    from transformers import AutoTokenizer, SiglipConfig, SiglipImageProcessor, SiglipModel

    tokenizer = AutoTokenizer.from_pretrained(SHIPPED)
    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = small | {"vocab_size": len(tokenizer), "max_position_embeddings": 16, "projection_size": 32}
    torch.manual_seed(0)
    network = SiglipModel(
        SiglipConfig(text_config=text, vision_config=small | {"image_size": 32, "patch_size": 8})
    )
    network.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    SiglipImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    words = ["a red circle", "a blue square " * 20]
    found = ClipSimilarity(model=str(tmp_path)).open()(batch(images[:2], caption=words))
    assert found["clip_cut"] == [False, True]
    pixels = SiglipImageProcessor(size={"height": 32, "width": 32})(images[:1], return_tensors="pt")
    ids = tokenizer(words[:1], padding="max_length", max_length=16, return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        output = network.eval()(input_ids=ids, **pixels)
    expected = float(output.image_embeds[0] @ output.text_embeds[0])
    assert found["clip_similarity"][0] == pytest.approx(expected, abs=1e-5)


def test_what_is_no_dual_encoder_is_refused(tmp_path: Path) -> None:
    from transformers import AutoTokenizer, BertConfig, BertModel, CLIPImageProcessor

    config = BertConfig(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2)
    BertModel(config).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(SHIPPED).save_pretrained(tmp_path)
    CLIPImageProcessor().save_pretrained(tmp_path)
    with pytest.raises(MashbillError, match="is a BertModel, which does not encode both"):
        ClipSimilarity(model=str(tmp_path)).open()


def test_wrong_settings(tmp_path: Path) -> None:
    with pytest.raises(MashbillError, match=r"clip_similarity\.model=.* cannot be loaded"):
        ClipSimilarity(model=str(tmp_path)).open()
    with pytest.raises(UsageError, match=r"clip_similarity\.model is empty"):
        ClipSimilarity(model="").open()
    for captions in ((), ("caption", "caption"), "caption"):
        with pytest.raises(UsageError, match=r"clip_similarity\.captions"):
            ClipSimilarity(captions=captions)  # type: ignore[arg-type]
    for model in ("open_clip:", "open_clip:ViT-B-32", "open_clip:/laion2b"):
        with pytest.raises(UsageError, match="expected open_clip:NAME/PRETRAINED"):
            ClipSimilarity(model=model).open()


def test_open_clip_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "open_clip", None)  # as where it is not installed
    with pytest.raises(UsageError, match="needs the package open_clip_torch"):
        ClipSimilarity(model="open_clip:ViT-B-32/laion2b_s34b_b79k").open()


def test_the_batch_size_is_no_part_of_the_setting() -> None:
    assert ClipSimilarity(batch_size=1) == ClipSimilarity()
    assert ClipSimilarity().view == View.FULL
