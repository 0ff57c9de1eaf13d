"""Estimates: their arithmetic, what they say of what nobody measured, and how far from a build they are."""

from __future__ import annotations

import json
import pkgutil
import resource
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pipelines.recipes
from pipelines.cost import Cluster, Estimate, Size, estimate
from pipelines.cost_units import VIEWS, Amount, Cost, CostUnits, key_of, read_units, write_units
from pipelines.dataset import Dataset
from pipelines.recipe import run_recipe
from pipelines.recipes.l_orig import l_orig
from pipelines.recipes.l_pp import l_pp
from pipelines.settings import KINDS
from pipelines.source_size import Told, size_of
from stages.image.crop import Crop
from stages.image.crop_scorers import Clip
from stages.image.size import Size as SizeStage
from stages.source.datasets import HubDataset
from stages.source.folder import Folder
from stages.source.metadata import Metadata
from stages.source.webdataset import WebDataset
from stages.stage import Batch, MapStage, Reduction, Resources, SelectStage, Source, View
from store.errors import MashbillError, UsageError
from store.tar import TarWriter

RECIPES = sorted(module.name for module in pkgutil.iter_modules(pipelines.recipes.__path__))
UNITS = read_units()


def sized(samples: float = 10_000, **changes: Any) -> Size:
    size = Size(samples, samples, samples, 150_000.0, 600_000.0, max(1, int(samples / 1000)))
    return replace(size, **changes)


def planned(dataset: Dataset, size: Size | None = None, cluster: Cluster | None = None) -> Estimate:
    return estimate(dataset, size or sized(), cluster or Cluster(), UNITS)


# Arithmetic.


@given(
    few=st.integers(1, 10**9),
    more=st.integers(0, 10**9),
    cpus=st.integers(1, 10_000),
    recipe=st.sampled_from((l_orig, l_pp)),
)
def test_more_samples_never_cost_less(few: int, more: int, cpus: int, recipe: Callable[[], Dataset]) -> None:
    small, large = (planned(recipe(), sized(n), Cluster(cpus)) for n in (few, few + more))
    for what in ("cpu_s", "read", "written"):
        assert small.total(what) <= large.total(what)
    assert small.memory <= large.memory


@given(factor=st.integers(2, 1000))
def test_what_is_not_done_once_grows_with_the_samples(factor: int) -> None:
    one, many = planned(l_pp(), sized(10_000)), planned(l_pp(), sized(10_000 * factor))
    once = sum(cost.once for cost in UNITS.costs.values())
    spent = sum(part.cpu_s for part in one.parts)
    assert many.total("cpu_s") <= factor * spent
    assert many.total("cpu_s") >= factor * (spent - once) - 1e-6
    assert many.total("written") == pytest.approx(factor * one.total("written"))


def test_each_dimension_of_an_image_costs() -> None:
    plain = planned(l_pp())
    for change in ({"image_bytes": 300_000.0}, {"image_pixels": 1.2e6}):
        assert planned(l_pp(), sized(**change)).total("cpu_s") > plain.total("cpu_s")


def test_cpus_share_what_they_can_and_no_more() -> None:
    one, many, crowd = (planned(l_pp(), cluster=Cluster(cpus)) for cpus in (1, 4, 1_000_000))
    assert one.total("cpu_s") == many.total("cpu_s") == crowd.total("cpu_s")
    for alone, shared, most in zip(one.parts, many.parts, crowd.parts, strict=True):
        if alone.serial:
            assert alone.wall_s == shared.wall_s == most.wall_s
        elif alone.name != "downloading" and not alone.name.startswith("packing"):
            assert shared.wall_s == pytest.approx(alone.wall_s / 4)
            assert most.wall_s == pytest.approx(alone.wall_s / 10)  # there are ten shards
    assert crowd.total("wall_s") < many.total("wall_s") < one.total("wall_s")


def test_a_slow_network_and_dead_urls_make_a_download_longer() -> None:
    fast, slow = (planned(l_pp(), cluster=Cluster(10, bandwidth=mb)) for mb in (1e6, 1.0))
    assert slow.total("wall_s") >= 10_000 * 150_000 / 1e6 > fast.total("wall_s") - slow.total("cpu_s")
    dead = planned(l_pp(), sized(images=7_000.0, kept=7_000.0))
    whole = planned(l_pp(), sized())
    assert part(dead, "downloading").cpu_s > part(whole, "downloading").cpu_s  # later rounds start again


