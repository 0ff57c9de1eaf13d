"""``python -m tinyworld``: draws scenes and crawls, serves them, trains the tiny models, judges pipelines."""

from __future__ import annotations

import argparse
import json
import sys
import threading
from pathlib import Path

from store.errors import MashbillError, UsageError
from tinyworld.crawl import DEFAULT_BASE_URL, DEFAULT_PORT, make_crawl
from tinyworld.gallery import draw_gallery
from tinyworld.kinds import MIN_SAMPLES
from tinyworld.server import CrawlServer
from tinyworld.train import NAMES


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tinyworld",
        description="A drawn world and a crawl of it, as bad as the web.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    make = commands.add_parser("make", help="draw a crawl: FOLDER/www and FOLDER/crawl.parquet")
    make.add_argument("folder", type=Path, metavar="FOLDER", help="where to write it")
    make.add_argument("--samples", type=int, default=2000, help=f"rows, {MIN_SAMPLES} or more (default 2000)")
    make.add_argument("--seed", type=int, default=0, help="another seed, another crawl (default 0)")
    make.add_argument(
        "--base-url", default=DEFAULT_BASE_URL, help=f"where it will be served ({DEFAULT_BASE_URL})"
    )
    make.add_argument("--workers", type=int, default=2, help="processes that draw (default 2)")
    gallery = commands.add_parser("draw", help="draw scenes with true captions: NAME.jpg and NAME.txt")
    gallery.add_argument("folder", type=Path, metavar="FOLDER", help="a new folder")
    gallery.add_argument("--samples", type=int, default=30_000, help="scenes (default 30000)")
    gallery.add_argument("--size", type=int, default=256, help="pixels of both sides (default 256)")
    gallery.add_argument("--seed", type=int, default=0, help="of the first scene (default 0)")
    gallery.add_argument("--workers", type=int, default=2, help="processes that draw (default 2)")
    start = commands.add_parser("start", help="an untrained text-to-image pipeline, to be trained by distill")
    start.add_argument("family", choices=("unet", "pixart", "sd3"))
    start.add_argument("folder", type=Path, metavar="FOLDER", help="where to write it")
    start.add_argument("--seed", type=int, default=0, help="of its random weights (default 0)")
    serve = commands.add_parser("serve", help="serve FOLDER/www on 127.0.0.1 until interrupted")
    serve.add_argument("folder", type=Path, metavar="FOLDER", help="a folder that make has written")
    serve.add_argument(
        "--port", type=int, default=DEFAULT_PORT, help=f"0: any free one (default {DEFAULT_PORT})"
    )
    train = commands.add_parser("train", help="train one of the tiny models from a seed")
    train.add_argument("name", choices=NAMES, metavar="NAME", help=", ".join(NAMES))
    train.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="a new folder for the model")
    train.add_argument("--steps", type=int, help="optimizer steps (default: as the shipped model had)")
    train.add_argument("--seed", type=int, default=0, help="another seed, other weights (default 0)")
    train.add_argument("--cache", type=Path, metavar="FOLDER", help="keep drawn images for the next training")
    judge = commands.add_parser("judge", help="how well a text-to-image pipeline draws what it is asked for")
    judge.add_argument("pipeline", metavar="PIPELINE", help="a folder or hub id that diffusers loads")
    judge.add_argument("--scenes", type=int, default=200, help="scenes to describe to it (default 200)")
    judge.add_argument("--steps", type=int, default=25, help="of its sampler (default 25)")
    judge.add_argument("--guidance-scale", type=float, default=3.0, help="1: none (default 3)")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run one command; 0 done, 1 failed, 2 wrong usage, 130 interrupted."""
    options = _parser().parse_args(arguments)
    try:
        if options.command == "make":
            crawl = make_crawl(
                options.folder, options.samples, options.seed, options.base_url, options.workers
            )
            print(f"{crawl.table}: {crawl.samples} rows, to be served at {crawl.base_url}")
        elif options.command == "draw":
            draw_gallery(options.folder, options.samples, options.size, options.seed, options.workers)
            print(f"{options.folder}: {options.samples} scenes of {options.size}x{options.size} pixels")
        elif options.command == "start":
            from tinyworld.train.pipelines import write_untrained  # imports torch and diffusers: seconds

            write_untrained(options.family, options.folder, options.seed)
            print(f"{options.folder}: an untrained {options.family} pipeline")
        elif options.command == "train":
            from tinyworld.train.jobs import run  # torch is wanted here and nowhere else

            print(run(options.name, options.out, options.steps, options.seed, options.cache))
        elif options.command == "judge":
            from tinyworld.train.judge import judge

            found = judge(options.pipeline, options.scenes, options.steps, options.guidance_scale)
            print(json.dumps({name: round(value, 4) for name, value in found.items()}))
        else:
            _serve(options.folder, options.port)
    except MashbillError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


def _serve(folder: Path, port: int) -> None:
    if not (folder / "www").is_dir():
        raise UsageError(f"{folder} holds no crawl; make one: python -m tinyworld make {folder}")
    with CrawlServer(folder, port) as server:
        print(f"serving {folder} at {server.base_url}; stop with Ctrl-C", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    sys.exit(main())
