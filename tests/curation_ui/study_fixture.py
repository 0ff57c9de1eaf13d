"""A small study of three models, served for real, and clients that vote."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from curation_ui.guards import Limits
from curation_ui.serve import server_config
from curation_ui.study.create import make_study, plan_study
from curation_ui.study.design import Design, Study, study_at
from curation_ui.study.models import read_model
from curation_ui.study.presets.sd35_flash import sd35_flash
from curation_ui.study.routes import create_study_app
from curation_ui.study.server import StudyServer, StudySettings
from store.store import open_store

SECRET = "teacher-model-xyzzy"
"""Stands in everything that must not reach an annotator."""


def small(**changes: Any) -> Design:
    """The preset of SD3.5-Flash without known answers: what a test says is what is asked."""
    plain = {"practice": 0, "gold": 0.0, "retest": 0.0, "apart": 0, "prompts": 0, "seeds": 0}
    return replace(sd35_flash(), **(plain | changes))


def picture(seed: int, side: int = 96) -> Image.Image:
    rng = np.random.default_rng(seed)
    grid = Image.fromarray(rng.integers(0, 256, (5, 5, 3), dtype=np.uint8))
    return grid.resize((side, side), Image.Resampling.BICUBIC)


def write_models(folder: Path, prompts: int = 6, seeds: int = 1) -> list[str]:
    """Two folders: one of small PNGs that name their maker, one of large JPEGs with EXIF. As ``--model``."""
    for number, name in enumerate(("student", SECRET)):
        (folder / name).mkdir(parents=True)
        for prompt in range(prompts):
            for seed in range(seeds):
                image = picture(1000 * number + 10 * prompt + seed, 96 if number else 64)
                stem = folder / name / f"{prompt:03d}_{seed}"
                if number:
                    exif = Image.Exif()
                    exif[0x010E] = SECRET
                    image.save(f"{stem}.jpg", quality=90, exif=exif, comment=SECRET.encode())
                else:
                    info = PngInfo()
                    info.add_text("parameters", SECRET)
                    image.save(f"{stem}.png", pnginfo=info)
                Path(f"{stem}.txt").write_text(f"prompt number {prompt}")
    return [f"student={folder / 'student'}", f"{SECRET}={folder / SECRET}"]


def make(folder: Path, design: Design, models: list[str], seed: int = 7) -> Study:
    """A frozen study in a new store below ``folder``."""
    store = open_store(folder / "store", create=True)
    study = study_at(store, f"study-of-{SECRET}")
    make_study(study, plan_study(design, [read_model(store, text, None) for text in models], seed))
    return study


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Client:
    """One browser of one person, over real HTTP."""

    port: int
    cookie: str = ""
    replies: list[Reply] = field(default_factory=list)

    def ask(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        sent = {"Cookie": self.cookie} if self.cookie else {}
        data = None
        if method == "POST":
            sent |= {"Content-Type": "application/json", "Sec-Fetch-Site": "same-origin"}
            data = json.dumps(body)
        connection.request(method, path, data, sent | (headers or {}))
        answer = connection.getresponse()
        reply = Reply(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        connection.close()
        self.replies.append(reply)
        return reply

    def get(self, path: str, **headers: str) -> Reply:
        return self.ask("GET", path, headers=headers)

    def post(self, path: str, body: Any = None) -> Reply:
        return self.ask("POST", path, {} if body is None else body)

    def enter(self, token: str) -> Client:
        reply = self.post("/api/enter", {"token": token})
        assert reply.status == 200, reply.body
        self.cookie = reply.headers["set-cookie"].partition(";")[0]
        return self

    def agree(self) -> Client:
        assert self.post("/api/study/consent", {"agree": True}).status == 200
        return self

    def trials(self, count: int = 8) -> list[dict[str, Any]]:
        reply = self.post("/api/study/next", {"count": count})
        assert reply.status == 200, reply.body
        return list(reply.json["trials"])

    def vote(self, trial: dict[str, Any], choice: str, uuid: str = "") -> Reply:
        return self.post("/api/study/votes", {"votes": [ballot(trial["trial"], choice, uuid)]})


def all_of(client: Client) -> list[dict[str, Any]]:
    """Vote through everything a person is given; returns the trials."""
    found = []
    while trials := client.trials(8):
        for trial in trials:
            client.get(trial["left"])
            client.get(trial["right"])
            client.vote(trial, "none")
            found.append(trial)
    return found


def ballot(trial: str, choice: str, uuid: str = "") -> dict[str, Any]:
    return {
        "uuid": uuid or f"vote-{trial}",
        "trial": trial,
        "choice": choice,
        "rt_ms": 1200,
        "decoded_ms": 80,
        "viewport": [1280, 800],
        "dpr": 1.5,
        "at": "2026-01-01T00:00:00Z",
    }


@dataclass
class Served:
    """A running server; ``clock`` is what it takes for now."""

    port: int
    server: StudyServer
    clock: list[float]
    limits: dict[str, Limits]
    cookie: str = ""

    def owner(self) -> Client:
        if not self.cookie:  # the link works once
            self.cookie = Client(self.port).enter(self.server.enter_token).agree().cookie
        return Client(self.port, self.cookie)

    def annotator(self) -> Client:
        [(_, token)] = self.server.invite(1)
        return Client(self.port).enter(token).agree()


@contextmanager
def serving(study: Study, database: str = "") -> Iterator[Served]:
    """The study on a free port, in a thread."""
    clock = [time.time()]
    app = create_study_app(StudySettings(study, database, clock=lambda: clock[0]))
    app.state.limits["enter"].burst = 1000
    server = uvicorn.Server(server_config(app))
    config = server.config
    config.host, config.port = "127.0.0.1", 0
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 20
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.01)
    assert server.started
    try:
        yield Served(server.servers[0].sockets[0].getsockname()[1], app.state.review, clock, app.state.limits)
    finally:
        server.should_exit = True
        thread.join(20)
        app.state.review.close()
