"""Columns of captions with known answers, with a tokenizer and a language model and without."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from stages.score.caption_quality import CaptionQuality, latin, repeats
from stages.stage import Batch
from store.errors import MashbillError

SHIPPED = "tinyworld/models/clip"


def said(stage: CaptionQuality, *captions: str | None) -> list[dict[str, Any]]:
    written = stage.open()(Batch(len(captions), {"caption": list(captions)}))
    return [{name: values[i] for name, values in written.items()} for i in range(len(captions))]


def test_columns_of_a_caption() -> None:
    (row,) = said(CaptionQuality(), "a red car on the road, the road is wet, red car on the road")
    assert row["caption_repeats"] == pytest.approx(3 / 13)
    assert row["caption_english"] == pytest.approx(7 / 15)
    assert row["caption_latin"] == 1
    assert (row["caption_boilerplate"], row["caption_personal"]) == ("", "")
    assert (row["caption_tokens"], row["caption_language"]) == (None, None)


def test_no_caption_is_all_null_and_the_first_kinds_are_joined() -> None:
    missing, empty, shop = said(CaptionQuality(tokenizer=SHIPPED), None, "", "Buy now: a@b.org, www.b.org")
    assert set(missing.values()) == set(empty.values()) == {None}
    assert (shop["caption_boilerplate"], shop["caption_personal"]) == ("call_to_action,url", "email")


def test_tokens_count_the_special_ones_and_are_not_cut() -> None:
    from transformers import AutoTokenizer

    short, long = said(CaptionQuality(tokenizer=SHIPPED), "a red circle", "a red circle " * 100)
    tokenizer = AutoTokenizer.from_pretrained(SHIPPED)
    assert short["caption_tokens"] == len(tokenizer.tokenize("a red circle")) + 2
    assert long["caption_tokens"] > 300


@pytest.mark.parametrize(
    ("words", "share"),
    [
        ("", 0),
        ("one two", 0),
        ("one two three", 0),
        ("a b c a b c", 1 / 4),
        ("a a a a", 1 / 2),
        ("buy it " * 20, 36 / 38),
    ],
)
def test_repeats(words: str, share: float) -> None:
    assert repeats(words.split()) == pytest.approx(share)


@pytest.mark.parametrize(
    ("text", "share"),
    [("1920", None), ("été", 1), ("Ω", 0), ("ab東京", 1 / 2), ("Привет a", 1 / 7), ("ﬁ", 1)],
)
def test_latin(text: str, share: float | None) -> None:
    assert latin(text) == pytest.approx(share)


def test_other_languages_have_few_english_words() -> None:
    texts = [
        "ein rotes Auto steht vor dem Haus und der Hund liegt auf der Wiese",
        "une voiture rouge devant la maison avec un chien sur l'herbe",
        "the red car is in front of the house and a dog lies on the grass",
    ]
    german, french, english = (row["caption_english"] for row in said(CaptionQuality(), *texts))
    assert max(german, french) < 0.15
    assert english > 0.5


def test_a_language_model_names_the_language(tmp_path: Path) -> None:
    import torch
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    tokenizer = AutoTokenizer.from_pretrained(SHIPPED)
    labels = {0: "de", 1: "en"}
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=40,
        id2label=labels,
        label2id={label: place for place, label in labels.items()},
    )
    torch.manual_seed(0)
    network = BertForSequenceClassification(config)
    network.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    texts = ["ein roter Kreis", "a red circle", "x " * 3000]  # the last is longer than the model reads
    found = [
        row["caption_language"] for row in said(CaptionQuality(language_model=str(tmp_path)), *texts, None)
    ]
    assert found[-1] is None
    for text, label in zip(texts[:2], found, strict=False):
        with torch.inference_mode():
            logits = network.eval()(**tokenizer(text, return_tensors="pt")).logits
        assert label == labels[int(logits.argmax())]


def test_a_tokenizer_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(MashbillError, match=r"caption_quality\.tokenizer=.* cannot be loaded"):
        CaptionQuality(tokenizer=str(tmp_path)).open()


@pytest.mark.parametrize(
    "piece", ["x", "a.", "1 ", "a@", "<a ", "(", "+1", "A1 ", "4 ", "a:", "tel us ", "%", "img_a"]
)
def test_hostile_captions_cost_little(piece: str) -> None:
    started = time.perf_counter()
    said(CaptionQuality(), (piece * 100_000)[:100_000])
    assert time.perf_counter() - started < 2
