"""Stage ``caption_quality``: what can be said of a caption without looking at its picture."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pyarrow as pa

from stages.pretrained import load, load_network
from stages.score.batching import Batching
from stages.score.boilerplate import boilerplate
from stages.score.personal_data import personal_data
from stages.stage import Batch, MapStage

_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
_ENGLISH_WORDS = """
a about above across after against all along among an and another are around as at away be been before behind
being below beside between both but by can could did do does down during each every few for from front had has
have having he her here him his how i if in inside into is it its just like many more most my near next no not
of off on one only onto or other our out outside over own several she so some such than that the their them
then there these they this those three through to together toward towards two under until up upon very was we
were what when where which while who whose will with without you your
"""
_ENGLISH = frozenset(_ENGLISH_WORDS.split())
_MOST_CHARS = 4000


@dataclass(frozen=True)
class CaptionQuality(MapStage):
    """Seven columns about ``caption`` (but for tokens, its first 4000 characters); null where there is none.

    ``caption_tokens``: in the student's tokenizer, special tokens included (the limits of 77, 256 or 300
    count them too); null without ``tokenizer`` (hub id, folder or shipped name).
    ``caption_repeats``: share, 0 to 1, of its runs of three words that came before in it (after the
    n-gram rules of MassiveText, Rae et al. 2021, A1.1); 0 under three words.
    ``caption_boilerplate``, ``caption_personal``: the kinds found, joined by commas, empty where none was:
    ``call_to_action camera file_name html placeholder stock url`` and ``bank_account card email ip_address
    phone``.
    ``caption_latin``: share of its letters that are Latin script; null without letters.
    ``caption_english``: share of its words that are among 130 function words of English; running English
    has 0.3 to 0.6, other languages under 0.15, but "red car" has 0: no judge of short captions.
    ``caption_language``: the label of ``language_model``, a ``transformers`` text classifier such as
    ``papluca/xlm-roberta-base-language-detection``; null without one.

    Cost: see docs/scores.md.
    """

    name: ClassVar[str] = "caption_quality"
    version: ClassVar[int] = 1
    reads: ClassVar[tuple[str, ...]] = ("caption",)
    writes: ClassVar[pa.Schema] = pa.schema(
        [
            ("caption_tokens", pa.int32()),
            ("caption_repeats", pa.float32()),
            ("caption_boilerplate", pa.string()),
            ("caption_personal", pa.string()),
            ("caption_latin", pa.float32()),
            ("caption_english", pa.float32()),
            ("caption_language", pa.string()),
        ]
    )
    models: ClassVar[tuple[tuple[str, str], ...]] = (
        ("tokenizer", "tokenizer_revision"),
        ("language_model", "language_revision"),
    )
    tokenizer: str = ""
    tokenizer_revision: str = "main"
    language_model: str = ""
    language_revision: str = "main"
    batch_size: int = field(default=32, compare=False)

    @property
    def rows_at_once(self) -> int:  # type: ignore[override]
        return self.batch_size

    def open(self) -> Callable[[Batch], dict[str, Sequence[Any]]]:
        count, name_language = self._counter(), self._language_namer()
        batching = Batching(self.name, self.batch_size)

        def run(batch: Batch) -> dict[str, Sequence[Any]]:
            captions = batch.columns["caption"]
            rows = [i for i in range(batch.size) if captions[i]]
            texts = [captions[i] for i in rows]
            languages = batching.scored(name_language, texts)
            written: dict[str, list[Any]] = {name: [None] * batch.size for name in self.writes.names}
            for i, text, language in zip(rows, texts, languages, strict=True):
                for name, value in {**_said(text), "caption_tokens": count(text)}.items():
                    written[name][i] = value
                written["caption_language"][i] = language
            return {**written}

        return run

    def _counter(self) -> Callable[[str], int | None]:
        if not self.tokenizer:
            return lambda text: None
        from transformers import AutoTokenizer

        setting = "caption_quality.tokenizer"
        tokenizer = load(AutoTokenizer, self.tokenizer, self.tokenizer_revision, setting)
        return lambda text: len(tokenizer(text, verbose=False)["input_ids"])

    def _language_namer(self) -> Callable[[Sequence[str]], Sequence[str | None]]:
        if not self.language_model:
            return lambda texts: [None] * len(texts)
        import torch
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        name = (self.language_model, self.language_revision, "caption_quality.language_model")
        tokenizer = load(AutoTokenizer, *name)
        network = load_network(AutoModelForSequenceClassification, *name)
        limit = min(network.config.max_position_embeddings, tokenizer.model_max_length)
        options = {"padding": True, "truncation": True, "max_length": limit, "return_tensors": "pt"}

        def name_language(texts: Sequence[str]) -> list[str]:
            with torch.inference_mode():
                logits_BC = network(**tokenizer(list(texts), **options).to(network.device)).logits
            return [network.config.id2label[place] for place in logits_BC.argmax(dim=1).tolist()]

        return name_language


def _said(text: str) -> dict[str, Any]:
    text = text[:_MOST_CHARS]
    words = [word.casefold() for word in _WORD.findall(text)]
    return {
        "caption_repeats": repeats(words),
        "caption_boilerplate": ",".join(boilerplate(text)),
        "caption_personal": ",".join(personal_data(text)),
        "caption_latin": latin(text),
        "caption_english": sum(word in _ENGLISH for word in words) / len(words) if words else None,
    }


def repeats(words: Sequence[str]) -> float:
    """Share of the runs of three words that stood there before, 0 to 1."""
    runs = list(zip(words, words[1:], words[2:], strict=False))
    return 1 - len(set(runs)) / len(runs) if runs else 0.0


def latin(text: str) -> float | None:
    """Share of the letters that Unicode names Latin; None without letters."""
    letters = [c for c in text if c.isalpha()]
    if not letters:
        return None
    return sum(c.isascii() or unicodedata.name(c, "").startswith("LATIN") for c in letters) / len(letters)
