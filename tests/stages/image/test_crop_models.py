"""Crop scorers on real transformers classes, tiny and untrained, saved and loaded as any model is."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stages.image.crop import Crop
from stages.image.crop_scorers import Clip, Detector, mean_kept
from stages.stage import Batch
from store.errors import MashbillError

WINDOWS = [(32, 0, 96, 64), (0, 0, 64, 64), (64, 0, 128, 64)]


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    """128 x 64, another color and pattern in each third."""
    pixels = np.random.default_rng(0).integers(0, 255, (4, 8, 3), np.uint8)
    return Image.fromarray(pixels).resize((128, 64), Image.Resampling.NEAREST)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    import torch
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor, CLIPTokenizer

    folder = tmp_path_factory.mktemp("clip")
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{letter}</w>" for letter in letters)]
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = small | {"vocab_size": 64, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    vision = small | {"image_size": 32, "patch_size": 8}
    torch.manual_seed(0)
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)).save_pretrained(folder)
    tokenizer = CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"))
    shape = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    CLIPProcessor(CLIPImageProcessor(**shape), tokenizer).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> str:
    import torch
    from transformers import YolosConfig, YolosForObjectDetection, YolosImageProcessor

    folder = tmp_path_factory.mktemp("yolos")
    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = YolosConfig(**small, image_size=[32, 64], patch_size=8, num_detection_tokens=5, num_labels=3)
    torch.manual_seed(0)
    YolosForObjectDetection(config).save_pretrained(folder)
    YolosImageProcessor(size={"height": 32, "width": 64}).save_pretrained(folder)
    return str(folder)


def test_clip_scores_each_window_with_the_caption(clip: str, picture: Image.Image) -> None:
    import torch
    from transformers import CLIPModel, CLIPProcessor

    score = Clip(model=clip).open()
    found = score(picture, {"caption": "a red cat"}, WINDOWS)
    network, processor = CLIPModel.from_pretrained(clip), CLIPProcessor.from_pretrained(clip)
    for window, value in zip(WINDOWS, found or [], strict=True):
        inputs = processor(text=["a red cat"], images=[picture.crop(window)], return_tensors="pt")
        with torch.inference_mode():
            scaled = network(**inputs).logits_per_image.item() / network.logit_scale.exp().item()
        assert value == pytest.approx(scaled, abs=1e-5)
    assert score(picture, {"caption": None}, WINDOWS) is None
    assert score(None, {"caption": "a red cat"}, WINDOWS) is None


def test_clip_cuts_a_caption_longer_than_it_reads(clip: str, picture: Image.Image) -> None:
    assert len(Clip(model=clip).open()(picture, {"caption": "a red cat " * 200}, WINDOWS) or []) == 3


def test_the_crop_follows_clip(clip: str, picture: Image.Image) -> None:
    scores = Clip(model=clip).open()(picture, {"caption": "a red cat"}, WINDOWS)
    assert scores is not None
    best = ("center", "start", "end")[int(np.argmax(scores))]
    run = Crop(scorer=Clip(model=clip)).open()
    written = run(Batch(1, {"width": [128], "height": [64], "caption": ["a red cat"]}, [picture], [None]))
    assert written["crop_choice"] == [best]
    assert written["crop_evidence"] == [f"clip:{clip}@main"]


def test_a_detector_scores_by_what_it_finds(detector: str, picture: Image.Image) -> None:
    import torch
    from transformers import YolosForObjectDetection, YolosImageProcessor

    found = Detector(model=detector, min_confidence=0.0).open()(picture, {}, WINDOWS)
    network = YolosForObjectDetection.from_pretrained(detector)
    processor = YolosImageProcessor.from_pretrained(detector)
    with torch.inference_mode():
        output = network(**processor(images=picture, return_tensors="pt"))
    (seen,) = processor.post_process_object_detection(output, 0.0, torch.tensor([[64, 128]]))
    boxes, weights = seen["boxes"].tolist(), seen["scores"].tolist()
    assert boxes
    assert found == pytest.approx([mean_kept(boxes, window, weights) for window in WINDOWS])
    assert Detector(model=detector, min_confidence=1.0).open()(picture, {}, WINDOWS) is None


@pytest.mark.parametrize("scorer", [Clip, Detector])
def test_a_model_that_is_not_there(scorer: type[Clip | Detector], tmp_path: Path) -> None:
    with pytest.raises(MashbillError, match=r"crop\.scorer\.model=.* cannot be loaded"):
        scorer(model=str(tmp_path)).open()
