"""Making images: source ``generated`` beside a plain loop over the same diffusers pipeline.

    python -m benchmarks.generation [--model tinyworld/models/unet] [--images 64] [--batch 8] [--rounds 5]

The plain loop is what one writes after the pipeline's own page: batches of prompts with a generator for each
image, `images` as PIL, each saved as a PNG file. Ours plans the prompts, makes the same images, and commits
them to a store as shards with their rows. Both have the pipeline loaded and have made a batch before the
clock starts; they take turns, and the ratio is of one round, so that other work falls on both.
CPU-seconds are of this process with all its threads.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from pipelines.executors import Serial
from pipelines.intake import take_in
from stages.generate.noise import image_seed
from stages.generate.pipelines import Call, opened
from stages.generate.schedulers import Scheduler
from stages.source.generated import Generated
from stages.source.prompts import PromptList
from store.store import open_store


def source(chosen: argparse.Namespace, images: int) -> Generated:
    """So many prompts, one image each."""
    prompts = tuple(f"a drawing of number {i}" for i in range(images))
    return Generated(
        model=chosen.model,
        prompts=PromptList(prompts),
        steps=chosen.steps,
        guidance_scale=chosen.guidance,
        dtype=chosen.dtype,
        batch_size=chosen.batch,
    )


def ours(wanted: Generated, folder: Path) -> None:
    store = open_store(folder / "store", create=True)
    stored, _ = take_in(store, wanted, Serial(), lambda *_: None)
    made = sum(shard.images for shard in stored.shards())
    assert made == stored.manifest()["rows"], "an image was held back"


def plain(wanted: Generated, folder: Path) -> None:
    pipeline = opened(wanted.model, wanted.revision, wanted.dtype, Scheduler())
    call = Call(wanted.steps, wanted.guidance_scale).arguments(type(pipeline))
    assert isinstance(wanted.prompts, PromptList)
    prompts = wanted.prompts.prompts
    for start in range(0, len(prompts), wanted.batch_size):
        some = list(prompts[start : start + wanted.batch_size])
        generators = [torch.Generator().manual_seed(image_seed(0, prompt, 0)) for prompt in some]
        for number, image in enumerate(pipeline(some, generator=generators, **call).images):
            image.save(folder / f"{start + number:06d}.png")


def clocked(work: Callable[[Generated, Path], None], wanted: Generated) -> tuple[float, float]:
    """Images per second, and CPU-milliseconds an image."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / uuid.uuid4().hex
        folder.mkdir()
        began, cpu_began = time.perf_counter(), time.process_time()
        work(wanted, folder)
        wall_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu_began
    count = sum(1 for _ in wanted.prompts.read())
    return count / wall_s, cpu_s / count * 1000


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", default="tinyworld/models/unet")
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--guidance", type=float, default=3.0)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    works: dict[str, Callable[[Generated, Path], None]] = {"mashbill": ours, "plain loop": plain}
    for work in works.values():  # load, and warm up
        clocked(work, source(chosen, chosen.batch))
    wanted = source(chosen, chosen.images)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in works}
    for number in range(chosen.rounds):
        for name in list(works)[:: 1 if number % 2 else -1]:
            found[name].append(clocked(works[name], wanted))
    print("| | images per second | CPU-ms an image |")
    print("| --- | --- | --- |")
    for name, rounds in found.items():
        print(f"| {name} | {spread([r[0] for r in rounds])} | {spread([r[1] for r in rounds])} |")
    pairs: list[tuple[Any, Any]] = list(zip(found["mashbill"], found["plain loop"], strict=True))
    print(f"\nimages per second, mashbill beside the plain loop: {spread([a[0] / b[0] for a, b in pairs])}")
    print(f"CPU time, mashbill beside the plain loop: {spread([a[1] / b[1] for a, b in pairs])}")


if __name__ == "__main__":
    main()
