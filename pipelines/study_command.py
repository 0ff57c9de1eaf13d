"""``mashbill study create|serve|report``: preference studies with people."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from store.errors import MashbillError, UsageError
from store.store import open_store

STEPS = ("create", "serve", "report")


def study_options(study: argparse.ArgumentParser) -> None:
    """Declare what ``mashbill study`` takes."""
    study.add_argument("step", choices=STEPS, help="make one, let people vote, say what came of it")
    study.add_argument("name", help="the study's name")
    made = study.add_argument_group("create")
    made.add_argument(
        "--preset", metavar="DESIGN", help="edgefusion, imagine-flash, sd35-flash, or FILE.py:F"
    )
    made.add_argument(
        "--model",
        action="append",
        default=[],
        metavar="LABEL=WHERE",
        help="a folder of images, a DATASET[@VERSION] or a RUN/ID; two or more",
    )
    made.add_argument("--prompts", metavar="FILE", help="the prompts by number; .txt, .jsonl, .csv, .parquet")
    made.add_argument("--seed", type=int, help="of everything that is drawn (random)")
    made.add_argument(
        "--set", dest="settings", action="append", default=[], metavar="PATH=VALUE", help="change the design"
    )
    made.add_argument("--yes", action="store_true", help="make it without asking")
    served = study.add_argument_group("serve")
    served.add_argument("--host", default="127.0.0.1", help="address to listen at (127.0.0.1)")
    served.add_argument("--port", type=int, default=8421, help="0 is any free one (8421)")
    served.add_argument("--allow-remote", default="", metavar="URL", help="where others reach the server")
    served.add_argument("--invite", type=int, default=0, metavar="N", help="print links for N more people")
    served.add_argument(
        "--database", default="", metavar="URL", help="postgresql://... (a file of the store)"
    )
    study.add_argument("--json", action="store_true", help="one JSON object on stdout (create, report)")


def run_study(options: argparse.Namespace) -> None:
    """Do one step of a study."""
    {"create": _create, "serve": _serve, "report": _report}[options.step](options)


def _create(options: argparse.Namespace) -> None:
    import curation_ui.study.presets as presets
    from curation_ui.study.create import make_study, new_seed, plan_study
    from curation_ui.study.design import EXAMPLE, Design, study_at
    from curation_ui.study.models import read_model, read_prompts
    from pipelines.recipe import run_recipe
    from pipelines.settings import apply_settings

    store = open_store(options.store, create=True)
    study = study_at(store, options.name)
    if study.exists:
        raise MashbillError(f"there is a study {study.name!r} already, and it is frozen. Take another name.")
    if not options.preset:
        raise UsageError(f"which design? Give --preset: {EXAMPLE}")
    design = run_recipe(options.preset, presets)
    if not isinstance(design, Design):
        raise UsageError(f"{options.preset} returned {type(design).__name__}, expected a study Design")
    design = apply_settings(design, options.settings)
    prompts = read_prompts(options.prompts) if options.prompts else None
    models = [read_model(store, text, prompts) for text in options.model]
    plan = plan_study(design, models, new_seed() if options.seed is None else options.seed)
    for line in wizard(plan):
        print(line, file=sys.stderr if options.json else sys.stdout)
    if not options.yes and not _agreed():
        raise MashbillError("nothing was made: answer y, or give --yes")
    record = make_study(study, plan)
    if options.json:
        print(json.dumps(record))
        return
    if record["broken"]:
        print(f"{record['broken']} pairs were left out: an image of theirs cannot be decoded")
    print(f"study {study.name} is frozen as {record['digest']}, with {record['pairs']} pairs")
    print(f"let people vote: mashbill study serve {study.name} --store {options.store}")


def _agreed() -> bool:
    if not sys.stdin.isatty():
        return False
    return input("Freeze this design and make the study? [y/N] ").strip().lower() in ("y", "yes")


def wizard(plan: Any) -> list[str]:
    """What a study would ask and could show, a line each."""
    labels = [model.label for model in plan.models]
    design, found = plan.design, plan.comparison
    met = sorted({(pair.a, pair.b) for pair in plan.pairs})
    lines = [f"{design.name}: {', '.join(q.name for q in design.questions)}; seed {plan.seed}"]
    for entry in plan.missing:
        pairs = sum((pair.a, pair.b) == (entry.a, entry.b) for pair in plan.pairs)
        apart = f"; without a counterpart: {entry.only_a} and {entry.only_b}"
        none = apart if entry.only_a or entry.only_b else ""
        lines.append(f"  {labels[entry.a]} against {labels[entry.b]}: {pairs} pairs of images{none}")
    lines += [
        f"  prompts           {plan.prompts}",
        f"  votes             {plan.votes}: {found.votes} for each of {len(met)} comparisons and "
        f"{len(design.questions)} questions",
        f"  expected interval +-{100 * found.half_width:.1f} points of win rate, +-{found.elo:.0f} Elo "
        f"(design effect {found.effect:.1f})",
        f"  people's time     {plan.hours:.1f} hours at 5 s a vote, with known answers and retests",
    ]
    return lines


def _serve(options: argparse.Namespace) -> None:
    from curation_ui.study.design import study_at
    from curation_ui.study.serve import serve_study
    from curation_ui.study.server import StudySettings
    from pipelines.curate_command import allowed_hosts

    study = study_at(open_store(options.store), options.name)
    hosts, url = allowed_hosts(options.host, options.allow_remote), options.allow_remote.rstrip("/")
    settings = StudySettings(study, options.database, hosts, url.startswith("https:"), url)
    serve_study(settings, options.host, options.port, options.invite)


def _report(options: argparse.Namespace) -> None:
    from curation_ui.study.design import study_at
    from curation_ui.study.report import write_report

    study = study_at(open_store(options.store), options.name)
    result, files = write_report(study, options.database)
    if options.json:
        print(json.dumps(result))
        return
    for path in files:
        print(path)
