"""What those parts of a recipe cost here that ``unit_costs`` does not measure: its models above all.

    python -m benchmarks.recipe_costs RECIPE FILE --store STORE [--set PATH=VALUE]... [--costs BASE]

Builds the recipe twice in a scratch store, each unmeasured part alone and in this process, and writes
``BASE`` (the built-in costs) with what the second time took: the first loads the models. Give a small source:
some hundred images, of the size of the real ones. Then ``mashbill plan RECIPE --costs FILE``. Where a part
used a GPU its seconds are the GPU's. ``STORE`` holds the datasets that the recipe's source reads, if any.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

import pipelines.recipes
from benchmarks.unit_costs import machine
from pipelines.columns import column_set, make_columns
from pipelines.cost_units import BUILT_IN, Cost, CostUnits, key_of, read_units, write_units
from pipelines.dataset import Dataset
from pipelines.executors import Serial
from pipelines.intake import take_in
from pipelines.join import join
from pipelines.planner import Step, plan
from pipelines.recipe import run_recipe
from pipelines.settings import apply_settings
from stages.stage import MapStage, View
from store.sources import StoredSource
from store.store import Store, open_store
from store.tables import SampleTable
from store.versions import decided_samples


@dataclass(frozen=True)
class Took:
    """CPU-seconds of this process, and seconds of a GPU that it held; 0 where none was used."""

    cpu_s: float
    gpu_s: float

    def each(self, rows: int, images: bool) -> Cost:
        share = max(rows, 1)
        if images or self.gpu_s:
            return Cost(image=self.cpu_s / share, gpu=self.gpu_s / share)
        return Cost(row=self.cpu_s / share)


def recipe_costs(dataset: Dataset, base: CostUnits, scratch: Path) -> dict[str, Cost]:
    """The costs of what ``base`` lacks, by ``key_of``. The source must have its settings from the store."""
    found: dict[str, Cost] = {}
    for number in range(2):
        store = open_store(scratch / f"round-{number}", create=True)
        source, costs = _source(store, dataset, base)
        steps = plan(dataset, source.fingerprint)
        costs |= _columns(store, source, steps, base)
        costs |= _rules(join(store, source, steps, frozenset(), _silent)[0], dataset, base)
        found = costs
    return found


def _source(store: Store, dataset: Dataset, base: CostUnits) -> tuple[StoredSource, dict[str, Cost]]:
    (source, _), took = _timed(lambda: take_in(store, dataset.source, Serial(), _silent))
    if base.of(dataset.source) is not None:
        return source, {}
    rows = int(source.manifest()["rows"])
    written = sum((source.location / "shards" / shard.rows_file).size() for shard in source.shards())
    cost = replace(took.each(rows, images=False), row_bytes=written / max(rows, 1))
    return source, {key_of(dataset.source): cost}


def _columns(store: Store, source: StoredSource, steps: list[Step], base: CostUnits) -> dict[str, Cost]:
    costs, rows = {}, int(source.manifest()["rows"])
    for number, step in enumerate(steps, 1):
        _, took = _timed(lambda some=steps[:number]: make_columns(store, source, some, Serial(), _silent))
        if base.of(step.stage) is None:
            columns = column_set(store, step)
            files = [columns.location / name for name in columns.manifest()["files"]]
            seen = isinstance(step.stage, MapStage) and step.stage.view > View.NONE
            cost = took.each(rows, images=seen)
            costs[key_of(step.stage)] = replace(cost, row_bytes=sum(f.size() for f in files) / max(rows, 1))
    return costs


def _rules(table: SampleTable, dataset: Dataset, base: CostUnits) -> dict[str, Cost]:
    costs = {}
    nobody = pa.nulls(int(table.manifest()["rows"]), pa.string())
    for rule in dataset.select:
        if base.of(rule) is None:
            rows = decided_samples(table, nobody, list(dict.fromkeys(["sample_id", *rule.reads])))
            _, took = _timed(lambda rule=rule, rows=rows: rule.decide(rows))
            costs[key_of(rule)] = took.each(rows.num_rows, images=False)
    return costs


def _timed(work: Callable[[], Any]) -> tuple[Any, Took]:
    import torch

    on_gpu = torch.cuda.is_available()
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
        held = torch.cuda.memory_allocated()
    began, cpu_began = time.monotonic(), time.process_time()
    result = work()
    cpu_s, wall_s = time.process_time() - cpu_began, time.monotonic() - began
    used = on_gpu and torch.cuda.max_memory_allocated() > held
    return result, Took(cpu_s, wall_s if used else 0.0)


def _silent(*_: Any) -> None:
    """Nobody watches."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("file", type=Path)
    parser.add_argument("--store")
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="PATH=VALUE")
    parser.add_argument("--costs", type=Path, default=BUILT_IN)
    options = parser.parse_args()
    dataset = apply_settings(run_recipe(options.recipe, pipelines.recipes), options.settings)
    if options.store:
        dataset = replace(dataset, source=dataset.source.found_in(open_store(options.store)))
    base = read_units(options.costs)
    with tempfile.TemporaryDirectory() as scratch:
        found = recipe_costs(dataset, base, Path(scratch))
    for key, cost in found.items():
        each = f"{cost.row * 1e6:.1f} µs a row" if cost.row else f"{cost.image * 1e3:.2f} ms an image"
        gpu = f", {cost.gpu * 1e3:.2f} ms of a GPU" if cost.gpu else ""
        print(f"{key}: {each}{gpu}, {cost.row_bytes:.0f} bytes a row")
    write_units(options.file, CostUnits(machine(), base.costs | found))


if __name__ == "__main__":
    main()