def part(found: Estimate, name: str) -> Any:
    return next(part for part in found.parts if part.name == name)


def test_packs_are_counted_for_each_resolution_and_only_what_is_kept() -> None:
    dataset = l_pp()
    two = replace(dataset, pack=replace(dataset.pack, resolutions=(256, 512)))
    found = planned(two)
    names = ["packing 256", "packing 512"]
    assert [p.name for p in found.parts if p.name.startswith("packing")] == names
    assert part(found, names[1]).written > 2 * part(found, names[0]).written
    none = planned(two, sized(kept=0.0))
    assert not [p for p in none.parts if p.name.startswith("packing")]


def test_what_the_store_has_costs_nothing() -> None:
    everything = frozenset(["source", *(stage.name for stage in l_pp().columns)])
    rest = estimate(l_pp(), sized(), Cluster(), UNITS, everything)
    assert {"size", "near_duplicates", "downloading"}.isdisjoint(part.name for part in rest.parts)
    assert rest.total("cpu_s") < planned(l_pp()).total("cpu_s")


# What was measured, and what was not.

BY_MODEL = {"recaption", "write_prompt", "clip_similarity", "source generated"}
"""What these cost, the model and the machine decide; a plan names them as not measured."""


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_part_of_a_built_in_recipe_was_measured(recipe: str) -> None:
    found = planned(run_recipe(recipe, pipelines.recipes))
    assert set(found.not_measured) <= BY_MODEL


def test_every_kind_of_source_was_measured() -> None:
    missing = [kind.kind for kind in KINDS[Source] if key_of(kind()) not in UNITS.costs]
    assert missing == ["generated"]  # its cost is the model's


@dataclass(frozen=True)
class Looks(MapStage):
    """A stage of one's own: sees every pixel."""

    name: ClassVar[str] = "looks"
    version: ClassVar[int] = 1
    view: ClassVar[View] = View.FULL
    writes: ClassVar[pa.Schema] = pa.schema([("looks", pa.int32())])

    def open(self) -> Callable[[Batch], dict[str, Sequence[Any]]]:
        raise NotImplementedError


@dataclass(frozen=True)
class Model(Looks):
    name: ClassVar[str] = "model"
    resources: ClassVar[Resources] = Resources(gpus=1.0)


@dataclass(frozen=True)
class Gathers(Reduction):
    name: ClassVar[str] = "gathers"
    version: ClassVar[int] = 1
    reads: ClassVar[tuple[str, ...]] = ("sha256",)
    writes: ClassVar[pa.Schema] = pa.schema([("gathered", pa.int32())])

    def reduce(self, rows: pa.Table, scratch: str) -> pa.Table:
        raise NotImplementedError


@dataclass(frozen=True)
class Rules(SelectStage):
    name: ClassVar[str] = "rules"
    version: ClassVar[int] = 1
    reads: ClassVar[tuple[str, ...]] = ("looks",)

    def decide(self, rows: pa.Table) -> pa.Array:
        raise NotImplementedError


def with_stage(stage: MapStage | Reduction) -> Dataset:
    dataset = l_pp()
    return replace(dataset, columns=(*dataset.columns, stage))


def test_stages_of_ones_own_are_named_and_their_view_is_counted() -> None:
    looking = with_stage(Looks())
    dataset = replace(looking, columns=(*looking.columns, Gathers()), select=(*looking.select, Rules()))
    found, plain = planned(dataset), planned(l_pp())
    assert found.not_measured == ["looks", "gathers", "rules"]
    decoding = UNITS.costs[VIEWS[View.FULL]].cpu_s(sized().amount())
    assert found.total("cpu_s") > plain.total("cpu_s") + decoding
    assert part(found, "gathers").read > 0


def test_another_version_or_scorer_is_another_cost() -> None:
    @dataclass(frozen=True)
    class Newer(SizeStage):
        version: ClassVar[int] = 2

    assert UNITS.of(SizeStage()) is not None
    assert UNITS.of(Newer()) is None
    assert key_of(Newer()).endswith("Newer 2")
    assert UNITS.of(Crop()) is not None
    assert UNITS.of(Crop(scorer=Clip())) is None
    assert key_of(Crop(scorer=Clip())).endswith(f"Crop 2 clip {Clip().model}")
    filled = Sets(images=("coco",))
    assert key_of(filled).removeprefix(key_of(Sets())) == " images"


