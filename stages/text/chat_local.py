"""A chat with a ``transformers`` model in this process. B batch, L tokens, V vocabulary."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from stages import pretrained
from stages.text.chat import Answer, Answering, Ask, Chat, check_image_px, within
from store.errors import UsageError

DTYPES = ("auto", "float32", "bfloat16", "float16")


@dataclass(frozen=True)
class Local(Chat):
    """A model with a chat template: hub id, folder, or the name of a shipped one.

    Asks with an image go to an ``AutoModelForImageTextToText``, others to an ``AutoModelForCausalLM``. It
    runs on the GPU where there is one, in ``dtype`` ("auto": that of the weights); on a CPU in float32.

    An answer depends on its own ask alone, but for float noise: rows of a batch are padded on the left, and
    each draws its tokens by its own seed (``Draw``). Noise can still turn a token where two are as likely as
    makes no difference: narrow dtypes show that sooner. ``batch_size`` therefore is no part of the result's
    name; a batch that the GPU's memory does not hold is halved, from there on. Images are scaled down to
    ``image_px`` on their long side before the model's own processor has them: some make a token of every
    784 pixels.
    """

    kind: ClassVar[str] = "local"
    models: ClassVar[tuple[tuple[str, str], ...]] = (("model", "revision"),)
    model: str = ""
    revision: str = "main"
    dtype: str = "auto"
    image_px: int = 1024
    batch_size: int = field(default=16, compare=False)

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise UsageError(f"chat.dtype={self.dtype!r}: expected one of {', '.join(DTYPES)}")
        check_image_px(self.image_px)
        if self.batch_size < 1:
            raise UsageError(f"chat.batch_size={self.batch_size}: expected 1 or more")

    @property
    def asks_at_once(self) -> int:
        return self.batch_size

    def open(self, images: bool) -> Answering:
        import torch
        from transformers import (
            AutoModelForCausalLM,
            AutoModelForImageTextToText,
            AutoProcessor,
            AutoTokenizer,
        )

        reads, answers = (
            (AutoProcessor, AutoModelForImageTextToText) if images else (AutoTokenizer, AutoModelForCausalLM)
        )
        dtype: Any = torch.float32 if pretrained.device() == "cpu" else self.dtype
        processor = pretrained.load(reads, self.model, self.revision, "chat.model")
        if getattr(processor, "image_processor", None) is not None:
            look = pretrained.load_image_processor(self.model, self.revision, "chat.model")
            processor.image_processor = look
        tokenizer = getattr(processor, "tokenizer", processor)
        if not (getattr(processor, "chat_template", None) or getattr(tokenizer, "chat_template", None)):
            raise UsageError(
                f"chat.model={self.model!r} has no chat template: it continues texts and answers no "
                "messages. Choose a model tuned for chat (often named -instruct, -it or -chat)."
            )
        tokenizer.padding_side = "left"  # answers begin where prompts end
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        network = pretrained.load_network(answers, self.model, self.revision, "chat.model", dtype=dtype)
        return _Open(processor, tokenizer, _plain(network), self.image_px, self.batch_size)


def _plain(network: Any) -> Any:
    """The network, drawing nothing by itself: ``Draw`` does. Its other habits, such as a penalty on
    repetition, stay: they belong to the revision."""
    habits = network.generation_config
    habits.do_sample, habits.num_beams = False, 1
    habits.temperature = habits.top_p = habits.top_k = habits.min_p = None
    habits.max_length = None
    return network


@dataclass
class _Open:
    """A loaded model. ``batch_size`` is what the GPU's memory has held so far."""

    processor: Any
    tokenizer: Any
    network: Any
    image_px: int
    batch_size: int

    def __call__(self, asks: Sequence[Ask]) -> list[Answer]:
        """Asks of one length limit go together: no row waits for another's longer answer."""
        answers: dict[int, Answer] = {}
        for limit in sorted({ask.max_tokens for ask in asks}):
            places = [i for i, ask in enumerate(asks) if ask.max_tokens == limit]
            some = [asks[i] for i in places]
            answers |= zip(places, self._in_batches(some), strict=True)
        return [answers[i] for i in range(len(asks))]

    def _in_batches(self, asks: list[Ask]) -> list[Answer]:
        return pretrained.in_batches(self._answer, asks, self.batch_size, self._halved)

    def _halved(self, batch_size: int) -> None:
        self.batch_size = batch_size
        print(f"chat: the GPU's memory holds batches of {batch_size} only; going on", file=sys.stderr)

    def _answer(self, asks: Sequence[Ask]) -> list[Answer]:
        import torch

        inputs = self._inputs(asks).to(self.network.device)
        if "pixel_values" in inputs:
            inputs["pixel_values"] = inputs["pixel_values"].to(self.network.dtype)
        width, limit = inputs["input_ids"].shape[1], asks[0].max_tokens
        with torch.inference_mode():
            tokens_BL = self.network.generate(
                **inputs,
                max_new_tokens=limit,
                logits_processor=[Draw(asks, width)],
                pad_token_id=self.tokenizer.pad_token_id,
            )
        asked = inputs["attention_mask"].sum(1).tolist()
        rows = tokens_BL[:, width:].tolist()
        return [self._read(row, limit, count) for row, count in zip(rows, asked, strict=True)]

    def _inputs(self, asks: Sequence[Ask]) -> Any:
        shared = {
            "add_generation_prompt": True,
            "tokenize": True,
            "return_dict": True,
            "return_tensors": "pt",
        }
        texts = [self._plain_words(ask.text) for ask in asks]
        if self.processor is self.tokenizer:
            chats: list[Any] = [[{"role": "user", "content": text}] for text in texts]
            return self.tokenizer.apply_chat_template(chats, padding=True, **shared)
        chats = []
        for ask, text in zip(asks, texts, strict=True):
            parts = [
                {"type": "image", "image": within(ask.image, self.image_px)},
                {"type": "text", "text": text},
            ]
            chats.append([{"role": "user", "content": parts}])
        return self.processor.apply_chat_template(chats, processor_kwargs={"padding": True}, **shared)

    def _plain_words(self, text: str) -> str:
        """A web caption that holds a control token, such as "<image>", would end our message or ask for a
        picture that is not there. transformers can keep them apart for some tokenizers only."""
        for token in self.tokenizer.added_tokens_decoder.values():
            if token.special and len(str(token)) > 1:
                text = text.replace(str(token), f"{str(token)[0]} {str(token)[1:]}")
        return text

    def _read(self, tokens: list[int], limit: int, prompt_tokens: int) -> Answer:
        """The answer in the new tokens of one row, which may go on with padding after its end."""
        ends = self.network.generation_config.eos_token_id
        stops = {ends} if isinstance(ends, int) else set(ends or ())
        length = next((i + 1 for i, token in enumerate(tokens) if token in stops), None)
        text = self.tokenizer.decode(tokens[:length], skip_special_tokens=True)
        used = len(tokens) if length is None else length
        return Answer(text, "length" if length is None else "stop", prompt_tokens, used)


