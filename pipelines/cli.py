"""The ``mashbill`` command.

Exit codes: 0 done; 1 failed, with one clear message; 2 wrong usage or recipe; 130 interrupted.
Progress goes to stderr; what a machine reads goes to stdout.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

from pipelines.curate_command import curate_options, run_curate
from pipelines.plan_command import plan_options
from pipelines.study_command import run_study, study_options
from pipelines.trigger_options import trigger_options
from pipelines.unexpected import explained
from store.errors import MashbillError
from store.store import open_store

DEFAULT_STORE = "mashbill-store"
WORKERS = os.cpu_count() or 1

EXAMPLES = """examples:
  mashbill quickstart
  mashbill build l-pp --store data --set source.path=laion.parquet --set source.url_column=URL
  mashbill build l-pp --store data --set source.kind=folder --set source.path=photos --set min_side=400
  mashbill build ours.py:ours --store data --dry-run
  mashbill build l-pp --store s3://bucket/data --ray 10.0.0.1:6379 --max-failed-shards 3
  mashbill plan l-pp --samples 1000000 --image-bytes 150000 --cpus 64
  mashbill datasets --store data
  mashbill show l-pp --store data
  mashbill explain l-pp@4f9a 0f3b --store data
  mashbill verify l-pp --store data
  mashbill export l-pp packs --as webdataset --store data
  mashbill curate synt --store data
  mashbill curate synt --store data --votes 2 --tokens clip=tinyworld/models/clip-text:77
  mashbill study create duel --preset sd35-flash --model student=out/few --model teacher=out/many --store data
  mashbill study serve duel --store data --invite 12
  mashbill study report duel --store data
  mashbill distill finetune-tiny --store data --set steps=200
  mashbill distill finetune-tiny/3f0a --store data
  mashbill runs --store data
  mashbill runs l-pp@4f9a --store data
  mashbill trigger add finetune-tiny --store data --set steps=200
  mashbill trigger list --store data
  mashbill trigger --watch --slots 2 --store data
  mashbill trigger --listen 127.0.0.1:8418 --store data
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except MashbillError as error:
        print(f"mashbill: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("mashbill: interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output left, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        print(f"mashbill: {explained(error)}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mashbill",
        description="Turns a web crawl into the training sets that few-step students need.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    add = _adder(commands)
    quick = add("quickstart", _quickstart, "a small crawl from URL list to training run, with a report")
    quick.add_argument(
        "--samples", type=int, default=1500, help="rows of the crawl, 100 or more (default 1500)"
    )

    built = add("build", _build, "build a dataset version from a recipe")
    built.add_argument("recipe", help="l-orig, l-pp, ... or path/to/file.py:function")
    _settable(built)
    built.add_argument("--workers", type=_count, default=WORKERS, help=f"processes here (default {WORKERS})")
    built.add_argument(
        "--resources",
        action="append",
        default=[],
        metavar="STAGE=NAME:AMOUNT,...",
        help="what a stage holds on a cluster: cpu, gpu, memory_gb or a resource of the cluster's own",
    )
    built.add_argument(
        "--max-failed-shards",
        type=_number,
        default=0,
        metavar="N",
        help="image shards that may be left out when no try gets through them (0)",
    )
    built.add_argument("--dry-run", action="store_true", help="say what would be made, make nothing")
    _json(built)

    plan_options(add("plan", _plan, "what a build will cost: CPU-hours, bytes, memory, wall time"))
    _json(add("datasets", _datasets, "list the datasets of a store"))
    for name, run, what in (
        ("show", _show, "one version: where it came from, what was dropped and why"),
        ("verify", _verify, "hash everything a version stands on again"),
    ):
        shown = add(name, run, what)
        shown.add_argument("name", help="NAME or NAME@VERSION")
        _json(shown)

    told = add("explain", _explain, "one sample's whole story")
    told.add_argument("name", help="NAME or NAME@VERSION")
    told.add_argument("sample_id", help="the id, or its first characters")
    _json(told)

    out = add("export", _export, "write a version to a folder")
    out.add_argument("name", help="NAME or NAME@VERSION")
    out.add_argument("folder")
    out.add_argument("--as", dest="form", choices=("parquet", "webdataset"), required=True)

    study_options(add("study", run_study, "people say which of two models' images is better"))
    curate_options(add("curate", run_curate, "people go through a version's samples, in a browser"))

    trained = add("distill", _distill, "train on a pack")
    trained.add_argument("recipe", help="finetune-tiny, ..., path/to/file.py:function, or NAME/ID of a run")
    _settable(trained)
    trained.add_argument("--ranks", type=_count, default=1, metavar="N", help="processes on Ray (1)")
    trained.add_argument("--gpus", action="store_true", help="a GPU for each of them")
    trained.add_argument("--queued", action="store_true", help="only where the run waits in the queue")
    _json(trained)

    listed = add("runs", _runs, "list training runs; of one, all it stands on")
    listed.add_argument("name", nargs="?", help="NAME or NAME@VERSION of a dataset, or NAME/ID of a run")
    _json(listed)
    trigger_options(add("trigger", _trigger, "start runs when a dataset has a new version"))
    return parser


def _adder(commands: Any) -> Callable[[str, Callable[..., None], str], argparse.ArgumentParser]:
    def add(name: str, run: Callable[..., None], what: str) -> argparse.ArgumentParser:
        mine = [line for line in EXAMPLES.splitlines() if line.startswith(f"  mashbill {name}")]
        command: argparse.ArgumentParser = commands.add_parser(
            name,
            help=what,
            description=what[0].upper() + what[1:] + ".",
            epilog="\n".join(["examples:", *mine]),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.add_argument("--store", default=DEFAULT_STORE, help=f"folder or URL ({DEFAULT_STORE})")
        command.set_defaults(run=run)
        return command

    return add


def _settable(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--set", dest="settings", action="append", default=[], metavar="PATH=VALUE", help="change one field"
    )
    command.add_argument(
        "--ray",
        default="off",
        metavar="off|local|ADDRESS",
        help="where it runs (off); http://HOST:8265: as a job there",
    )


def _json(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="one JSON object on stdout")


def _number(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text}: expected 0 or more")
    return int(text)


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected 1 or more")
    return int(text)


def _build(options: argparse.Namespace) -> None:
    from pipelines.build_command import run_build

    run_build(options)


def _plan(options: argparse.Namespace) -> None:
    from pipelines.plan_command import run_plan

    run_plan(options)


def _quickstart(options: argparse.Namespace) -> None:
    from pipelines.quickstart import quickstart

    quickstart(options.store, options.samples, WORKERS)


def _datasets(options: argparse.Namespace) -> None:
    from pipelines.summary import datasets_summary, print_datasets

    result = datasets_summary(open_store(options.store))
    print(json.dumps({"datasets": result})) if options.json else print_datasets(result)


def _show(options: argparse.Namespace) -> None:
    from pipelines.summary import print_activity, print_version
    from store.activity import Activity
    from store.versions import NAME, find_version, list_datasets

    store = open_store(options.store)
    dataset = options.name.partition("@")[0].replace("_", "-")
    building = Activity(store, dataset).heard() if re.fullmatch(NAME, dataset) else None
    if building and not options.json:
        print_activity(dataset, building)
    if building and dataset not in list_datasets(store):
        manifest = {"dataset": dataset, "version": None}
    else:
        version = find_version(store, options.name)
        manifest = version.manifest()
        if not options.json:
            print_version(store, version, manifest)
    if options.json:
        print(json.dumps(manifest | ({"building": building} if building else {})))


def _verify(options: argparse.Namespace) -> None:
    from store.versions import find_version, verify

    store = open_store(options.store)
    version = find_version(store, options.name)
    problems = verify(store, version)
    result = {"dataset": version.dataset, "version": version.version, "problems": problems}
    if options.json:
        print(json.dumps(result))
    if problems:
        listed = "\n  ".join(problems)
        raise MashbillError(
            f"{version.dataset}@{version.version} is not as committed:\n  {listed}\n"
            "What is missing from the version itself, a build makes again. Otherwise remove the folder of "
            "the version, the column set or the source that is named, and build."
        )
    if not options.json:
        print(f"{version.dataset}@{version.version}: every file is as it was committed")


def _explain(options: argparse.Namespace) -> None:
    from pipelines.explain import explain, print_story
    from store.versions import find_version

    store = open_store(options.store)
    story = explain(store, find_version(store, options.name), options.sample_id)
    print(json.dumps(story)) if options.json else print_story(story)


def _export(options: argparse.Namespace) -> None:
    from pipelines.export import export
    from store.versions import find_version

    version = find_version(open_store(options.store), options.name)
    for path in export(version, options.folder, options.form):
        print(path)


def _distill(options: argparse.Namespace) -> None:
    from pipelines.distill_command import run_distill

    run_distill(options)


def _runs(options: argparse.Namespace) -> None:
    from pipelines.runs_command import run_runs

    run_runs(options)


def _trigger(options: argparse.Namespace) -> None:
    from pipelines.trigger_command import run_trigger

    run_trigger(options)


if __name__ == "__main__":
    sys.exit(main())
