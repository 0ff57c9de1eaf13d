"""The images of a model: a folder, a dataset version, or the pictures of a training run.

Every image comes with its prompt and, where it is known, its seed, so that two models meet on the same.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from store.errors import MashbillError, UsageError
from store.location import Location
from store.parquet import read_table
from store.runs import all_runs, find_run
from store.store import Store
from store.versions import find_version

NUMBERED = re.compile(r"(\d+)(?:[-_/](\d+))?")
"""``12.png``, ``12_3.png``, ``12/3.png``: the number of the prompt from 0, and the seed."""
SIDECARS = (".txt", ".json")
SEEDS = ("seed", "generation_seed")
PROMPTS = ("prompt", "caption")
EXPECTED = "Expected LABEL=FOLDER, LABEL=DATASET[@VERSION] or LABEL=RUN/ID"


@dataclass(frozen=True)
class Found:
    """One image that a model offers. ``read`` gives its bytes; ``place`` is (URL of a tar, offset, size)
    where they lie in the store already, which then need not be copied."""

    prompt: str
    seed: int | None
    read: Callable[[], bytes]
    place: tuple[str, int, int] | None = None


@dataclass(frozen=True)
class Model:
    """A model of a study: ``source`` says where its images came from, for the record."""

    label: str
    source: dict[str, Any]
    images: tuple[Found, ...]


def read_prompts(path: str) -> list[str]:
    """The prompts of a file: a line each (.txt), or the column ``prompt`` (.jsonl, .csv, .tsv, .parquet).

    Raises:
        UsageError: no such file, another kind of file, or no such column.
    """
    file = Path(path)
    if not file.is_file():
        raise UsageError(f"--prompts {path}: there is no such file")
    kind = file.suffix.lower()
    if kind == ".txt":
        return [line for line in file.read_text("utf-8").splitlines() if line.strip()]
    rows: Sequence[Any]
    if kind == ".parquet":
        rows = read_table(Location.of(file)).to_pylist()
    elif kind == ".jsonl":
        rows = [json.loads(line) for line in file.read_text("utf-8").splitlines() if line.strip()]
    elif kind in (".csv", ".tsv"):
        text = io.StringIO(file.read_text("utf-8"))
        rows = list(csv.DictReader(text, delimiter="\t" if kind == ".tsv" else ","))
    else:
        raise UsageError(f"--prompts {path}: expected .txt, .jsonl, .csv, .tsv or .parquet")
    if any(not isinstance(row, dict) or not isinstance(row.get("prompt"), str) for row in rows):
        raise UsageError(f"--prompts {path}: expected the field prompt in every row")
    return [row["prompt"] for row in rows]


def read_model(store: Store, text: str, prompts: list[str] | None) -> Model:
    """The model that ``LABEL=WHERE`` names; with ``prompts``, their images alone.

    Raises:
        UsageError: not of that form, or a folder's images have no prompts.
        MashbillError: no such dataset or run, or it holds no images of these prompts.
    """
    label, equals, where = text.partition("=")
    if not equals or not label.strip() or not where:
        raise UsageError(f"--model {text}: {EXPECTED}")
    if Path(where).is_dir():
        source, found = {"kind": "folder", "path": where}, _of_folder(Path(where), prompts)
    elif "/" in where:
        if not any(where == run.id or run.id.startswith(where) for run in all_runs(store)):
            raise MashbillError(f"--model {text}: there is no such folder, and no such run. {EXPECTED}.")
        source, found = _of_run(store, where)
    else:
        source, found = _of_version(store, where)
    wanted = None if prompts is None else set(prompts)
    images = tuple(image for image in found if wanted is None or image.prompt in wanted)
    if not images:
        raise MashbillError(
            f"--model {text}: no image of {'these prompts' if prompts else 'any prompt'} is there"
        )
    return Model(label.strip(), source | {"images": len(images)}, images)


def _of_folder(folder: Path, prompts: list[str] | None) -> Iterator[Found]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    shown = [f for f in files if not any(part.startswith(".") for part in f.relative_to(folder).parts)]
    for file in shown:
        if file.suffix.lower() in SIDECARS:
            continue
        prompt, seed = _said(file)
        name = file.relative_to(folder).with_suffix("").as_posix()
        number = NUMBERED.fullmatch(name)
        if number and prompt is None and prompts is not None and int(number[1]) < len(prompts):
            prompt = prompts[int(number[1])]
        if number and seed is None and number[2]:
            seed = int(number[2])
        if prompt is None:
            raise UsageError(
                f"{file}: which prompt is it of? Put it into {file.stem}.txt or into the field prompt of "
                f"{file.stem}.json, or give --prompts and name images by the prompt's number from 0, and the "
                "seed: 12_3.png"
            )
        yield Found(prompt, seed, file.read_bytes)


def _said(file: Path) -> tuple[str | None, int | None]:
    """Prompt and seed as the image's sidecars have them."""
    text, data = file.with_suffix(".txt"), file.with_suffix(".json")
    prompt = text.read_text("utf-8").strip() if text.is_file() else None
    if not data.is_file():
        return prompt, None
    try:
        fields = json.loads(data.read_bytes())
    except ValueError as error:
        raise MashbillError(f"{data} is not JSON: {error}. Mend or remove it.") from error
    if not isinstance(fields, dict):
        raise MashbillError(f"{data} holds {type(fields).__name__}, expected an object with prompt and seed")
    named = (fields[name] for name in PROMPTS if isinstance(fields.get(name), str))
    seeds = (fields[name] for name in SEEDS if type(fields.get(name)) is int)
    return prompt if prompt is not None else next(named, None), next(seeds, None)


