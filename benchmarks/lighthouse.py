"""What Lighthouse says of every page of the curation app.

    npm install --prefix FOLDER lighthouse
    python -m benchmarks.lighthouse NAME --store STORE --lighthouse FOLDER/node_modules/.bin/lighthouse

Starts `mashbill curate` on a free port, enters, and runs Lighthouse's desktop preset in Debian's Chromium on
each page: performance, accessibility and best practices, of 100. Work on a copy of the store: this enters as
a person.
"""

from __future__ import annotations

import argparse
import http.client
import json
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

PAGES = ("review", "grid", "clusters", "map", "overview", "people")
CATEGORIES = ("performance", "accessibility", "best-practices")
TIMEOUT_S = 180


def audit(lighthouse: str, url: str, cookie: str) -> dict[str, float]:
    """The score of each category, 0 to 100."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "report.json"
        options = ["--preset=desktop", "--output=json", f"--output-path={out}", "--quiet"]
        options += ["--chrome-path=/usr/bin/chromium", "--chrome-flags=--headless --no-sandbox --disable-gpu"]
        options += ["--extra-headers", json.dumps({"Cookie": cookie})]
        options += [f"--only-categories={','.join(CATEGORIES)}"]
        subprocess.run([lighthouse, url, *options], check=True, capture_output=True, timeout=TIMEOUT_S)
        found = json.loads(out.read_text("utf-8"))["categories"]
    return {name: 100 * found[name]["score"] for name in CATEGORIES}


def entered(port: int, token: str) -> str:
    """The cookie of somebody who used the link."""
    headers = {"Content-Type": "application/json", "Sec-Fetch-Site": "same-origin"}
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("POST", "/api/enter", json.dumps({"token": token, "name": "Lighthouse"}), headers)
    return str(connection.getresponse().getheader("Set-Cookie")).split(";")[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("name")
    parser.add_argument("--store", required=True)
    parser.add_argument("--lighthouse", required=True)
    options = parser.parse_args()
    line = [
        sys.executable,
        "-m",
        "pipelines",
        "curate",
        options.name,
        "--store",
        options.store,
        "--port",
        "0",
    ]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as server:
        try:
            said = server.stdout.readline() if server.stdout else ""
            link = re.search(r"http://127\.0\.0\.1:(\d+)/enter#(\S+)", said)
            if link is None:
                raise SystemExit(f"the server did not start: {said}")
            cookie = entered(int(link[1]), link[2])
            print(f"| page | {' | '.join(CATEGORIES)} |\n| --- |{' --- |' * len(CATEGORIES)}")
            for page in PAGES:
                scores = audit(options.lighthouse, f"http://127.0.0.1:{link[1]}/{page}", cookie)
                print(f"| {page} | {' | '.join(f'{score:.0f}' for score in scores.values())} |", flush=True)
        finally:
            server.send_signal(signal.SIGINT)


if __name__ == "__main__":
    main()
