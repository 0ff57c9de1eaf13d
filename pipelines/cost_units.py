"""What one shard, row, image, byte and pixel cost, as ``python -m benchmarks.unit_costs`` measured it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

from stages.stage import MapStage, Reduction, SelectStage, Source, View
from store.errors import UsageError

BUILT_IN = Path(__file__).with_name("cost_units.json")
VIEWS = {view: f"view {view.name.lower()}" for view in View if view > View.NONE}
WORK = ("start", "pass", "commit", "complete", "select", "pack shard", "pack row", "pack image")
"""What every build does beside its stages:

``start``: the process and the report. ``pass``: shards and rows of a map pass, nothing decoded.
``commit``: one column file of one shard. ``complete``: a source's shards are joined and ids that repeat
are found. ``select``: the table of all samples, the rules' place in it, and the version.
``pack row``: listing what is packed. ``pack shard``: shards of a pack, and scaling, by the pixels of the
source. ``pack image``: encoding, by the pixels that are written.
"""


@dataclass(frozen=True)
class Amount:
    """How much there is to do. ``bytes`` and ``pixels`` are those of all images together."""

    shards: float = 0.0
    rows: float = 0.0
    images: float = 0.0
    bytes: float = 0.0
    pixels: float = 0.0


@dataclass(frozen=True)
class Cost:
    """CPU-seconds of each unit; ``once`` in a build. ``gpu``: GPU-seconds of each image.

    ``row_bytes`` are written for each row, ``pixel_bytes`` for each pixel, ``row_memory`` bytes held
    for each row while the work runs.
    """

    once: float = 0.0
    shard: float = 0.0
    row: float = 0.0
    image: float = 0.0
    byte: float = 0.0
    pixel: float = 0.0
    gpu: float = 0.0
    row_bytes: float = 0.0
    pixel_bytes: float = 0.0
    row_memory: float = 0.0

    def cpu_s(self, amount: Amount) -> float:
        linear = self.shard * amount.shards + self.row * amount.rows + self.image * amount.images
        return self.once + linear + self.byte * amount.bytes + self.pixel * amount.pixels

    def written(self, amount: Amount) -> float:
        """Bytes."""
        return self.row_bytes * amount.rows + self.pixel_bytes * amount.pixels


@dataclass(frozen=True)
class CostUnits:
    """Costs by name (``VIEWS``, ``WORK``, ``key_of``), and the machine on which they were measured."""

    machine: dict[str, Any]
    costs: dict[str, Cost]

    def of(self, part: MapStage | Reduction | SelectStage | Source) -> Cost | None:
        """The cost of a stage, rule or source; None where it was not measured."""
        return self.costs.get(key_of(part))


def key_of(part: MapStage | Reduction | SelectStage | Source) -> str:
    """Names a stage by its class and version, its scorer and the models it asks, and those of its lists that
    are empty by default and hold something: other work costs other time."""
    words = [f"{type(part).__module__}.{type(part).__qualname__}", str(getattr(part, "version", 1))]
    scorer = getattr(part, "scorer", None)
    if scorer is not None:
        words.append(getattr(scorer, "kind", type(scorer).__name__))
    models = (getattr(one, "model", "") for one in (part, scorer, getattr(part, "chat", None)))
    words += [model for model in models if model]
    if is_dataclass(part):
        words += [f.name for f in fields(part) if f.default == () and getattr(part, f.name)]
    return " ".join(words)


def read_units(path: Path = BUILT_IN) -> CostUnits:
    """The costs in a file that ``benchmarks.unit_costs`` wrote.

    Raises:
        UsageError: no such file, or something else is in it.
    """
    try:
        found = json.loads(path.read_text("utf-8"))
        costs = {name: Cost(**values) for name, values in found["costs"].items()}
        machine = dict(found["machine"])
    except OSError as error:
        raise UsageError(f"--costs {path}: {error.strerror}. {_MAKE}") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UsageError(f"--costs {path}: not a file of unit costs ({error}). {_MAKE}") from error
    lacking = [name for name in (*VIEWS.values(), *WORK) if name not in costs]
    wrong = [name for name, cost in costs.items() if not all(map(_is_cost, asdict(cost).values()))]
    if lacking or wrong:
        what = f"has no cost of {lacking[0]!r}" if lacking else f"{wrong[0]!r} has a cost that is no number"
        raise UsageError(f"--costs {path}: {what}. {_MAKE}")
    return CostUnits(machine, costs)


_MAKE = "Make one: python -m benchmarks.unit_costs FILE"


def _is_cost(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf")


def write_units(path: Path, units: CostUnits) -> None:
    """The file that ``read_units`` reads; costs of zero are left out."""
    names = [field.name for field in fields(Cost)]
    costs = {
        key: {name: getattr(cost, name) for name in names if getattr(cost, name)}
        for key, cost in sorted(units.costs.items())
    }
    text = json.dumps({"machine": units.machine, "costs": costs}, indent=1, ensure_ascii=False)
    path.write_text(text + "\n", "utf-8")
