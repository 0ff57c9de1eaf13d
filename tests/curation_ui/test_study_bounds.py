"""What a study's server says to annotators when something is wrong, and what a study is made of."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from curation_ui.guards import Limits
from curation_ui.study.design import Study
from curation_ui.study.load import load_images
from curation_ui.study.results import results
from curation_ui.study.votes import EXPORT, read_votes
from store.location import Location
from tests.curation_ui.study_fixture import Client, Served, ballot, make, serving, small, write_models


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serving(make(tmp_path, small(), write_models(tmp_path))) as found:
        yield found


def test_a_uuid_of_another_vote_is_no_repeat(served: Served):
    first, second = served.annotator(), served.annotator()
    one, two, three = first.trials(3)
    assert first.vote(one, "left", "uuid-0001").json["results"][0]["status"] == "done"
    assert first.vote(one, "left", "uuid-0001").json["results"][0]["status"] == "repeat"
    assert first.vote(two, "left", "uuid-0001").status == 409, "another trial"
    assert first.vote(one, "right", "uuid-0001").status == 409, "another answer"
    assert second.vote(second.trials(1)[0], "left", "uuid-0001").status == 409, "another person"
    both = [ballot(two["trial"], "left", "uuid-0002"), ballot(three["trial"], "left", "uuid-0002")]
    assert first.post("/api/study/votes", {"votes": both}).status == 409
    assert len(served.server.database.submit_read(read_votes).result()) == 1
    assert first.vote(two, "left", "uuid-0002").json["results"][0]["status"] == "done"


def test_a_broken_image_tells_an_annotator_no_path(served: Served, capfd: pytest.CaptureFixture[str]):
    client = served.annotator()
    [trial] = client.trials(1)
    folder = Path(served.server.settings.study.location.path)
    tar = folder / "images.tar"
    tar.write_bytes(bytes(tar.stat().st_size))
    for harm in ("exchanged", "gone"):
        if harm == "gone":
            tar.unlink()
        reply = client.get(trial["left"])
        assert reply.status == 500
        assert str(folder).encode() not in reply.body
        assert b"images.tar" not in reply.body
        assert "images.tar" in capfd.readouterr().err


def test_nul_in_a_vote_is_refused(served: Served):
    client = served.annotator()
    [trial] = client.trials(1)
    vote = ballot(trial["trial"], "left") | {"at": "now\0"}
    reply = client.post("/api/study/votes", {"votes": [vote]})
    assert (reply.status, "votes[0].at" in reply.json["error"]) == (400, True)


def test_the_cookie_says_nothing_of_the_salt(served: Served):
    client = served.annotator()
    name = client.cookie.partition("=")[0].removeprefix("mashbill-")
    assert len(name) == 8
    assert name not in served.server.salt


def test_failed_tries_at_one_address_keep_no_annotator_out(served: Served):
    served.limits["enter"] = Limits(5 / 60, 5)
    stranger = Client(served.port)
    statuses = [stranger.post("/api/enter", {"token": f"guess {n}"}).status for n in range(8)]
    assert statuses == [401] * 5 + [429] * 3
    served.annotator()


def test_a_tar_inside_the_store_is_named_by_its_path_there(tmp_path: Path):
    study = Study(Location(f"{tmp_path}/store/studies/one"))
    inside, outside = f"{tmp_path}/store/sources/a/shards/0.tar", f"{tmp_path}/else/0.tar"
    assert study.tar_said(inside) == "sources/a/shards/0.tar"
    assert study.tar_said(outside) == outside
    moved = Study(Location("/moved/store/studies/one"))
    assert moved.tar(study.tar_said(inside)).path == "/moved/store/sources/a/shards/0.tar"
    assert moved.tar(study.tar_said(outside)).path == outside
    assert moved.tar("images.tar").path == "/moved/store/studies/one/images.tar"
    made = make(tmp_path / "made", small(), write_models(tmp_path / "models"))
    assert set(load_images(made, made.record())["tar"].to_pylist()) == {"images.tar"}


def test_one_account_where_nobody_is_left_out():
    """60,000 votes take seconds: what is the same is not computed twice."""
    design = small()
    plain = {"kind": "vote", "seed": 0, "position": 0, "slot": 0, "rt_ms": 9000, "text": ""}
    rows = [
        plain
        | {"vote": n + 1, "question": "quality", "pair": n % 9, "prompt": n % 9, "left_is_a": n % 2 == 0}
        | {
            "model_a": "a",
            "model_b": "b",
            "annotator": f"p{n // 9}",
            "choice": ("left", "right", "none")[n % 3],
        }
        for n in range(27)
    ]
    record = {"models": [{"label": "a"}, {"label": "b"}], "seed": 1, "name": "n", "digest": "d"}
    record |= {"prompts": 9, "pairs": 9, "broken": 0, "missing": [], "design": {}}
    found, _ = results(record, design, pa.Table.from_pylist(rows, EXPORT))
    [said] = [q for q in found["questions"] if q["all"]]
    assert said["all"]["votes"] == 27
    assert said["all"] is said["without_excluded"]
