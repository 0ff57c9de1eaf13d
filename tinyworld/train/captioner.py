"""The captioner: a LLaVA that says what a picture shows, and so also reads pictures others have made.

B batch, L tokens.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from transformers import (
    CLIPModel,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

from tinyworld.caption import caption
from tinyworld.scene import Scene
from tinyworld.shapes import BACKGROUND_COLORS
from tinyworld.train.answers import lesson_of, small_llama
from tinyworld.train.clip import build_image_processor
from tinyworld.train.corpus import Corpus
from tinyworld.train.loop import fit
from tinyworld.train.pixels import to_pixels
from tinyworld.train.tokens import CHAT_TEMPLATE

STEPS = 1300
_BATCH = 48
_LEARNING_RATE = 1e-3
_IMAGE_TOKENS = 64

REQUESTS: dict[Literal["long", "short"], tuple[str, ...]] = {
    "long": ("long", "Describe the image.", "Describe this image in detail.", "Write a long caption."),
    "short": ("short", "Describe the image briefly.", "Write a short caption."),
}
"""What the captioner has been asked in training, and which caption it then gives."""


def told(scene: Scene) -> Scene:
    """The scene in the captioner's own words: the first wording, and the colors of stripes and checkers in
    the order of the table, as their picture does not show which was named first."""
    background = scene.background
    if background.kind in ("stripes", "checker"):
        order = [name for name in BACKGROUND_COLORS if name in background.colors]
        background = replace(background, colors=tuple(order))
    return replace(scene, variant=0, background=background)


def build_captioner(clip: CLIPModel, tokenizer: PreTrainedTokenizerFast) -> LlavaForConditionalGeneration:
    """The image tower of ``clip`` and a Llama of width 128 with 3 layers and random weights."""
    text = small_llama(tokenizer, 128)
    config = LlavaConfig(
        vision_config=clip.config.vision_config.to_dict(),
        text_config=text.to_dict(),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=_IMAGE_TOKENS,
        vision_feature_layer=-1,
        tie_word_embeddings=True,
    )
    config._attn_implementation = "eager"
    model = LlavaForConditionalGeneration(config)
    model.model.vision_tower.load_state_dict(clip.vision_model.state_dict())
    return model


def build_captioner_processor(tokenizer: PreTrainedTokenizerFast) -> LlavaProcessor:
    """Images to 64 pixels and their 64 tokens, messages to text; works without torchvision."""
    return LlavaProcessor(
        image_processor=build_image_processor(),
        tokenizer=tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT_TEMPLATE,
    )


def lesson(
    scenes: Sequence[Scene], tokenizer: PreTrainedTokenizerFast, rng: random.Random
) -> tuple[Tensor, Tensor]:
    """Token ids and labels, int64 [B, L]: a request for each scene and its answer, which alone counts."""
    questions, answers = [], []
    for scene in scenes:
        length: Literal["long", "short"] = "long" if rng.random() < 0.8 else "short"
        request = "<image>" * _IMAGE_TOKENS + rng.choice(REQUESTS[length])
        questions.append(f"<s><|user|>{request}<|assistant|>")
        answers.append(f"{caption(told(scene), length)}</s>")
    return lesson_of(tokenizer, questions, answers)


def train_captioner(
    corpus: Corpus, clip: CLIPModel, tokenizer: PreTrainedTokenizerFast, steps: int, seed: int
) -> tuple[LlavaForConditionalGeneration, list[float]]:
    """The trained model and the loss of every step."""
    torch.manual_seed(seed)
    rng = random.Random(f"captioner {seed}")
    model = build_captioner(clip, tokenizer).train()

    def loss_of_step(_: int) -> Tensor:
        chosen = [rng.randrange(len(corpus.scenes)) for _ in range(_BATCH)]
        tokens, labels = lesson([corpus.scenes[i] for i in chosen], tokenizer, rng)
        with torch.autocast("cpu", torch.bfloat16):
            loss: Tensor = model(
                input_ids=tokens, pixel_values=to_pixels(corpus.images[chosen]), labels=labels
            ).loss
        return loss

    losses = fit(model.parameters(), loss_of_step, steps, _LEARNING_RATE, "captioner")
    return model.eval(), losses


@torch.no_grad()
def read_images(
    model: LlavaForConditionalGeneration,
    processor: LlavaProcessor,
    images: NDArray[np.uint8],
    length: Literal["long", "short"] = "long",
) -> list[str]:
    """Greedy captions of uint8 images [N, H, W, C], 50 at a time."""
    messages = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": length}]}]
    prompt = processor.apply_chat_template(messages, add_generation_prompt=True)
    texts: list[str] = []
    for start in range(0, len(images), 50):
        part = [Image.fromarray(image) for image in images[start : start + 50]]
        inputs = processor(images=part, text=[prompt] * len(part), return_tensors="pt")
        tokens = model.generate(**inputs, max_new_tokens=60, do_sample=False)
        texts += processor.batch_decode(tokens[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return texts