@dataclass(frozen=True)
class Sets(Looks):
    images: tuple[str, ...] = ()


def test_a_stage_on_a_gpu_needs_one_and_can_be_measured() -> None:
    with pytest.raises(UsageError, match=r"stage model holds 1 of a GPU, and the cluster has 0; give --gpus"):
        planned(with_stage(Model()))
    assert planned(with_stage(Model()), cluster=Cluster(gpus=2)).not_measured == ["model"]
    units = CostUnits({}, UNITS.costs | {key_of(Model()): Cost(gpu=0.1)})
    found = estimate(with_stage(Model()), sized(), Cluster(gpus=2), units)
    assert found.not_measured == []
    assert part(found, "model").gpu_s == pytest.approx(1000)
    assert part(found, "model").wall_s == pytest.approx(500)


def test_costs_are_read_as_they_were_written(tmp_path: Path) -> None:
    write_units(tmp_path / "costs.json", UNITS)
    assert read_units(tmp_path / "costs.json") == UNITS


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("no JSON", "not a file of unit costs"),
        ("[]", "not a file of unit costs"),
        ('{"machine": {}, "costs": {}}', "has no cost of 'view bytes'"),
        ('{"machine": {}, "costs": {"a": {"rows": 1}}}', "not a file of unit costs"),
        ('{"machine": {}, "costs": {"start": {"once": -1}}}', "has no cost"),
    ],
)
def test_a_file_that_holds_no_costs_is_refused(text: str, what: str, tmp_path: Path) -> None:
    file = tmp_path / "costs.json"
    file.write_text(text)
    with pytest.raises(UsageError, match=what):
        read_units(file)


def test_a_cost_below_nothing_is_refused(tmp_path: Path) -> None:
    write_units(tmp_path / "costs.json", CostUnits({}, UNITS.costs | {"start": Cost(once=-1.0)}))
    with pytest.raises(UsageError, match="'start' has a cost that is no number"):
        read_units(tmp_path / "costs.json")


def test_an_amount_is_a_sum_of_lines() -> None:
    cost = Cost(once=1, shard=2, row=3, image=4, byte=5, pixel=6, row_bytes=7, pixel_bytes=8)
    amount = Amount(shards=10, rows=100, images=1000, bytes=10_000, pixels=100_000)
    assert cost.cpu_s(amount) == 1 + 20 + 300 + 4000 + 50_000 + 600_000
    assert cost.written(amount) == 700 + 800_000


# The size of a source.


def test_a_folder_is_measured(photos: Any) -> None:
    size = size_of(Folder(path=str(photos.path), shard_size=6), Told())
    assert size.samples == size.images == photos.count
    assert size.shards == -(-photos.count // 6)
    assert 1_000 < size.image_bytes < 100_000
    assert 50_000 < size.image_pixels < 200_000
    assert ["kept" in text for text in size.assumed] == [True]


@pytest.mark.parametrize("ending", [".parquet", ".csv", ".tsv", ".jsonl"])
def test_rows_of_tables_are_counted_and_the_rest_is_assumed(ending: str, tmp_path: Path) -> None:
    rows = [{"url": f"https://example.org/{n}.jpg", "caption": f"picture {n}"} for n in range(37)]
    file = tmp_path / f"crawl{ending}"
    if ending == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), file)
    elif ending == ".jsonl":
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        between = "," if ending == ".csv" else "\t"
        file.write_text(
            "".join(f"{between.join(row)}\n" for row in (("url", "caption"), *map(dict.values, rows)))
        )
    size = size_of(Metadata(path=str(file)), Told())
    assert (size.samples, size.shards) == (37, 1)
    assert len(size.assumed) == 4
    told = size_of(Metadata(path=str(file)), Told(None, 0.5, 0.5, 80_000, 320_000))
    assert told == Size(37, 18.5, 9.25, 80_000, 320_000, 1)


def test_tars_are_measured_by_the_first(tmp_path: Path, make_jpeg: Callable[..., bytes]) -> None:
    for shard in range(3):
        with (tmp_path / f"{shard}.tar").open("wb") as file:
            tar = TarWriter(file)
            for number in range(5):
                tar.add(f"{shard}-{number}.jpg", make_jpeg(320, 240, number))
                tar.add(f"{shard}-{number}.txt", b"a caption")
            tar.close()
    size = size_of(WebDataset(path=str(tmp_path)), Told())
    assert (size.samples, size.shards, size.image_pixels) == (15, 3, 320 * 240)


