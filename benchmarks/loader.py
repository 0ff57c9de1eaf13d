"""Reading a pack for training: ours beside `webdataset` and `datasets` as their own pages use them.

    python -m benchmarks.loader PACK [--workers 2] [--rounds 3]

Every reader makes shuffled float32 batches [16, 3, H, W] in [-1, 1] with captions, at the pack's size, in as
many worker processes. A reading is the time of some batches after the first; readers take turns, and the
ratios are of one round, so that other work on the machine falls on all of them. CPU time is of one process
that reads without workers: what else runs on the machine does not count there.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
import webdataset
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader

from distill_runs.loader import Loader
from distill_runs.packs import Data, open_pack

BATCH = 16
SHUFFLE = 1000
Reader = Callable[[Path, int], Iterator[Any]]


def tensor(image: Image.Image) -> Tensor:
    """float32 [3, H, W] in [-1, 1]."""
    pixels_HWC = torch.from_numpy(np.array(image.convert("RGB")))
    return pixels_HWC.permute(2, 0, 1).float().div_(127.5).sub_(1)


def ours(pack: Path, workers: int) -> Iterator[Any]:
    opened = open_pack(pack)
    return iter(Loader(opened, Data(resolution=min(opened.sizes[0]), batch_size=BATCH), 0, workers=workers))


def scaled(item: tuple[Tensor, str]) -> tuple[Tensor, str]:
    return item[0] * 2 - 1, item[1]


def tensor_and_text(item: tuple[Image.Image, str]) -> tuple[Tensor, str]:
    return tensor(item[0]), item[1]


def _webdataset(pack: Path, workers: int, decoder: str, convert: Callable[[Any], Any]) -> Iterator[Any]:
    tars = sorted(map(str, pack.glob("train-*.tar")))
    read = webdataset.WebDataset(tars, shardshuffle=len(tars), seed=0).shuffle(SHUFFLE).decode(decoder)
    batches = read.to_tuple("jpg", "txt").map(convert).batched(BATCH, partial=False).repeat()
    return iter(webdataset.WebLoader(batches, batch_size=None, num_workers=workers))


def webdataset_torch(pack: Path, workers: int) -> Iterator[Any]:
    return _webdataset(pack, workers, "torchrgb", scaled)


def webdataset_pil(pack: Path, workers: int) -> Iterator[Any]:
    return _webdataset(pack, workers, "pil", tensor_and_text)


def of_dataset(item: dict[str, Any]) -> dict[str, Any]:
    return {"images": tensor(item["jpg"]), "captions": item["txt"]}


def datasets_streaming(pack: Path, workers: int) -> Iterator[Any]:
    tars = sorted(map(str, pack.glob("train-*.tar")))
    read = datasets.load_dataset(
        "webdataset", data_files={"train": tars}, split="train", streaming=True
    ).shuffle(seed=0, buffer_size=SHUFFLE)
    read = read.map(of_dataset, remove_columns=read.column_names)
    return iter(DataLoader(read, batch_size=BATCH, num_workers=workers))


READERS: dict[str, Reader] = {
    "mashbill": ours,
    "webdataset, torchrgb": webdataset_torch,
    "webdataset, pil": webdataset_pil,
    "datasets, streaming": datasets_streaming,
}


def reading(reader: Reader, pack: Path, workers: int, num_batches: int) -> tuple[float, float]:
    """Images per second and CPU-milliseconds of this process per image."""
    batches = reader(pack, workers)
    for _ in range(2 * workers + 2):  # what was read ahead while the processes started
        next(batches)
    began, cpu_began = time.perf_counter(), time.process_time()
    count = BATCH * sum(1 for _ in itertools.islice(batches, num_batches))
    cpu_s, wall_s = time.process_time() - cpu_began, time.perf_counter() - began
    return count / wall_s, cpu_s / count * 1000


def ratios(ours_first: list[float], others: list[float]) -> str:
    found = [own / other for own, other in zip(ours_first, others, strict=True)]
    return f"{statistics.median(found):.2f} ({min(found):.2f} to {max(found):.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("pack", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batches", type=int, default=200)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", category=ResourceWarning)  # webdataset leaves files open
    speeds: dict[str, list[float]] = {name: [] for name in READERS}
    costs: dict[str, list[float]] = {name: [] for name in READERS}
    for number in range(chosen.rounds):
        turn = number % len(READERS)
        for name in [*READERS, *READERS][turn : turn + len(READERS)]:
            reader = READERS[name]
            speeds[name].append(reading(reader, chosen.pack, chosen.workers, chosen.batches)[0])
            costs[name].append(reading(reader, chosen.pack, 0, chosen.batches // 2)[1])
    print("| reader | images per second | ours beside it | CPU-ms an image, no workers | it beside ours |")
    print("| --- | --- | --- | --- | --- |")
    for name in READERS:
        speed, cost = statistics.median(speeds[name]), statistics.median(costs[name])
        more, less = ratios(speeds["mashbill"], speeds[name]), ratios(costs[name], costs["mashbill"])
        print(f"| {name} | {speed:,.0f} | {more} | {cost:.2f} | {less} |")


if __name__ == "__main__":
    main()
