"""What one shard, row, image, byte and pixel cost on this machine, for ``mashbill plan``.

    python -m benchmarks.unit_costs FILE

Draws images of seven sizes and qualities and times, in one process and in CPU-seconds, each view, stage,
source and pack over them; lines are fitted through the times. ``benchmarks.row_costs`` does the same for
what only rows cost. Then ``mashbill plan RECIPE --costs FILE``. Takes about five minutes,
more where others work. Linux.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.pass_costs import pass_costs
from benchmarks.row_costs import reduction_costs, row_costs
from benchmarks.source_costs import source_costs
from benchmarks.timing import Group, cpu_s, line
from pipelines.cost_units import VIEWS, Cost, CostUnits, key_of, write_units
from pipelines.map_pass import BATCH_ROWS, Seen
from pipelines.recipes.l_pp import l_pp
from stages.image.crop import Crop
from stages.image.crop_scorers import KnownBoxes
from stages.pack.pack import Pack, write_pack_shard
from stages.stage import Batch, MapStage, View
from store.location import Location
from store.tar import TarWriter
from tinyworld.draw import draw
from tinyworld.scene import random_scene

LOOKS = ((320, 60), (320, 96), (640, 60), (640, 96), (1100, 60), (1100, 96), (2000, 85))
"""Sides in pixels and JPEG qualities: bytes and pixels must not grow alike, or no fit tells them apart."""
EACH = 32
BOXES = '{"boxes": [[10, 10, 200, 200]], "truth_boxes": [[10, 10, 200, 200]]}'


def draw_groups(folder: Path) -> list[Group]:
    groups = []
    for number, (side, quality) in enumerate(LOOKS):
        images = []
        for seed in range(EACH if side < 2000 else EACH // 4):
            file = folder / "drawn.jpg"
            draw(random_scene(1000 * number + seed), side, side * 3 // 4).save(file, quality=quality)
            images.append(file.read_bytes())
        groups.append(Group(images, side))
    return groups


def fitted(groups: list[Group], times: list[float]) -> Cost:
    """Per image, byte and pixel, from the seconds of one image in each group."""
    image, byte, pixel = line([(1, group.bytes, group.pixels) for group in groups], times)
    return Cost(image=image, byte=byte, pixel=pixel)


def view_costs(groups: list[Group]) -> dict[str, Cost]:
    """Decoding alone; reading the bytes is part of the pass."""
    costs = {VIEWS[View.BYTES]: Cost()}
    for view in (View.HEADER, View.SMALL, View.FULL):
        times = []
        for group in groups:
            every = [group.images[start : start + 8] for start in range(0, len(group.images), 8)]
            seconds = sum(cpu_s(lambda v=view, some=some: Seen(some).view(v, 0, len(some))) for some in every)
            times.append(seconds / len(group.images))
        costs[VIEWS[view]] = fitted(groups, times)
    return costs


def stage_costs(groups: list[Group]) -> dict[str, Cost]:
    """Every map stage of l-pp, each given what the ones before it wrote."""
    times: dict[MapStage, list[float]] = {}
    for group in groups:
        columns = _source_columns(len(group.images))
        seen = Seen(list(group.images))
        stages = [stage for stage in l_pp().columns if isinstance(stage, MapStage)]
        for stage in [*stages, Crop(scorer=KnownBoxes())]:
            run, batches = stage.open(), _batches(stage, columns, seen)
            seconds = cpu_s(lambda run=run, batches=batches: [run(batch) for batch in batches])
            times.setdefault(stage, []).append(seconds / len(group.images))
            for name in stage.writes.names:
                columns[name] = [value for batch in batches for value in run(batch)[name]]
    costs = {}
    for stage, found in times.items():
        blind = stage.view == View.NONE
        costs[key_of(stage)] = Cost(row=min(found)) if blind else fitted(groups, found)
    return costs


def _source_columns(count: int) -> dict[str, list[Any]]:
    texts = [f"a drawn scene &amp; its caption, number {number} of some" for number in range(count)]
    ids = [f"{number:024x}" for number in range(count)]
    return {"sample_id": ids, "caption_original": texts, "meta": [BOXES] * count, "url": ids}


def _batches(stage: MapStage, columns: dict[str, list[Any]], seen: Seen) -> list[Batch]:
    batches = []
    for start in range(0, len(seen.data), BATCH_ROWS):
        stop = min(start + BATCH_ROWS, len(seen.data))
        images, broken = seen.view(stage.view, start, stop)
        given = {name: columns[name][start:stop] for name in stage.reads}
        batches.append(Batch(stop - start, given, images, broken))
    return batches


def pack_costs(groups: list[Group], known: dict[str, Cost], scratch: Path) -> dict[str, Cost]:
    """Scaling and encoding: a whole pack shard of each group, less its decoding."""
    full, rows, times, out = known[VIEWS[View.FULL]], [], [], []
    for number, group in enumerate(groups):
        packed = _packable(group, scratch / f"pack-{number}.tar")
        for side in (256, 512, 1024):
            shard = Location.of(scratch / f"{number}-{side}.tar")
            seconds = cpu_s(lambda p=packed, s=shard, side=side: write_pack_shard(s, p, Pack(), side), 2)
            decoding = full.image + full.byte * group.bytes + full.pixel * group.pixels
            rows.append((1.0, group.pixels, float(side**2)))
            times.append(max(seconds / len(packed) - decoding, 1e-6))
            out.append((shard.size() / len(packed) - 2560) / side**2)
    image, source_pixel, out_pixel = line(rows, times)
    one = _packable(Group(groups[0].images[:1], groups[0].side), scratch / "one.tar")
    alone = Location.of(scratch / "one-shard.tar")
    shard_s = cpu_s(lambda: write_pack_shard(alone, one, Pack(), 256), 5) - times[0]
    return {
        "pack shard": Cost(shard=max(shard_s, 0.0), pixel=source_pixel),
        "pack image": Cost(image=image, pixel=out_pixel, pixel_bytes=float(np.median(out))),
    }


def _packable(group: Group, tar: Path) -> list[dict[str, Any]]:
    """The rows of a pack shard with the middle of each image as its crop."""
    width, height = group.side, group.side * 3 // 4
    left = (width - height) // 2
    rows = []
    with tar.open("wb") as file:
        writer = TarWriter(file)
        for number, image in enumerate(group.images):
            member = writer.add(f"{number:024x}.jpg", image)
            place = {"tar": str(tar), "image_offset": member.offset, "image_size": member.size}
            crop = {"crop_left": left, "crop_top": 0, "crop_right": left + height, "crop_bottom": height}
            crop["crop_aspect"] = 1
            texts = dict.fromkeys(("caption", "caption_original", "url", "source_key"), "a drawn scene")
            known = {"sample_id": f"{number:024x}", "width": width, "height": height, "split": "train"}
            rows.append(known | place | crop | texts | {"dataset": "l-pp", "version": "0"})
        writer.close()
    return rows


def machine() -> dict[str, Any]:
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text().splitlines()
        name = next((text.partition(":")[2].strip() for text in lines if "model name" in text), name)
    packages = {package: version(package) for package in ("pillow", "pyarrow", "numpy", "numba")}
    load = round(os.getloadavg()[0], 1)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    found = {"cpu": name, "cpus": os.cpu_count(), "memory_gb": round(memory / 1e9)}
    return found | {"date": date.today().isoformat(), "load": load, "packages": packages}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("file", type=Path)
    options = parser.parse_args()
    here = machine()
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        groups = draw_groups(scratch)
        costs = view_costs(groups)
        costs |= stage_costs(groups)
        costs |= pass_costs(costs, scratch)
        costs |= pack_costs(groups, costs, scratch)
        costs |= source_costs([groups[0].images, groups[5].images], scratch)
        costs |= row_costs(costs, scratch)
        costs |= reduction_costs(costs, scratch)
    write_units(options.file, CostUnits(here, costs))
    print(f"{len(costs)} costs written to {options.file}")


if __name__ == "__main__":
    main()