def test_what_cannot_be_known_must_be_said(tmp_path: Path) -> None:
    with pytest.raises(MashbillError, match="no such file"):
        size_of(Metadata(path=str(tmp_path / "none.parquet")), Told())
    assert size_of(Metadata(), Told(samples=5_000)).shards == 5
    with pytest.raises(UsageError, match=r"a source of kind datasets .* give --samples"):
        size_of(HubDataset(), Told())


# The command.

SOME = ("plan", "l-pp", "--samples", 5000)


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        (("--samples", 0), "--samples 0: expected 1 or more"),
        (("--samples", "nan"), "--samples nan: expected 1 or more"),
        (("--kept", 1.5), "--kept 1.5: expected a share, 0 to 1"),
        (("--arriving", -1), "--arriving -1: expected a share, 0 to 1"),
        (("--image-bytes", 0), "--image-bytes 0: expected 1 or more"),
        (("--cpus", 0), "expected 1 cpu or more"),
        (("--gpus", -1), "0 gpus or more"),
        (("--bandwidth", 0), "a bandwidth above 0"),
        (("--bandwidth", "inf"), "a bandwidth above 0"),
        (("--costs", "none.json"), "--costs none.json: No such file or directory"),
        (("--set", "no_such_field=1"), "there is no such field"),
    ],
)
def test_wrong_arguments_are_refused(wrong: tuple[Any, ...], what: str, cli: Callable[..., Any]) -> None:
    done = cli(*SOME, *wrong)
    assert done.code == 2
    assert what in done.err
    assert not done.out


def test_words_that_are_no_numbers_are_refused(cli: Callable[..., Any]) -> None:
    assert cli("plan", "l-pp", "--samples", "many").code == 2
    assert cli("plan", "no-such-recipe").code == 2


def test_the_json_says_everything(cli: Callable[..., Any]) -> None:
    said = cli(*SOME, "--cpus", 4, "--json").json
    assert said["dataset"] == "l-pp"
    assert said["size"]["samples"] == 5000
    assert said["cluster"] == {"cpus": 4, "gpus": 0.0, "bandwidth": 100.0}
    assert said["measured_on"]["cpu"]
    assert said["not_measured"] == []
    assert len(said["assumed"]) == 4
    for total, field, unit in (("cpu_hours", "cpu_s", 3600), ("bytes_written", "written", 1)):
        assert said[total] == pytest.approx(sum(part[field] for part in said["parts"]) / unit)
    assert said["peak_memory"] >= max(part["memory"] for part in said["parts"])


def test_the_table_names_every_part_and_what_was_assumed(cli: Callable[..., Any]) -> None:
    done = cli(*SOME, "--set", "crop.scorer.kind=clip", "--kept", 0.5)
    assert done.code == 0, done.err
    for words in ("near_duplicates", "packing 512", "not measured: crop", "assumed: every image arrives"):
        assert words in done.out
    assert "kept and packed" not in done.out


def test_a_store_that_has_columns_is_not_charged_for_them(
    built: tuple[Path, Any], photos: Any, cli: Callable[..., Any], folder_source: Callable[..., list[str]]
) -> None:
    source = folder_source(photos.path)
    new = cli("plan", "l-orig", *source, "--store", built[0] / "none", "--json").json
    again = cli("plan", "l-orig", *source, "--store", built[0], "--json").json
    assert {"reading the source", "size"} <= {part["name"] for part in new["parts"]}
    assert {"reading the source", "size"}.isdisjoint(part["name"] for part in again["parts"])


def test_a_real_build_costs_about_what_was_planned(
    tmp_path: Path,
    mashbill: Callable[..., Any],
    make_jpeg: Callable[..., bytes],
    folder_source: Callable[..., list[str]],
) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number in range(60):
        (pictures / f"{number}.jpg").write_bytes(make_jpeg(400 + 8 * number, 480, number))
        (pictures / f"{number}.txt").write_text(f"a soft picture, number {number}")
    source = folder_source(pictures, shard_size=30)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = mashbill("build", "l-pp", *source, "--store", tmp_path / "store", "--workers", 1, "--json")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.code == 0, done.err
    took = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    said = mashbill("plan", "l-pp", *source, "--store", tmp_path / "none", "--json").json
    assert took / 3 < said["cpu_hours"] * 3600 < took * 3