def _of_version(store: Store, name: str) -> tuple[dict[str, Any], Iterator[Found]]:
    version = find_version(store, name)
    about = {"kind": "dataset", "dataset": version.dataset, "version": version.version}
    return about, _kept_images(store, version)


def _kept_images(store: Store, version: Any) -> Iterator[Found]:
    """The kept samples with images; the prompt of a generated one is the caption it entered with."""
    there = version.table.names()
    seeded = [name for name in ("generation_seed",) if name in there]
    columns = ["sample_id", "caption_original", *seeded, "shard", "image_offset", "image_size", "kept"]
    source = store.source(version.manifest()["source"]["fingerprint"])
    tars = {shard.index: source.tar(shard) for shard in source.shards()}
    rows = version.samples(columns).to_pylist()
    for row in sorted(rows, key=lambda row: (row.get("generation_seed") or 0, row["sample_id"])):
        if row["kept"] and row["image_offset"] is not None and row["caption_original"]:
            place = (tars[row["shard"]], row["image_offset"], row["image_size"])
            read = partial(_read_place, *place)
            url = (place[0].url, *place[1:])
            yield Found(row["caption_original"], row.get("generation_seed"), read, url)


def _read_place(tar: Location, offset: int, size: int) -> bytes:
    return tar.read_ranges([(offset, size)])[0]


def _of_run(store: Store, name: str) -> tuple[dict[str, Any], Iterator[Found]]:
    run = find_run(store, name)
    asked = run.record()["run"].get("samples", {}).get("prompts") or []
    if not asked:
        raise MashbillError(
            f"run {run.id} has pictures of captions that only it knows. Name prompts in its recipe "
            "(`--set samples.prompts=...`), or give a folder of images that its student made."
        )
    strips = sorted(Path(run.folder, "samples").glob("step-*.png"))
    if not strips:
        raise MashbillError(f"run {run.id} has no pictures yet: {run.folder}/samples is empty")
    about = {"kind": "run", "run": run.id, "pictures": strips[-1].name}
    return about, _cut(strips[-1], asked)


def _cut(strip: Path, prompts: list[str]) -> Iterator[Found]:
    """The pictures of one step, which lie side by side."""
    with Image.open(strip) as image:
        width, height = image.width // len(prompts), image.height
    for number, prompt in enumerate(prompts):
        box = (number * width, 0, (number + 1) * width, height)
        yield Found(prompt, 0, partial(_cut_out, strip, box))


def _cut_out(strip: Path, box: tuple[int, int, int, int]) -> bytes:
    sink = io.BytesIO()
    with Image.open(strip) as image:
        image.crop(box).save(sink, "png")
    return sink.getvalue()
