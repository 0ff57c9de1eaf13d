"""Models by what they are: the bytes of a folder, the commit of a hub's branch."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from stages.image.crop import Crop
from stages.image.crop_scorers import Clip
from stages.pinned import exact_revision, models_in, pinned
from stages.score.aesthetic import Aesthetic
from stages.score.clip_similarity import ClipSimilarity
from stages.source.generated import Generated
from stages.source.prompts import PromptList
from stages.text.chat_endpoint import Endpoint
from stages.text.chat_local import Local
from stages.text.recaption import Recaption
from store.digest import settings
from store.errors import MashbillError

ROOT = Path(__file__).resolve().parents[2]
CLIP = ROOT / "tinyworld/models/clip"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
TIMEOUT_S = 120


def told(value: Any) -> Any:
    """What a fingerprint is made of."""
    return settings(pinned(value, "x", {}))


@pytest.fixture
def copies(tmp_path: Path) -> tuple[Path, Path]:
    """The shipped CLIP in two folders."""
    for name in ("a", "deep/b"):
        shutil.copytree(CLIP, tmp_path / name)
    return tmp_path / "a", tmp_path / "deep/b"


# Folders.


@pytest.mark.parametrize(
    "stage",
    [
        ClipSimilarity(),
        Crop(scorer=Clip()),
        Recaption(chat=Local(dtype="float16")),
        Aesthetic(head=str(CLIP / "config.json")),
        Generated(prompts=PromptList(("a",))),
    ],
    ids=lambda stage: type(stage).__name__,
)
def test_a_folder_counts_by_what_is_in_it(stage: Any, copies: tuple[Path, Path]) -> None:
    def at(model: str) -> Any:
        if isinstance(stage, Crop):
            return told(replace(stage, scorer=Clip(model=model)))
        if isinstance(stage, Recaption):
            return told(replace(stage, chat=Local(model=model)))
        return told(replace(stage, model=model))

    one, other = copies
    before = at(str(one))
    assert before == at(str(other)) == at("tinyworld/models/clip") == at(str(one) + "/")
    (one / "README.md").write_text("words")
    (one / ".cache").mkdir()
    (one / ".cache" / "x").write_text("words")
    assert at(str(one)) == before
    for changed in ("model.safetensors", "tokenizer.json", "config.json", "preprocessor_config.json"):
        if (one / changed).is_file():
            kept = (one / changed).read_bytes()
            (one / changed).write_bytes(kept[:-1] + b" ")
            assert at(str(one)) != before
            (one / changed).write_bytes(kept)
    assert at(str(one)) == before
    (one / "vocab.txt").write_text("new")
    assert at(str(one)) != before


def test_no_path_is_in_a_fingerprint_or_a_column(copies: tuple[Path, Path]) -> None:
    stage: Any = pinned(Crop(scorer=Clip(model=str(copies[0]))), "crop", {})
    assert str(copies[0]) not in json.dumps(settings(stage))
    assert stage.scorer.model == str(copies[0])  # it is loaded from there
    assert stage.scorer.evidence == f"clip:{exact_revision(str(CLIP), 'main', 'x')}"
    assert models_in(stage, "crop") == {"crop.scorer.model": f"{copies[0]}@{stage.scorer.revision}"}


def test_files_are_read_once(copies: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    import stages.pinned

    before = exact_revision(str(copies[0]), "main", "x")
    monkeypatch.setattr(stages.pinned, "file_sha256", None)
    assert exact_revision(str(copies[0]), "main", "x") == before


def test_what_is_exact_or_no_model_of_a_hub_stays() -> None:
    for stage in (
        ClipSimilarity(revision=COMMIT),
        ClipSimilarity(model="open_clip:ViT-B-32/laion2b_s34b_b79k"),
        Recaption(chat=Endpoint("org/model", url="http://host/v1")),
        Crop(),
    ):
        assert pinned(stage, "x", {}) == stage


@pytest.mark.parametrize("model", ["/nowhere/at/all", "./nowhere", "a/b/c"])
def test_no_such_folder(model: str) -> None:
    with pytest.raises(MashbillError, match=r"x\.model=.* cannot be loaded: there is no such folder"):
        pinned(ClipSimilarity(model=model), "x", {})


# The hub, and what its client keeps.


class Hub(BaseHTTPRequestHandler):
    """Has one model with a branch, and counts how often it is asked."""

    asked: int

    def do_GET(self) -> None:
        type(self).asked += "/models/" in self.path  # the client has questions of its own
        there = self.path.startswith("/api/models/org/clip/revision/main")
        code = "RevisionNotFound" if "/org/clip/" in self.path else "RepoNotFound"
        body = json.dumps({"id": "org/clip", "sha": COMMIT}).encode() if there else b"{}"
        self.send_response(200 if there else 404)
        if not there:
            self.send_header("X-Error-Code", code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


@pytest.fixture
def hub() -> Iterator[str]:
    Hub.asked = 0
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def downloaded(home: Path, commit: str = COMMIT) -> None:
    """The tiny CLIP as the hub's client keeps a model: a note of the branch, and the commit's files."""
    folder = home / "hub" / "models--org--clip"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(commit)
    (folder / "blobs").mkdir()
    snapshot = folder / "snapshots" / commit
    snapshot.mkdir(parents=True)
    for number, file in enumerate(sorted(CLIP.iterdir())):
        shutil.copy(file, folder / "blobs" / str(number))
        (snapshot / file.name).symlink_to(Path("../../blobs") / str(number))


LOOK = """
import sys
from dataclasses import replace
from stages.image.crop import Crop
from stages.image.crop_scorers import Clip
from stages.pinned import pinned
from stages.score.clip_similarity import ClipSimilarity
from store.errors import MashbillError
known = {}
try:
    stage = pinned(ClipSimilarity(model=sys.argv[1], revision=sys.argv[2]), "clip_similarity", known)
    again = pinned(Crop(scorer=Clip(sys.argv[1], sys.argv[2])), "crop", known)
    assert again.scorer.revision == stage.revision
    print(stage.revision)
