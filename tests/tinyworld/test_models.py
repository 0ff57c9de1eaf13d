"""The tiny models that come with the project: they load with their stock classes, without a network, and are
as good on scenes they have never seen as their cards say, within what a small sample allows."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, DiffusionPipeline
from PIL import Image
from transformers import (
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoProcessor,
    AutoTokenizer,
    CLIPModel,
    CLIPProcessor,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5EncoderModel,
    T5TokenizerFast,
)

from tinyworld.caption import caption
from tinyworld.draw import draw
from tinyworld.read_caption import read_caption
from tinyworld.scene import random_scene
from tinyworld.train import MODELS, measure
from tinyworld.train.corpus import EVALUATION_SEED
from tinyworld.train.wrong import ATTRIBUTES

SHIPPED = {"vae-4", "vae-16", "clip", "clip-text", "clip-text-2", "t5", "unet", "captioner", "prompt-writer"}
SCENES = 100
"""Enough for what is close to 1; the cards measure 500."""
MEGABYTE = 1_000_000


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*address: object) -> None:
        raise AssertionError(f"loading a shipped model asked for the network: {address}")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def test_every_model_is_there_with_its_card_and_small() -> None:
    for name in SHIPPED:
        card = (MODELS / name / "README.md").read_text("utf-8")
        assert "license: apache-2.0" in card
    assert {path.name for path in MODELS.iterdir()} == SHIPPED
    sizes = [file.stat().st_size for file in MODELS.rglob("*") if file.is_file()]
    assert sum(sizes) < 30 * MEGABYTE


@pytest.mark.parametrize(("name", "channels", "bar_db"), [("vae-4", 4, 25.0), ("vae-16", 16, 24.0)])
def test_autoencoders(name: str, channels: int, bar_db: float) -> None:
    vae = AutoencoderKL.from_pretrained(MODELS / name)
    assert next(vae.parameters()).dtype == torch.float32
    assert vae.config.latent_channels == channels
    figures = measure.MEASURES[name](MODELS / name, SCENES)
    assert figures["psnr_db"] > bar_db
    assert figures["latent_std"] == pytest.approx(1, abs=0.1)


def test_clip_tells_right_captions_from_wrong() -> None:
    figures = measure.measure_clip(MODELS / "clip", SCENES)
    assert min(figures[attribute] for attribute in ATTRIBUTES) > 0.75
    assert figures["mean"] > 0.92
    assert figures["text_of_image"] > 0.97


def test_clip_judges_a_picture_through_its_processor() -> None:
    clip = CLIPModel.from_pretrained(MODELS / "clip")
    processor = AutoProcessor.from_pretrained(MODELS / "clip")
    assert isinstance(processor, CLIPProcessor)
    scenes = [random_scene(EVALUATION_SEED + i) for i in range(8)]
    texts = [caption(scene) for scene in scenes]
    images = [draw(scene, 400, 300) for scene in scenes]
    inputs = processor(text=texts, images=images, return_tensors="pt", padding=True)
    with torch.no_grad():
        nearest = clip(**inputs).logits_per_image.argmax(1)
    assert int((nearest == torch.arange(8)).sum()) >= 7


def test_text_towers_stand_alone() -> None:
    tokenizer = CLIPTokenizer.from_pretrained(MODELS / "clip-text")
    tokens = tokenizer(["a red star"], padding="max_length", return_tensors="pt")
    assert tokens.input_ids.shape == (1, 48)
    clip = CLIPModel.from_pretrained(MODELS / "clip")
    with torch.no_grad():
        pooled = CLIPTextModelWithProjection.from_pretrained(MODELS / "clip-text")(**tokens).text_embeds
        states = CLIPTextModel.from_pretrained(MODELS / "clip-text")(**tokens).last_hidden_state
        wanted = clip.text_projection(clip.text_model(**tokens).pooler_output)
    assert torch.allclose(pooled, wanted, atol=1e-5)
    assert states.shape == (1, 48, 128)


def test_the_second_text_tower_is_another_one_for_the_same_pictures() -> None:
    tower = CLIPTextModelWithProjection.from_pretrained(MODELS / "clip-text-2")
    assert (tower.config.hidden_size, tower.config.projection_dim) == (64, 128)
    figures = measure.measure_second_text_encoder(MODELS / "clip-text-2", SCENES)
    assert figures["mean"] > 0.9
    assert figures["text_of_image"] > 0.95


def test_t5_states_hold_the_attributes() -> None:
    encoder = T5EncoderModel.from_pretrained(MODELS / "t5")
    tokenizer = T5TokenizerFast.from_pretrained(MODELS / "t5")
    tokens = tokenizer(["a red star", ""], padding="max_length", return_tensors="pt")
    assert encoder(**tokens).last_hidden_state.shape == (2, 48, 192)
    assert min(measure.measure_t5(MODELS / "t5", SCENES).values()) > 0.9


def test_the_unet_draws_by_its_stock_pipeline() -> None:
    pipeline = DiffusionPipeline.from_pretrained(MODELS / "unet")
    pipeline.set_progress_bar_config(disable=True)
    noise = torch.Generator().manual_seed(0)
    drawn = pipeline(
        "a red circle on a plain cream background", 64, 64, 12, guidance_scale=3.0, generator=noise
    )
    image = drawn.images[0]
    assert image.size == (64, 64)
    red, green, blue = (channel.getextrema() for channel in image.split())
    assert red[1] > 200
    assert min(green[0], blue[0]) < 120  # something red stands on something light


def test_the_captioner_reads_pictures() -> None:
    figures = measure.measure_captioner(MODELS / "captioner", SCENES // 2)
    assert min(value for name, value in figures.items() if name not in ("whole", "exact")) > 0
    assert figures["mean"] > 0.95
    assert figures["mean_through_vae"] > 0.9


@pytest.mark.parametrize("length", ["long", "short"])
def test_the_captioner_answers_a_chat(length: str) -> None:
    model = AutoModelForImageTextToText.from_pretrained(MODELS / "captioner")
    processor = AutoProcessor.from_pretrained(MODELS / "captioner")
    scene = random_scene(EVALUATION_SEED + 3)
    image: Image.Image = draw(scene, 512, 512)
    turn: list[dict[str, Any]] = [{"type": "image", "image": image}, {"type": "text", "text": length}]
    inputs = processor.apply_chat_template(
        [{"role": "user", "content": turn}],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
    )
    tokens = model.generate(**inputs, max_new_tokens=60, do_sample=False)
    text = processor.decode(tokens[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    assert read_caption(text).count == len(scene.things)
    assert (read_caption(text).background is None) == (length == "short")


def test_the_prompt_writer_writes_what_is_wished() -> None:
    AutoModelForCausalLM.from_pretrained(MODELS / "prompt-writer")
    AutoTokenizer.from_pretrained(MODELS / "prompt-writer")
    figures = measure.measure_prompt_writer(MODELS / "prompt-writer", 50)
    assert min(figures.values()) > 0.85


def test_a_model_is_measured_from_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert measure.main(["t5", "--scenes", "50"]) == 0
    assert '"relation_at_shape"' in capsys.readouterr().out
    assert measure.main(["t5", str(tmp_path)]) == 1
    assert "holds no model; train one" in capsys.readouterr().err
