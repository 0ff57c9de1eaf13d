"""``python -m tinyworld make FOLDER`` and ``python -m tinyworld serve FOLDER``."""

from __future__ import annotations

import argparse
import sys
import threading
from pathlib import Path

from store.errors import MashbillError, UsageError
from tinyworld.crawl import DEFAULT_BASE_URL, DEFAULT_PORT, make_crawl
from tinyworld.kinds import MIN_SAMPLES
from tinyworld.server import CrawlServer


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
    serve = commands.add_parser("serve", help="serve FOLDER/www on 127.0.0.1 until interrupted")
    serve.add_argument("folder", type=Path, metavar="FOLDER", help="a folder that make has written")
    serve.add_argument(
        "--port", type=int, default=DEFAULT_PORT, help=f"0: any free one (default {DEFAULT_PORT})"
    )
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
