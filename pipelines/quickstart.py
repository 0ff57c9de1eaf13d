"""The whole way on the tiny world: crawl, download, two datasets, a pack, a training run, a report."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipelines.build import build
from pipelines.distill import distill
from pipelines.executors import local_executor
from pipelines.progress import Watch
from pipelines.recipes.l_orig import l_orig
from pipelines.recipes.l_pp import l_pp
from pipelines.summary import print_build
from pipelines.truth import measure
from stages.pack.pack import Pack
from stages.source.download import Fetch
from stages.source.metadata import Metadata
from store.errors import MashbillError
from store.store import Store, open_store
from store.versions import find_version
from tinyworld.crawl import Crawl, make_crawl
from tinyworld.server import CrawlServer

PORT = 8417
"""Fixed, so that the URLs, and with them every id and version, are the same on every machine."""
SHARD = 750
"""Rows per shard: each shard starts the downloader, and that takes seconds."""


def quickstart(store_url: str, samples: int, workers: int) -> None:
    """Run every step and print where to look. Everything that is there already is reused."""
    started = time.monotonic()
    store = open_store(store_url, create=True)
    if not store.root.local:
        raise MashbillError("quickstart works in a local folder; give --store a path")
    world = Path(store.root.path) / "tinyworld" / f"crawl-{samples}"
    print(f"1. drawing a crawl of {samples} rows as bad as the web: {world}")
    if not (world / "crawl.parquet").exists():
        make_crawl(world, samples, base_url=f"http://127.0.0.1:{PORT}", workers=max(workers, 1))
    crawl = Crawl(world, f"http://127.0.0.1:{PORT}", samples)
    with CrawlServer(world, PORT):
        source = crawl_source(crawl)
        for number, recipe in ((2, l_orig), (3, l_pp)):
            dataset = replace(recipe(), source=source, pack=Pack(resolutions=(256,), samples_per_shard=250))
            print(f"{number}. building {dataset.name}")
            with Watch(store, dataset.name) as watch:
                result = build(store, dataset, local_executor(workers), watch)
            print_build(store, result)
    print("4. finetuning the tiny world's UNet on the pack of l-pp")
    run = distill(store, "finetune-tiny", [])
    _print_end(store, run, time.monotonic() - started)


def crawl_source(crawl: Crawl) -> Metadata:
    """The crawl as it is downloaded: with short patience for a local server, and of private addresses only
    the crawl's own."""
    fetch = Fetch(timeout_s=2.0, deadline_s=4.0, attempts=2, allow_private=crawl.allow_private)
    return Metadata(path=str(crawl.table), shard_size=SHARD, fetch=fetch)


def _print_end(store: Store, run: dict[str, Any], seconds: float) -> None:
    version = find_version(store, "l-pp")
    _print_measured(measure(version.samples()))
    print(f"done in {seconds:.0f} s. Look at:")
    print(f"  the report       {(version.location / 'report' / 'index.html').url}")
    print(f"  the loss curve   {run['folder']}/curves.png")
    print(f"  what it draws    {run['folder']}/samples.png")
    print(f"  the model        {run['folder']}/model (a stock diffusers pipeline, with its card)")
    print(f"go through the dataset by hand: mashbill curate l-pp --store {store.url}")


def _print_measured(measured: dict[str, Any] | None) -> None:
    """How the build did against what the makers of the crawl know."""
    if measured is None:
        return
    pairs, pictures = measured["duplicates"], measured["pictures"]
    print("measured against the truth of the crawl:")
    print(f"  copies           precision {pairs['precision']:.3f}, recall {pairs['recall']:.3f}")
    print(f"  pictures         {pictures['once']} of {pictures['total']} in the dataset exactly once")
    print(f"  drop reasons     {measured['reasons']['agreed_by_picture']:.3f} as they should be")
    if measured["crop"]:
        print(f"  subjects kept    {measured['crop']['mean_kept']:.3f} of their area, with centre crops")
