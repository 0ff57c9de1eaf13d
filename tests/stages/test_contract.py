"""What every stage must be, whoever wrote it: each is found by import and checked on real images.

A new stage is checked as it is. It needs a line here only when it has no default setting, or a model.
"""

from __future__ import annotations

import atexit
import dataclasses
import importlib
import inspect
import io
import itertools
import pickle
import pkgutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from safetensors.numpy import save_file

import stages
from pipelines.map_pass import Seen
from pipelines.outranked import BY_PERSON
from pipelines.settings import KINDS
from stages.image.crop import Crop
from stages.image.crop_scorers import CropScorer, KnownBoxes
from stages.prompt.specification import Attribute, Specification, Value
from stages.score.aesthetic import Aesthetic
from stages.score.caption_quality import CaptionQuality
from stages.score.clip_similarity import ClipSimilarity
from stages.score.image_embedding import ImageEmbedding
from stages.select.nothing_found import NothingFound
from stages.select.score_within import ScoreWithin
from stages.source.asked import Asked
from stages.source.curated import Curated
from stages.source.datasets import HubDataset
from stages.source.mixture import Mixture
from stages.stage import Batch, MapStage, Reduction, SelectStage, Source, View
from stages.text.asking import Style
from stages.text.chat import Chat
from stages.text.chat_endpoint import Endpoint
from stages.text.chat_local import Local
from stages.text.recaption import Recaption
from stages.text.write_prompt import WritePrompt
from store.errors import MashbillError
from store.schema import SAMPLE_ROWS

CLIP = "tinyworld/models/clip"
_FOLDER = tempfile.TemporaryDirectory()
atexit.register(_FOLDER.cleanup)
HEAD = Path(_FOLDER.name) / "head.safetensors"
save_file({"weight": np.linspace(-1, 1, 128, dtype=np.float32)[None], "bias": np.ones(1, np.float32)}, HEAD)

NEEDS_A_MODEL: dict[str, str] = {}
"""Stages that cannot run here, by name, with the reason."""
EXAMPLES: dict[type, list[Any]] = {
    Asked: [Asked(Specification((Attribute("color", (Value("red", 0.5),)),), ("{color}",)))],
    Aesthetic: [Aesthetic(model=CLIP, head=str(HEAD))],
    CaptionQuality: [CaptionQuality(), CaptionQuality(tokenizer=CLIP)],
    ClipSimilarity: [ClipSimilarity(model=CLIP, captions=("caption", "caption_original"))],
    Crop: [Crop(), Crop(scorer=KnownBoxes()), Crop(aspects=(1.0, 1.5, 0.4))],
    ImageEmbedding: [ImageEmbedding(model=CLIP)],
    WritePrompt: [
        WritePrompt(Local("tinyworld/models/prompt-writer"), Style("prompt", "{values}", 64, 1.0, 0.9))
    ],
    NothingFound: [NothingFound("caption_personal")],
    Recaption: [Recaption(Local("tinyworld/models/captioner"), (Style("long", "long", 64),))],
    ScoreWithin: [ScoreWithin("sharpness", minimum=1.0, maximum=100.0, drop_unknown=True)],
}
"""Settings to check where the default is not enough, or there is none."""
MADE_IN_RECIPES = {Asked, Curated, Mixture}
"""Sources of parts that no command line can write, or that need a stage of their own in the recipe."""
NOT_OURS = {
    "stages.source.img2dataset_launcher": "runs in the downloader's own environment",
}


def _image(width: int, height: int, seed: int, kind: str = "JPEG") -> bytes:
    grid = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    sink = io.BytesIO()
    Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC).save(sink, kind)
    return sink.getvalue()


IMAGES: list[bytes | None] = [
    _image(320, 240, 1),
    _image(200, 300, 2, "PNG"),
    _image(320, 240, 3)[:2500],  # cut
    _image(64, 64, 4),
    None,  # the download failed
    _image(320, 240, 1),  # the first again
    b"<!DOCTYPE html><html>not here</html>",
    _image(90, 500, 6, "WEBP"),
    _image(1, 1, 7, "GIF"),
]
PAGE = 6
CAPTIONS = ["a &amp; b", None, "cut", "", "gone", "a &amp; b", "page", "x" * 5000, "\0\u200b"]
BOXES = '{"boxes": [[0, 0, 90, 90]], "truth_boxes": [[200, 0, 320, 240]]}'


@cache
def classes(base: type) -> list[type]:
    """Every concrete class of one kind under ``stages``."""
    for module in pkgutil.walk_packages(stages.__path__, "stages."):
        if module.name not in NOT_OURS:
            importlib.import_module(module.name)
    waiting, found = [base], set[type]()
    while waiting:
        for cls in waiting.pop().__subclasses__():
            waiting.append(cls)
            if cls.__module__.startswith("stages.") and not inspect.isabstract(cls):
                found.add(cls)
    return sorted(found, key=lambda cls: cls.__name__)


