"""Captions a second: the stage ``recaption`` beside a plain ``transformers`` loop, same model and batch.

    python -m benchmarks.captioning [--model FOLDER_OR_ID] [--images 96] [--batch-size 16] [--rounds 5]

Without --model a random LLaVA as small as the tiny world's is made. Both answer one greedy style of 40 tokens
about the same pictures; the loop crops, prepares, generates and decodes, and does nothing else. The two take
turns, and a ratio is of one round, so that other work on the machine falls on both.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForImageTextToText, AutoProcessor, CLIPModel

from pipelines.map_pass import BATCH_ROWS
from stages.pretrained import device
from stages.stage import Batch
from stages.text.asking import Guard, Style
from stages.text.chat_local import Local
from stages.text.recaption import Recaption
from store.shipped import shipped
from tinyworld.caption import caption
from tinyworld.draw import draw
from tinyworld.scene import random_scene
from tinyworld.train.captioner import build_captioner, build_captioner_processor
from tinyworld.train.tokens import caption_texts, train_chat_tokenizer

STYLE = Style("long", "long", max_tokens=40)


def random_captioner(folder: Path) -> str:
    """A random LLaVA on the image tower of the shipped CLIP."""
    tokenizer = train_chat_tokenizer(caption_texts(random_scene(seed) for seed in range(200)))
    clip = CLIPModel.from_pretrained(shipped("tinyworld/models/clip"))
    for part in (build_captioner(clip, tokenizer), build_captioner_processor(tokenizer)):
        part.save_pretrained(folder)
    return str(folder)


def batches(count: int) -> list[Batch]:
    """Pictures of 96 x 64 pixels with a square crop, as many to a batch as a pass gives."""
    rows = []
    for start in range(0, count, BATCH_ROWS):
        seeds = range(start, min(start + BATCH_ROWS, count))
        box = {"crop_left": 16, "crop_top": 0, "crop_right": 80, "crop_bottom": 64}
        columns = {name: [value] * len(seeds) for name, value in box.items()}
        columns |= {"sample_id": [str(seed) for seed in seeds]}
        columns |= {"caption": [caption(random_scene(seed)) for seed in seeds]}
        images = [draw(random_scene(seed), 96, 64) for seed in seeds]
        rows.append(Batch(len(seeds), columns, images, [None] * len(seeds)))
    return rows


def plain_loop(model: str, batch_size: int) -> Callable[[list[Any]], list[str]]:
    """What one would write without us."""
    processor = AutoProcessor.from_pretrained(model)
    processor.tokenizer.padding_side = "left"
    network = AutoModelForImageTextToText.from_pretrained(model, dtype=torch.float32).eval().to(device())
    content = [{"type": "image"}, {"type": "text", "text": STYLE.prompt}]
    prompt = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)

    @torch.inference_mode()
    def run(images: list[Any]) -> list[str]:
        texts: list[str] = []
        for start in range(0, len(images), batch_size):
            some = [image.crop((16, 0, 80, 64)) for image in images[start : start + batch_size]]
            inputs = processor(
                images=some,
                text=[prompt] * len(some),
                return_tensors="pt",
                padding=True,
                add_special_tokens=False,
            ).to(network.device)
            tokens = network.generate(**inputs, max_new_tokens=STYLE.max_tokens, do_sample=False)
            texts += processor.batch_decode(
                tokens[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True
            )
        return texts

    return run


def timed(work: Callable[[], Any]) -> float:
    """CPU-seconds on a CPU, where other work would count in wall seconds; else wall seconds."""
    clock = time.process_time if device() == "cpu" else time.perf_counter
    began = clock()
    work()
    return clock() - began


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--model", default="")
    options.add_argument("--images", type=int, default=96)
    options.add_argument("--batch-size", type=int, default=16)
    options.add_argument("--rounds", type=int, default=5)
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        model = shipped(given.model) if given.model else random_captioner(Path(scratch) / "captioner")
        rows = batches(given.images)
        images = [image for batch in rows for image in batch.images]
        stage = Recaption(
            Local(model, dtype="float32", batch_size=given.batch_size), (STYLE,), Guard("", tries=1)
        )
        run, loop = stage.open(), plain_loop(model, given.batch_size)
        run(rows[0])
        loop(list(rows[0].images))
        pairs = []
        for _ in range(given.rounds):
            ours_s = timed(lambda: [run(batch) for batch in rows])
            pairs.append((ours_s, timed(lambda: loop(images))))
    for name, times in (("recaption", [p[0] for p in pairs]), ("plain loop", [p[1] for p in pairs])):
        print(f"{name}: {given.images / statistics.median(times):.1f} captions/s on {device()}")
    ratios = [loop_s / ours_s for ours_s, loop_s in pairs]
    print(f"ratio {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f}), goal 0.95")


if __name__ == "__main__":
    main()
