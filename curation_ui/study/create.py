"""Makes a study: pairs the models' images, says what it can show, and freezes it."""

from __future__ import annotations

import hashlib
import io
import os
import secrets
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace

import pyarrow as pa
from PIL import Image

from curation_ui.study.design import Design, Study, check, frozen
from curation_ui.study.models import Found, Model
from curation_ui.study.pairs import Missing, Pair, Picture, pairs_of
from curation_ui.study.power import SECONDS_PER_VOTE, Expected, expected
from store.errors import MashbillError, UsageError
from store.parquet import write_table
from store.tar import TarWriter

IMAGES = pa.schema(
    [
        ("model", pa.int32()),
        ("prompt", pa.string()),
        ("seed", pa.int64()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("sha256", pa.string()),
        ("tar", pa.string()),
        ("offset", pa.int64()),
        ("size", pa.int64()),
    ]
)
"""``images.parquet``. ``tar``: ``images.tar`` beside it, a path from
the store's folder, or the URL of a tar that lies outside. Width and height as seen, upright."""
MAX_PIXELS = 64_000_000
CHUNK = 64


@dataclass(frozen=True)
class Plan:
    """A study before it is made: what would be asked, and what that can show. ``comparison`` is of one pair
    of models and one question, ``votes`` are all."""

    design: Design
    seed: int
    models: tuple[Model, ...]
    pairs: tuple[Pair, ...]
    missing: tuple[Missing, ...]
    comparison: Expected
    votes: int

    @property
    def prompts(self) -> int:
        return len({pair.prompt for pair in self.pairs})

    @property
    def hours(self) -> float:
        """Of looking, all people together, with known answers and retests."""
        more = 1 / (1 - self.design.gold - self.design.retest)
        return self.votes * more * SECONDS_PER_VOTE / 3600


def plan_study(design: Design, models: Sequence[Model], seed: int) -> Plan:
    """Pair the models' images.

    Raises:
        UsageError: fewer than two models, a label twice, or the design is not valid.
        MashbillError: no image of one model has a counterpart of another.
    """
    check(design)
    labels = [model.label for model in models]
    if len(models) < 2 or len(set(labels)) != len(labels):
        raise UsageError(f"--model {', '.join(labels)}: expected two models or more, each with its own label")
    pictures = [
        Picture(index, number, image.prompt, image.seed)
        for index, (number, image) in enumerate((n, i) for n, m in enumerate(models) for i in m.images)
    ]
    pairs, missing = pairs_of(pictures, len(models), design, seed)
    if not pairs:
        raise MashbillError(_none_meet(models))
    met = {(pair.a, pair.b) for pair in pairs}
    per = len(pairs) / len(met)
    prompts = len({pair.prompt for pair in pairs})
    wanted = sum(pair.votes for pair in pairs)
    comparison = expected(prompts, per / prompts, wanted / len(pairs))
    votes = wanted * len(design.questions)
    return Plan(design, seed, tuple(models), tuple(pairs), tuple(missing), comparison, votes)


def _none_meet(models: Sequence[Model]) -> str:
    texts = [{image.prompt for image in model.images} for model in models]
    shared = len(texts[0].intersection(*texts[1:]))
    if shared:
        return (
            f"the models share {shared} prompts and no seed of any. Images are matched by prompt and seed, "
            "so that luck does not decide; where seeds mean nothing, give --set match=number"
        )
    return (
        f"the models share no prompt: {models[0].label} has {sorted(texts[0])[0]!a}, {models[1].label} has "
        f"{sorted(texts[1])[0]!a}. Prompts must be the same letter for letter."
    )


def make_study(study: Study, plan: Plan) -> dict[str, object]:
    """Read, check and keep every image, and freeze the study; returns its record.

    An image that cannot be read takes its pairs along; they are counted in ``broken``.

    Raises:
        MashbillError: there is a study of that name, or no pair is left.
    """
    if study.exists:
        raise MashbillError(f"there is a study {study.name!r} already, and it is frozen. Take another name.")
    everything = [(n, image) for n, model in enumerate(plan.models) for image in model.images]
    used = sorted({index for pair in plan.pairs for index in (pair.image_a, pair.image_b)})
    rows: dict[int, dict[str, object]] = {}
    with (study.location / "images.tar").writing() as path, open(path, "wb") as file:
        tar, threads = TarWriter(file), ThreadPoolExecutor(os.cpu_count())
        with threads:
            for start in range(0, len(used), CHUNK):
                part = used[start : start + CHUNK]
                data = list(threads.map(lambda index: everything[index][1].read(), part))
                sizes = threads.map(_upright_size, data)
                for index, image, size in zip(part, data, sizes, strict=True):
                    if size is not None:
                        rows[index] = _row(*everything[index], image, size, tar)
                        rows[index]["tar"] = study.tar_said(str(rows[index]["tar"]))
        tar.close()
    return _freeze(study, plan, rows)


def _row(model: int, found: Found, image: bytes, size: tuple[int, int], tar: TarWriter) -> dict[str, object]:
    """A row of ``IMAGES``; bytes that lie in no tar yet are added to ours."""
    digest = hashlib.sha256(image).hexdigest()
    place = found.place or ("images.tar", *tar.add(digest, image)[1:])
    return dict(zip(IMAGES.names, (model, found.prompt, found.seed, *size, digest, *place), strict=True))


def _upright_size(data: bytes) -> tuple[int, int] | None:
    """Width and height as seen; None where the image cannot be decoded."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.width * image.height > MAX_PIXELS:
                return None
            image.load()
            turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
            return (image.height, image.width) if turned else (image.width, image.height)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None


def _freeze(study: Study, plan: Plan, rows: dict[int, dict[str, object]]) -> dict[str, object]:
    number = {index: row for row, index in enumerate(sorted(rows))}
    whole = [pair for pair in plan.pairs if pair.image_a in number and pair.image_b in number]
    if not whole:
        raise MashbillError(
            "no pair is left whose two images can be decoded; look at the files of the models"
        )
    pairs = [
        replace(pair, index=i, image_a=number[pair.image_a], image_b=number[pair.image_b])
        for i, pair in enumerate(whole)
    ]
    tables = {
        "images.parquet": pa.Table.from_pylist([rows[index] for index in sorted(rows)], IMAGES),
        "pairs.parquet": pa.Table.from_pylist([asdict(pair) for pair in pairs]),
    }
    for name, table in tables.items():
        write_table(study.location / name, table)
    files = {
        name: hashlib.sha256((study.location / name).read_bytes()).hexdigest() for name in sorted(tables)
    }
    record = frozen(
        {
            "name": study.name,
            "seed": plan.seed,
            "models": [{"label": model.label} | model.source for model in plan.models],
            "prompts": len({pair.prompt for pair in pairs}),
            "pairs": len(pairs),
            "broken": len(plan.pairs) - len(pairs),
            "missing": [asdict(entry) for entry in plan.missing],
            "files": files,
        },
        plan.design,
    )
    if not (study.location / "study.json").create_json(record | {"created": time.time()}):
        raise MashbillError(f"another process made study {study.name!r} at the same time; take another name")
    return study.record()


def new_seed() -> int:
    return secrets.randbits(31)