def examples(base: type) -> list[Any]:
    """Settings of every class of one kind that can run here."""
    found = []
    for cls in classes(base):
        if cls.name not in NEEDS_A_MODEL:  # type: ignore[attr-defined]
            found += EXAMPLES.get(cls) or [cls()]
    return found


def shown(stage: Any) -> str:
    return f"{stage.name}-{getattr(stage, 'scorer', '')}"[:40]


def source_columns() -> dict[str, list[Any]]:
    ids = [f"{number * 7919 % 10007:024x}" for number in range(len(IMAGES))]
    columns: dict[str, list[Any]] = {name: [None] * len(IMAGES) for name in SAMPLE_ROWS.names}
    urls = [f"http://host/{number}.jpg" for number in range(len(IMAGES))]
    errors = ["http_404" if image is None else None for image in IMAGES]
    return columns | {
        "sample_id": ids,
        "source_key": urls,
        "url": urls,
        "caption_original": CAPTIONS,
        "meta": [None, BOXES, "{}", *[BOXES] * (len(IMAGES) - 3)],
        "source_error": errors,
    }


def run(stage: MapStage, columns: dict[str, list[Any]], rows: list[int], size: int) -> dict[str, list[Any]]:
    """A map stage over some of the rows, ``size`` at a time."""
    work, result = stage.open(), {name: [] for name in stage.writes.names}
    for start in range(0, len(rows), size):
        some = rows[start : start + size]
        images, broken = Seen([IMAGES[i] for i in some]).view(stage.view, 0, len(some))
        given = {name: [columns[name][i] for i in some] for name in stage.reads}
        answer = work(Batch(len(some), given, images, broken))
        assert set(answer) == set(stage.writes.names)
        for name, values in answer.items():
            assert len(values) == len(some)
            result[name].extend(values)
    return {n: pa.array(v, stage.writes.field(n).type).to_pylist() for n, v in result.items()}


ALL = list(range(len(IMAGES)))


@pytest.fixture(scope="module")
def columns() -> dict[str, list[Any]]:
    """Values of every column that the source and the stages make, each stage after those it reads."""
    known, waiting = source_columns(), [*examples(MapStage), *examples(Reduction)]
    while waiting:
        ready = [stage for stage in waiting if set(stage.reads) <= set(known)]
        assert ready, {stage.name: set(stage.reads) - set(known) for stage in waiting}
        for stage in ready:
            waiting.remove(stage)
            if isinstance(stage, MapStage):
                known |= run(stage, known, ALL, 32)
            else:
                table = reduced(stage, known, ALL)
                known |= {name: table[name].to_pylist() for name in stage.writes.names}
    return known


def inputs(stage: Reduction | SelectStage, columns: dict[str, list[Any]], rows: list[int]) -> pa.Table:
    names = dict.fromkeys(["sample_id", *stage.reads])
    types = column_types()
    chosen = {name: pa.array([columns[name][i] for i in rows], types[name]) for name in names}
    return pa.table(chosen)


def column_types() -> dict[str, pa.DataType]:
    types = {field.name: field.type for field in SAMPLE_ROWS}
    for stage in (*examples(MapStage), *examples(Reduction)):
        types |= {field.name: field.type for field in stage.writes}
    return types


def reduced(stage: Reduction, columns: dict[str, list[Any]], rows: list[int]) -> pa.Table:
    import tempfile

    with tempfile.TemporaryDirectory() as scratch:
        answer = stage.reduce(inputs(stage, columns, rows), scratch)
    return answer.select(stage.writes.names).cast(stage.writes)


@pytest.mark.parametrize("cls", [c for b in (MapStage, Reduction, SelectStage, Source) for c in classes(b)])
def test_a_stage_is_a_documented_frozen_value(cls: type) -> None:
    assert dataclasses.is_dataclass(cls)
    assert cls.__dataclass_params__.frozen  # type: ignore[attr-defined]
    assert cls.__doc__
    assert not cls.__doc__.startswith(f"{cls.__name__}(")
    assert inspect.getmodule(cls).__doc__  # type: ignore[union-attr]
    if not issubclass(cls, Source):
        assert isinstance(cls.version, int)  # type: ignore[attr-defined]
        assert cls.version >= 1  # type: ignore[attr-defined]
        assert "name" in vars(cls)
    example = EXAMPLES.get(cls, [None])[0] or cls()
    assert pickle.loads(pickle.dumps(example)) == example
    assert hash(example) == hash(pickle.loads(pickle.dumps(example)))


def test_every_revision_belongs_to_a_model_that_a_build_makes_exact() -> None:
    for base in (MapStage, Reduction, Source, CropScorer, Chat):
        for cls in classes(base):
            named = {field.name for field in dataclasses.fields(cls) if field.name.endswith("revision")}
            declared = {field for pair in getattr(cls, "models", ()) for field in pair}
            assert declared <= {field.name for field in dataclasses.fields(cls)}
            assert named <= declared or cls in {Endpoint, HubDataset}, cls