except MashbillError as error:
    print(error)
"""


def look(home: Path, model: str, revision: str = "main", **environment: str) -> tuple[str, str]:
    """What it comes to in a process of its own, whose settings the hub's client reads at import."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "TRANSFORMERS_"))}
    given = {"HF_HOME": str(home), "PYTHONPATH": str(ROOT), "NO_PROXY": "127.0.0.1"}
    done = subprocess.run(
        [sys.executable, "-c", LOOK, model, revision],
        env=clean | given | environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip(), done.stderr


def test_the_hub_is_asked_once_for_the_commit(hub: str, tmp_path: Path) -> None:
    assert look(tmp_path, "org/clip", HF_ENDPOINT=hub)[0] == COMMIT
    assert Hub.asked == 1
    said, _ = look(tmp_path, "org/clip", "nope", HF_ENDPOINT=hub)
    assert said.startswith(
        "clip_similarity.model='org/clip' at revision 'nope' cannot be loaded: it has no such"
    )
    assert "there is no such model" in look(tmp_path, "org/other", HF_ENDPOINT=hub)[0]


def test_out_of_reach_what_was_downloaded_tells(tmp_path: Path) -> None:
    nobody = {"HF_ENDPOINT": "http://127.0.0.1:9"}  # the port of discard
    said, _ = look(tmp_path, "org/clip", **nobody)
    assert "the hub cannot be reached" in said
    assert "revision=COMMIT" in said
    downloaded(tmp_path)
    said, warned = look(tmp_path, "org/clip", **nobody)
    assert said == COMMIT
    assert f"taking the commit {COMMIT} that is here" in warned


def test_offline(tmp_path: Path) -> None:
    said, _ = look(tmp_path, "org/clip", HF_HUB_OFFLINE="1")
    assert said == (
        "clip_similarity.model='org/clip' at revision 'main' cannot be loaded: it is not here and "
        "HF_HUB_OFFLINE is set, so that nobody knows which commit that is. Download it first, give the "
        "folder it was saved to, or name the commit itself: revision=COMMIT"
    )
    downloaded(tmp_path)
    assert look(tmp_path, "org/clip", HF_HUB_OFFLINE="1") == (COMMIT, "")
    assert "revision 'other'" in look(tmp_path, "org/clip", "other", HF_HUB_OFFLINE="1")[0]