class Draw:
    """A logits processor that draws each row's token by the row's own seed.

    Of a row with a temperature it leaves one token: the one at which the cumulative mass of the likeliest
    tokens passes the row's next number. So a row's draws do not depend on the rows beside it, as those of
    ``generate`` do, which has one generator for all.
    """

    def __init__(self, asks: Sequence[Ask], prompt_width: int) -> None:
        import torch

        self._width = prompt_width
        self._rows = [i for i, ask in enumerate(asks) if ask.temperature > 0]
        drawn = [asks[i] for i in self._rows]
        limit = max((ask.max_tokens for ask in drawn), default=0)
        numbers = [np.random.default_rng(ask.seed).random(limit, np.float32) for ask in drawn]
        self._numbers_BL = torch.from_numpy(np.stack(numbers)) if drawn else torch.empty(0, 0)
        self._heat_B1 = torch.tensor([[ask.temperature] for ask in drawn])
        self._top_p_B1 = torch.tensor([[ask.top_p] for ask in drawn])

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        """Scores float [B, V] of the next token; input_ids int64 [B, L]."""
        import torch

        if not self._rows:
            return scores
        device, step = scores.device, input_ids.shape[1] - self._width
        heat, top_p = self._heat_B1.to(device), self._top_p_B1.to(device)
        number_B1 = self._numbers_BL[:, step : step + 1].to(device)
        heated_BV = torch.softmax(scores[self._rows].float() / heat, 1)
        mass_BV, order_BV = heated_BV.sort(dim=1, descending=True, stable=True)
        sums_BV = mass_BV.cumsum(1)
        count_B1 = (sums_BV - mass_BV < top_p).sum(1, keepdim=True)
        whole_B1 = sums_BV.gather(1, count_B1 - 1)
        place_B1 = (sums_BV <= number_B1 * whole_B1).sum(1, keepdim=True).minimum(count_B1 - 1)
        left = scores.clone()
        left[self._rows] = torch.full_like(scores[self._rows], -float("inf")).scatter_(
            1, order_BV.gather(1, place_B1), 0.0
        )
        return left
