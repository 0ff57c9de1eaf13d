"""The grid over many images in a real browser on a real server: frames, jumps, filters, batches.

    python -m benchmarks.curation_grid SAMPLES --store DIR [--chromium /usr/bin/chromium]

Writes a store of invented samples (rows and columns, one picture for all) into DIR unless it is there
already: 10^6 take about a quarter of an hour, once. Frames are the times between animation frames;
a jump is from the key to the first frame in which the image stands there, focused. Goals: frames p95
<= 50 ms, no task over 100 ms, jump <= 150 ms, <= 400 elements, a new filter and order p95 <= 500 ms,
a batch of 100,000 and its undo <= 2 s each.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import Page, sync_playwright

from benchmarks.large_version import Invented, fill
from pipelines.build import build
from pipelines.executors import Serial
from pipelines.recipes.l_pp import l_pp
from stages.pack.pack import Pack
from store.store import Store, open_store

SHARD_ROWS = 50_000
WHEELS, JUMPS, QUERIES, MOST_BATCH = 60, 12, 12, 100_000
ASKED = (("width:>=512", "-sharpness"), ("verdict:none red", "width"), ("NOT dog", "-height"), ("", "-width"))
WATCH = """() => {
  window.frames = []; window.tasks = []; let last = 0;
  const tick = (now) => { if (last) frames.push(now - last); last = now; requestAnimationFrame(tick); };
  requestAnimationFrame(tick);
  new PerformanceObserver((list) => tasks.push(...list.getEntries().map((one) => one.duration)))
    .observe({type: 'longtask'});
}"""
JUMP = """([key, label]) => new Promise((resolve) => {
  const began = performance.now();
  const look = () => {
    const at = document.activeElement;
    if ((at.getAttribute('aria-label') ?? '').startsWith(label)) resolve(performance.now() - began);
    else if (performance.now() - began > 5000) resolve(Infinity);
    else requestAnimationFrame(look);
  };
  document.activeElement.dispatchEvent(new KeyboardEvent('keydown', {key, bubbles: true, cancelable: true}));
  requestAnimationFrame(look);
})"""
ASK = """async ([path, body]) => {
  const began = performance.now();
  const headers = {'Content-Type': 'application/json'};
  const answer = await fetch(path, body && {method: 'POST', headers, body});
  const text = await answer.text();
  return [performance.now() - began, answer.status, text];
}"""


def prepared(folder: Path, samples: int) -> Store:
    """The store, written where it is not there yet."""
    there = (folder / "datasets").exists()
    store = open_store(str(folder), create=not there)
    if not there:
        dataset = replace(l_pp(), source=Invented(samples, SHARD_ROWS), pack=Pack(resolutions=()), select=())
        fill(store, dataset)
        build(store, dataset, Serial(), lambda *_: None)
    return store


@contextlib.contextmanager
def serving(store: Store) -> Iterator[str]:
    """A server in a process of its own; the link to enter with."""
    command = [sys.executable, "-m", "pipelines", "curate", "l-pp", "--store", store.url, "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        line = server.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+/enter#\S+", line)
        if found is None:
            raise SystemExit(f"the server said {line!r}, and no link")
        yield found.group(0)
    finally:
        server.terminate()
        server.wait(120)


def told(what: str, values: list[float], goal: str) -> None:
    found = np.array(values)
    p50, p95 = np.percentile(found, [50, 95])
    print(f"{what:<34} p50 {p50:8.1f}  p95 {p95:8.1f}  max {found.max():8.1f} ms   goal {goal}", flush=True)


def scroll(page: Page) -> None:
    """Frames while the wheel turns and while a key is held, each with nothing else to do."""
    page.locator("#grid-scroller").hover()
    page.evaluate(WATCH)
    for step in range(WHEELS):
        page.mouse.wheel(0, 300 if step % 20 < 15 else 3000)
        page.wait_for_timeout(16)
    told(f"frames, wheel ({WHEELS} steps)", page.evaluate("frames.splice(0)"), "p95 <= 50")
    page.locator(".cell[tabindex='0']").focus()
    for _ in range(WHEELS):
        page.keyboard.press("ArrowDown")
        page.wait_for_timeout(16)
    told(f"frames, arrow down ({WHEELS})", page.evaluate("frames.splice(0)"), "p95 <= 50")
    for step in range(WHEELS):
        page.evaluate(f"document.getElementById('grid-scroller').scrollTop = {step * 130_000 % 7_900_000}")
        page.wait_for_timeout(16)
    told(f"frames, scrollbar ({WHEELS} jumps)", page.evaluate("frames.splice(0)"), "p95 <= 50")
    tasks = page.evaluate("tasks")
    print(f"tasks over 50 ms: {len(tasks)}, longest {max(tasks, default=0):.0f} ms   goal none over 100")


def jump(page: Page, count: int) -> None:
    page.locator(".cell[tabindex='0']").focus()
    keys = [("End", f"{count:,} of "), ("Home", "1 of ")] * (JUMPS // 2)
    told("jump to the last and the first", [page.evaluate(JUMP, list(one)) for one in keys], "<= 150")


def asked(page: Page, path: str, body: dict[str, Any]) -> tuple[float, dict[str, Any]]:
    took, status, text = page.evaluate(ASK, [path, json.dumps(body)])
    if status != 200:
        raise SystemExit(f"{path} answered {status}: {text}")
    return float(took), json.loads(text)


def queries(page: Page) -> None:
    made, pages = [], []
    for step in range(QUERIES):
        query, sort = ASKED[step % len(ASKED)]
        took, found = asked(page, "/api/snapshots", {"query": query, "sort": sort})
        made.append(took)
        start = found["count"] // 2
        path = f"/api/snapshots/{found['snapshot']}/cards?start={start}&count=64"
        pages.append(page.evaluate(ASK, [path, None])[0])
        page.wait_for_timeout(200)
    told("new filter and order", made, "p95 <= 500")
    told("64 cards in its middle", pages, "p95 <= 100")


def batch(page: Page, count: int) -> None:
    _, made = asked(page, "/api/snapshots", {})
    size = min(MOST_BATCH, count)
    body = {"snapshot": made["snapshot"], "stop": size, "kind": "reject", "uuid": f"bench-{time.time_ns()}"}
    took, found = asked(page, "/api/batch", {**body, "preview": True})
    print(f"preview of {size:,}: {took:,.0f} ms, {found['changes']:,} change")
    took, _ = asked(page, "/api/batch", body)
    back, _ = asked(page, "/api/undo", {"uuid": f"undo-{time.time_ns()}"})
    print(f"batch of {size:,}: {took:,.0f} ms; its undo: {back:,.0f} ms   goal <= 2,000 each")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("samples", type=int)
    parser.add_argument("--store", type=Path)
    parser.add_argument("--chromium", default=shutil.which("chromium") or "/usr/bin/chromium")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        scratch = stack.enter_context(tempfile.TemporaryDirectory())
        store = prepared(options.store or Path(scratch, "store"), options.samples)
        link = stack.enter_context(serving(store))
        playwright = stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch(executable_path=options.chromium, args=["--no-sandbox"])
        page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
        page.goto(link)
        page.wait_for_url("**/review")
        began = time.monotonic()
        page.goto(link.partition("/enter")[0] + "/grid")
        page.wait_for_selector(".cell.loaded", timeout=120_000)
        count = int(page.locator("#where").inner_text().split()[-1].replace(",", ""))
        print(f"{count:,} images; first image of the grid after {time.monotonic() - began:.2f} s")
        scroll(page)
        jump(page, count)
        heap = page.context.new_cdp_session(page).send("Runtime.getHeapUsage")["usedSize"] / 2**20
        elements = page.evaluate("document.querySelectorAll('*').length")
        print(f"{elements} elements (goal <= 400), {heap:.1f} MiB of JavaScript")
        queries(page)
        batch(page, count)
        print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
        browser.close()


if __name__ == "__main__":
    main()