def test_names_are_unique() -> None:
    named = [cls.name for base in (MapStage, Reduction, SelectStage) for cls in classes(base)]  # type: ignore[attr-defined]
    names = [name for name in named if isinstance(name, str)]  # a rule may be named by its column
    kinds = [cls.kind for cls in classes(Source)]  # type: ignore[attr-defined]
    for some in (names, kinds):
        assert sorted(some) == sorted(set(some))
    assert set(NEEDS_A_MODEL) <= set(names)
    assert {"crop", "size", "decode", "split"} <= set(names)  # they were found at all


def test_every_source_can_be_chosen_and_says_when_nothing_is_there() -> None:
    assert set(KINDS[Source]) == set(classes(Source)) - MADE_IN_RECIPES
    for cls in KINDS[Source]:
        with pytest.raises(MashbillError, match=r"source\.(path|model)"):
            cls().identity()


def test_who_writes_words_or_crops_is_tested_to_leave_those_of_people() -> None:
    """By ``tests/pipelines/test_curated.py``, a recipe each; ``source_captions`` by its own tests."""
    theirs = {name for columns in BY_PERSON.values() for name in columns}
    writers = {stage.name for stage in examples(MapStage) if theirs & {*stage.writes.names}}
    assert writers == {
        "inherited", "clean_caption", "crop", "recaption", "source_captions", "write_prompt",
    }  # fmt: skip
    assert not any(theirs & {*stage.writes.names} for stage in examples(Reduction))


@pytest.mark.parametrize("stage", examples(MapStage), ids=shown)
def test_a_map_stage_keeps_rows_and_types_at_any_batch_size(
    stage: MapStage, columns: dict[str, list[Any]]
) -> None:
    once = run(stage, columns, ALL, 32)
    assert all(len(values) == len(ALL) for values in once.values())
    for size in (1, 7, 32):
        assert repr(run(stage, columns, ALL, size)) == repr(once)
    turned = run(stage, columns, ALL[::-1], 4)
    assert repr({name: values[::-1] for name, values in turned.items()}) == repr(once)
    assert repr(run(pickle.loads(pickle.dumps(stage)), columns, ALL, 32)) == repr(once)


@pytest.mark.parametrize("stage", examples(MapStage), ids=shown)
def test_broken_images_spoil_no_neighbor(stage: MapStage, columns: dict[str, list[Any]]) -> None:
    fine = [i for i in ALL if i not in (2, 4, PAGE)]
    among, alone = run(stage, columns, ALL, 32), run(stage, columns, fine, 32)
    for name in stage.writes.names:
        assert repr([among[name][i] for i in fine]) == repr(alone[name])


@pytest.mark.parametrize("stage", [s for s in examples(MapStage) if s.view > View.NONE], ids=shown)
def test_what_is_no_image_gives_nulls_or_its_reason(stage: MapStage, columns: dict[str, list[Any]]) -> None:
    result = run(stage, columns, ALL, 32)
    absent = [result[name][IMAGES.index(None)] for name in stage.writes.names]
    assert absent == [None] * len(absent)
    if stage.view > View.BYTES:
        assert {result[name][PAGE] for name in stage.writes.names} <= {None, "not_an_image"}


@pytest.mark.parametrize("stage", examples(Reduction), ids=shown)
def test_a_reduction_answers_every_row_in_any_order(stage: Reduction, columns: dict[str, list[Any]]) -> None:
    once = reduced(stage, columns, ALL).to_pylist()
    assert len(once) == len(ALL)
    assert reduced(stage, columns, ALL).to_pylist() == once
    mixed = [5, 2, 8, 0, 7, 1, 4, 3, 6]
    assert reduced(stage, columns, mixed).to_pylist() == [once[i] for i in mixed]
    assert reduced(stage, columns, []).num_rows == 0
    table = inputs(stage, columns, ALL)
    pieces = pa.concat_tables([table.slice(0, 4), table.slice(4)])
    assert stage.reduce(pieces, "").select(stage.writes.names).to_pylist() == once


@pytest.mark.parametrize("stage", examples(SelectStage), ids=shown)
def test_a_rule_gives_only_its_reasons_in_any_order(
    stage: SelectStage, columns: dict[str, list[Any]]
) -> None:
    def decide(rows: list[int]) -> list[str | None]:
        return list(stage.decide(inputs(stage, columns, rows)).cast(pa.string()).to_pylist())

    fine = [i for i in ALL if i not in (2, 4, PAGE)]  # those that `readable` keeps
    once = decide(fine)
    assert len(once) == len(fine)
    assert stage.reasons == () or set(once) <= {None, *stage.reasons}
    for order in itertools.islice(itertools.permutations(range(len(fine))), 0, 700, 97):
        assert decide([fine[i] for i in order]) == [once[i] for i in order]
    assert decide([]) == []
