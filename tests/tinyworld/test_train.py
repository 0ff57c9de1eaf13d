"""Every trainer for a few real steps: the loss falls, the result loads with its stock class, and twice the
same seed gives twice the same weights."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    AutoTokenizer,
    CLIPModel,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    LlamaForCausalLM,
    LlavaForConditionalGeneration,
    T5EncoderModel,
    T5Tokenizer,
)

from store.errors import MashbillError, UsageError
from tinyworld.__main__ import main
from tinyworld.caption import caption
from tinyworld.read_caption import read_caption
from tinyworld.scene import BACKGROUNDS, RELATIONS, STYLES, Background, Scene, Thing, random_scene
from tinyworld.shapes import COLORS, SHAPES
from tinyworld.train import NAMES, clip, local_start, prompt_writer, t5, tokens, vae
from tinyworld.train import captioner as captioner_trainer
from tinyworld.train.corpus import (
    EVALUATION_SEED,
    Corpus,
    draw_all,
    evaluation_scenes,
    training_corpus,
    training_scenes,
)
from tinyworld.train.jobs import JOBS, texts
from tinyworld.train.loop import fit, rate_at
from tinyworld.train.measure import MEASURES
from tinyworld.train.patch_heads import patch_classes
from tinyworld.train.pixels import to_pixels
from tinyworld.train.token_heads import thing_words
from tinyworld.train.wrong import ATTRIBUTES, looks, wrong_scene

Losses = list[float]


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return training_corpus(96)


@pytest.fixture(scope="module")
def clip_tokenizer() -> CLIPTokenizer:
    return tokens.train_clip_tokenizer(texts())


def falls(losses: Losses) -> bool:
    """The last quarter is lower than the first."""
    quarter = len(losses) // 4
    return sum(losses[-quarter:]) < sum(losses[:quarter])


def test_every_name_has_a_job_and_a_measure() -> None:
    assert list(JOBS) == list(MEASURES) == list(NAMES)


def test_training_and_evaluation_scenes_never_share_a_seed(corpus: Corpus) -> None:
    assert evaluation_scenes(2) == [random_scene(EVALUATION_SEED), random_scene(EVALUATION_SEED + 1)]
    assert corpus.scenes[:3] == [random_scene(i) for i in range(3)]
    assert corpus.scenes[3].background == corpus.scenes[2].background
    assert corpus.scenes[3] != corpus.scenes[2]
    assert corpus.images.shape == (96, 64, 64, 3)
    assert corpus.images.dtype == np.uint8


def test_drawn_images_are_kept_for_the_next_training(tmp_path: Path) -> None:
    first = training_corpus(8, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["training-8.npy"]
    assert np.array_equal(training_corpus(8, tmp_path).images, first.images)
    with pytest.raises(UsageError, match="4 or more"):
        training_corpus(2)


def test_two_processes_draw_what_one_draws() -> None:
    scenes = training_scenes(6)
    assert np.array_equal(draw_all(scenes, workers=2), draw_all(scenes))


@settings(deadline=None)
@given(st.integers(0, 10**9), st.sampled_from(ATTRIBUTES))
def test_a_wrong_caption_is_wrong_in_its_attribute(seed: int, attribute: str) -> None:
    scene = random_scene(seed)
    wrong = wrong_scene(scene, attribute, random.Random(seed))
    if wrong is None:
        alike = len({(thing.shape, thing.color) for thing in scene.things}) == 1
        assert attribute == "relation"
        assert len(scene.things) == 1 or (alike and len(scene.things) == 4)
        return
    right, said = read_caption(caption(scene)), read_caption(caption(wrong))
    assert said != right
    same = {
        "color": said.count == right.count and said.style == right.style,
        "shape": said.background == right.background and said.relation == right.relation,
        "relation": sorted(said.things) == sorted(right.things),
        "count": said.count != right.count,
        "background": said.things == right.things and said.style == right.style,
        "style": said.things == right.things and said.style != right.style,
    }
    assert same[attribute]


def test_the_rate_rises_falls_and_ends_near_nothing() -> None:
    rates = [rate_at(step, 400) for step in range(400)]
    assert rates.index(max(rates)) == 49
    assert max(rates) <= 1
    assert rates[-1] < 1e-4


def test_a_loss_that_is_no_number_stops_with_its_step() -> None:
    weight = torch.nn.Parameter(torch.ones(1))
    with pytest.raises(MashbillError, match="loss is nan at step 2"):
        fit([weight], lambda step: weight.sum() * (float("nan") if step == 2 else 1.0), 5, 0.1, "broken")


def test_clip_tokens_know_every_text(clip_tokenizer: CLIPTokenizer, tmp_path: Path) -> None:
    clip_tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert isinstance(loaded, CLIPTokenizer)
    assert loaded.model_max_length == tokens.MAX_TOKENS
    assert loaded.tokenize("a turquoise crescent") == ["a</w>", "turquoise</w>", "crescent</w>"]
    strange = "zürich 漢字 :-) x_1"
    assert loaded.decode(loaded(strange).input_ids, skip_special_tokens=True).replace(" ", "") == (
        strange.replace(" ", "")
    )


def test_t5_tokens_know_printable_text(tmp_path: Path) -> None:
    tokens.train_t5_tokenizer(texts()).save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert isinstance(loaded, T5Tokenizer)
    assert loaded.tokenize("On mint stripes.") == ["▁On", "▁mint", "▁stripes", "."]
    text = "A stray text, never drawn: 50% off #1!"
    ids = loaded(text).input_ids
    assert loaded.unk_token_id not in ids
    assert loaded.decode(ids, skip_special_tokens=True) == text


def test_the_longest_caption_fits(clip_tokenizer: CLIPTokenizer) -> None:
    things = tuple(Thing(shape, "red", 0.3, 0.5, 0.5) for shape in ("star", "ring", "heart", "cross"))
    behind = Background("gradient", ("light gray", "pale blue"))
    longest = caption(Scene(behind, "glossy", things, "in a square", variant=2))
    some = [longest, *tokens.caption_texts(evaluation_scenes(300))]
    for tokenizer in (clip_tokenizer, tokens.train_t5_tokenizer(texts())):
        lengths = [len(ids) for ids in tokenizer(some).input_ids]
        assert max(lengths) == lengths[0] == {CLIPTokenizer: 44, T5Tokenizer: 43}[type(tokenizer)]
    assert lengths[0] < tokens.MAX_TOKENS


@pytest.mark.parametrize(("channels", "side"), [(4, 16), (16, 8)])
def test_a_vae_learns_and_loads(corpus: Corpus, tmp_path: Path, channels: int, side: int) -> None:
    torch.manual_seed(1)
    model = vae.build_vae(channels)
    assert falls(vae.train_vae(corpus, model, 24, seed=1))
    model.save_pretrained(tmp_path)
    loaded = AutoencoderKL.from_pretrained(tmp_path)
    latents = vae.encode(loaded, corpus.images)
    assert latents.shape == (96, channels, side, side)
    assert float(latents.std()) == pytest.approx(1, abs=0.01)
    assert (loaded.config.shift_factor is None) == (channels == 4)
    assert vae.decode(loaded, latents[:2]).shape == (2, 64, 64, 3)


def test_a_deeper_vae_starts_from_the_levels_of_another() -> None:
    vae_4, deeper = vae.build_vae(4), vae.build_vae(16)
    vae.start_from(deeper, vae_4)
    assert torch.equal(deeper.encoder.conv_in.weight, vae_4.encoder.conv_in.weight)
    assert torch.equal(deeper.decoder.conv_out.weight, vae_4.decoder.conv_out.weight)
    pairs = zip(deeper.decoder.up_blocks[1:], vae_4.decoder.up_blocks, strict=True)
    for ours, theirs in pairs:
        assert torch.equal(ours.resnets[0].conv1.weight, theirs.resnets[0].conv1.weight)


def test_clip_learns_in_four_lessons(corpus: Corpus, clip_tokenizer: CLIPTokenizer, tmp_path: Path) -> None:
    model, losses = clip.train_clip(corpus, clip_tokenizer, 8, seed=1)
    assert falls(losses)
    words = model.text_model.embeddings.token_embedding.weight.detach().clone()
    model = clip.with_local_tower(model, seed=1)
    assert falls(clip.train_shapes(corpus, model, 8, seed=1))
    assert falls(clip.train_image_tower(corpus, model, clip_tokenizer, 8, seed=1))
    assert torch.equal(model.text_model.embeddings.token_embedding.weight, words)
    second, losses = clip.train_second_text_encoder(corpus, model, clip_tokenizer, 8, seed=1)
    assert falls(losses)
    model.save_pretrained(tmp_path / "clip")
    second.save_pretrained(tmp_path / "second")
    CLIPModel.from_pretrained(tmp_path / "clip")
    CLIPTextModelWithProjection.from_pretrained(tmp_path / "second")


def test_a_local_start_looks_at_one_neighbor_of_each_patch(clip_tokenizer: CLIPTokenizer) -> None:
    model = clip.with_local_tower(clip.build_clip(clip_tokenizer), seed=3).eval()
    noise = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)
    with torch.no_grad():
        seen = model.vision_model(pixel_values=to_pixels(noise), output_attentions=True)
    grid = torch.arange(64).reshape(8, 8)
    for layer, reach in ((0, 1), (1, 1), (2, 2)):
        looked_at = seen.attentions[layer][:, :, 1:, 1:].argmax(-1).reshape(4, 8, 8, 8)
        for head, (right, down) in enumerate(local_start.NEIGHBORS):
            neighbor = grid.roll((-reach * down, -reach * right), (0, 1))
            inner = (slice(2, -2), slice(2, -2))  # the edge has fewer neighbors
            assert (looked_at[:, head] == neighbor)[:, *inner].float().mean() > 0.5, (
                layer,
                head,
            )  # by chance 1 in 64


def test_patches_are_named_after_the_things_on_them() -> None:
    things = (Thing("star", "red", 0.5, 0.25, 0.25), Thing("ring", "blue", 0.5, 0.75, 0.75))
    scene = Scene(Background("meadow"), "crayon", things, "left of")
    classes = patch_classes([scene]).view(8, 8, 7)
    of_scene = [1, RELATIONS.index("left of"), BACKGROUNDS.index("meadow"), STYLES.index("crayon")]
    star, ring = list(SHAPES).index("star"), list(SHAPES).index("ring")
    assert classes[1, 1].tolist() == [star, list(COLORS).index("red"), 0, *of_scene]
    assert classes[6, 5].tolist() == [ring, list(COLORS).index("blue"), 1, *of_scene]
    assert classes[0, 7].tolist() == [len(SHAPES), len(COLORS), 4, *of_scene]


@given(st.integers(0, 10**9), st.integers(0, 2), st.sampled_from(["long", "short"]))
def test_words_are_matched_with_their_things(
    seed: int, variant: int, length: Literal["long", "short"]
) -> None:
    scene = replace(random_scene(seed), variant=variant)
    pieces = tokens.split_words(caption(scene, length))
    pairs = thing_words(scene, pieces)
    alike = len(scene.things) > 1 and len({looks(thing) for thing in scene.things}) == 1
    assert sorted(place for _, place in pairs) == ([] if alike else list(range(len(scene.things))))
    for position, place in pairs:
        thing = scene.things[place]
        assert pieces[position - 1 : position + 1] == [f"▁{thing.color}", f"▁{thing.shape}"]


def test_t5_learns() -> None:
    tokenizer = tokens.train_t5_tokenizer(texts())
    _, losses = t5.train_t5(training_scenes(200), tokenizer, 16, seed=1)
    assert falls(losses)


@given(st.lists(st.integers(3, 200), max_size=48), st.integers(0, 10**6))
def test_span_corruption_loses_nothing(ids: list[int], seed: int) -> None:
    sentinels = list(range(1000, 1012))
    source, target = t5.corrupt(ids, sentinels, random.Random(seed))
    mended: list[int] = []
    for token in source:
        if token in sentinels:
            at = target.index(token) + 1
            while at < len(target) and target[at] not in sentinels:
                mended.append(target[at])
                at += 1
        else:
            mended.append(token)
    assert mended == ids


def test_the_captioner_learns(corpus: Corpus, clip_tokenizer: CLIPTokenizer, tmp_path: Path) -> None:
    judge = clip.build_clip(clip_tokenizer)
    tokenizer = tokens.train_chat_tokenizer(texts())
    model, losses = captioner_trainer.train_captioner(corpus, judge, tokenizer, 8, seed=1)
    assert falls(losses)
    model.save_pretrained(tmp_path)
    LlavaForConditionalGeneration.from_pretrained(tmp_path)


def test_the_captioner_names_colors_nobody_can_order_in_one_order() -> None:
    scene = next(s for s in map(random_scene, range(99)) if s.background.kind == "stripes")
    turned = replace(scene, background=Background("stripes", scene.background.colors[::-1]))
    assert captioner_trainer.told(turned) == captioner_trainer.told(scene)


def test_the_prompt_writer_learns(tmp_path: Path) -> None:
    scenes = training_scenes(200)
    tokenizer = tokens.train_chat_tokenizer([*texts(), *(prompt_writer.wish(scene) for scene in scenes)])
    model, losses = prompt_writer.train_prompt_writer(scenes, tokenizer, 16, seed=1)
    assert falls(losses)
    tokenizer.save_pretrained(tmp_path)
    model.save_pretrained(tmp_path)
    LlamaForCausalLM.from_pretrained(tmp_path)
    answer = prompt_writer.open_prompt_writer(tmp_path)
    messages: list[prompt_writer.Message] = [{"role": "user", "content": "one thing, red star"}]
    assert answer(messages, 3) == answer(messages, 3)
    with pytest.raises(UsageError, match="last of 0 messages"):
        answer([], 0)


def weights(folder: Path) -> str:
    (file,) = folder.glob("*.safetensors")
    return hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str, int], Path]:
    folder = tmp_path_factory.mktemp("trained")

    def train(name: str, out: str, seed: int) -> Path:
        line = ["train", name, "--out", str(folder / out), "--steps", "2", "--seed", str(seed)]
        assert main(line) == 0
        return folder / out

    return train


def test_the_same_seed_gives_the_same_weights(
    trained: Callable[[str, str, int], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    first = trained("t5", "first", 5)
    assert "2 steps in" in capsys.readouterr().out
    assert weights(first) == weights(trained("t5", "again", 5))
    assert weights(first) != weights(trained("t5", "other", 6))
    T5EncoderModel.from_pretrained(first)
    card = (first / "README.md").read_text("utf-8")
    assert "license: apache-2.0" in card
    assert "seed 5" in card


def test_clip_is_written_with_its_text_tower(trained: Callable[[str, str, int], Path]) -> None:
    folder = trained("clip", "clip", 0)
    CLIPModel.from_pretrained(folder)
    tower = folder.with_name("clip-text")
    whole = CLIPTextModelWithProjection.from_pretrained(tower)
    assert whole.dtype == torch.float32
    assert CLIPTextModel.from_pretrained(tower).config.hidden_size == 128


def test_wrong_usage_is_told_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert main(["train", "t5", "--out", str(tmp_path)]) == 2
    assert "is not empty; name a new folder" in capsys.readouterr().err
    assert main(["train", "t5", "--out", str(tmp_path / "new"), "--steps", "0"]) == 2
    assert "use 1 or more" in capsys.readouterr().err
