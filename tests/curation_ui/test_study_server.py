"""A served study: votes over real HTTP, whoever asks, whatever happens to the server."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import psycopg
import pytest

from curation_ui.study.questions import QUALITY
from curation_ui.study.report import write_report
from curation_ui.study.server import StudySettings, open_study
from curation_ui.study.votes import read_trials, read_votes
from store.errors import MashbillError
from tests.curation_ui.study_fixture import (
    Client,
    Served,
    all_of,
    ballot,
    make,
    serving,
    small,
    write_models,
)

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("study")
    design = small(practice=1, gold=0.1)
    with serving(make(folder, design, write_models(folder, prompts=12))) as found:
        yield found


def test_a_whole_study_by_three_people(tmp_path: Path):
    """Both passes, every pair three votes, in the order quality then alignment."""
    study = make(tmp_path, small(extra_votes=0), write_models(tmp_path))
    with serving(study) as served:
        people = [served.annotator() for _ in range(3)]
        seen: list[tuple[int, str, bool]] = []
        for number, client in enumerate(people):
            while trials := client.trials(4):
                for trial in trials:
                    seen.append((number, trial["trial"], "prompt" in trial))
                    assert client.vote(trial, "left").json["results"][0]["status"] == "done"
        assert [prompt for n, _, prompt in seen if n == 0] == [False] * 6 + [True] * 6
        assert people[0].post("/api/study/next", {}).json["question"] is None
        totals = served.owner().get("/api/study/totals").json["questions"]
        assert totals == {q: {"votes": 18, "wanted": 18} for q in ("quality", "alignment")}
        database = served.server.database
        votes = database.submit_read(read_votes).result()
        trials = {t.token: t for t in database.submit_read(read_trials).result()}
    assert len(votes) == 36
    assert votes[0].viewport_width == 1280
    lefts = Counter((trials[v.trial].pair, trials[v.trial].left_is_a) for v in votes)
    assert all(abs(lefts[pair, True] - lefts[pair, False]) <= 2 for pair in range(6))
    assert {trials[v.trial].slot for v in votes} == {0, 1, 2}


def test_a_vote_counts_once(served: Served):
    client = served.annotator()
    trial = client.trials(3)[-1]
    assert client.vote(trial, "left", "uuid-0001").json["results"][0]["status"] == "done"
    assert client.vote(trial, "left", "uuid-0001").json["results"][0]["status"] == "repeat"
    assert client.vote(trial, "right", "uuid-0002").json["results"][0]["status"] == "again"


def test_practice_says_whether_it_was_right(served: Served):
    client = served.annotator()
    [trial] = client.trials(1)
    assert trial["practice"]
    good = served.server.desk.trials[trial["trial"]]
    result = client.vote(trial, "left" if good.left_is_a else "right").json["results"][0]
    assert result["right"] is True
    second = client.trials(1)[0]
    assert not second["practice"]
    assert "right" not in client.vote(second, "left").json["results"][0]


def test_a_vote_is_kept_by_a_new_start(tmp_path: Path):
    study = make(tmp_path, small(), write_models(tmp_path))
    with serving(study) as served:
        client = served.annotator()
        trials = client.trials(4)
        client.vote(trials[0], "both", "uuid-kept")
        token = client.cookie
    with serving(study) as served:
        again = Client(served.port, token)
        assert again.vote(trials[0], "both", "uuid-kept").json["results"][0]["status"] == "repeat"
        assert [t["trial"] for t in again.trials(3)] == [t["trial"] for t in trials[1:]]


def test_a_place_given_up_goes_to_another(tmp_path: Path):
    study = make(tmp_path, small(questions=(QUALITY,), votes=1, extra_votes=0), write_models(tmp_path))
    with serving(study) as served:
        gone, stays = served.annotator(), served.annotator()
        held = gone.trials(6)
        assert len(held) == 6
        assert stays.trials(6) == []
        served.clock[0] += 301
        taken = stays.trials(6)
        assert len(taken) == 6
        for trial in taken:
            stays.vote(trial, "left")
        late = gone.vote(held[0], "right")
        assert late.json["results"][0]["status"] == "done"  # late, and kept
        assert gone.trials(6) == []


@pytest.mark.parametrize("choice", ["maybe", "", "LEFT"])
def test_answers_that_are_none_are_refused(served: Served, choice: str):
    client = served.annotator()
    assert client.vote(client.trials(1)[0], choice).status == 400


def test_answers_that_a_question_does_not_offer_are_refused(tmp_path: Path):
    question = replace(QUALITY, choices=("left", "right"))
    with serving(make(tmp_path, small(questions=(question,)), write_models(tmp_path))) as served:
        client = served.annotator()
        [trial] = client.trials(1)
        reply = client.vote(trial, "none")
        assert reply.status == 400
        assert "left, right, skip" in reply.json["error"]


@pytest.mark.parametrize(
    "broken",
    [
        {"uuid": "x"},
        {"trial": "../../etc/passwd"},
        {"rt_ms": -1},
        {"viewport": [1]},
        {"dpr": 0},
        {"more": 1},
    ],
)
def test_bodies_that_are_not_understood_are_refused(served: Served, broken: dict[str, object]):
    client = served.annotator()
    [trial] = client.trials(1)
    body = {"votes": [ballot(trial["trial"], "left") | broken]}
    assert client.post("/api/study/votes", body).status == 400


def test_nobody_reaches_anothers_trial(served: Served):
    """Trials, votes and images belong to one person; a role does not open them either."""
    mine, other = served.annotator(), served.owner()
    [trial] = mine.trials(1)
    assert mine.get(trial["left"]).status == 200
    assert other.get(trial["left"]).status == 404
    assert other.vote(trial, "left").status == 404
    assert mine.get(f"/study/image/{trial['trial']}/middle").status == 404
    assert mine.get("/study/image/../../etc/passwd/left").status == 404


GUARDED = [
    ("GET", "/api/study", "annotator"),
    ("GET", "/api/study/totals", "curator"),
    ("POST", "/api/study/consent", "annotator"),
    ("POST", "/api/study/next", "annotator"),
    ("POST", "/api/study/votes", "annotator"),
    ("POST", "/api/people", "admin"),
    ("GET", "/study/image/" + "0" * 32 + "/left", "annotator"),
]


@pytest.mark.parametrize(("method", "path", "role"), GUARDED)
def test_who_may_ask_what(served: Served, method: str, path: str, role: str):
    stranger, annotator, owner = Client(served.port), served.annotator(), served.owner()
    assert stranger.ask(method, path, {}).status == 401
    allowed = annotator.ask(method, path, {}).status
    assert (allowed == 403) == (role != "annotator")
    assert owner.ask(method, path, {}).status not in (401, 403)


def test_nobody_votes_before_they_agree(served: Served):
    [(_, token)] = served.server.invite(1)
    client = Client(served.port).enter(token)
    assert client.get("/api/study").json["consented"] is False
    assert client.post("/api/study/next", {"count": 1}).status == 403
    assert client.post("/api/study/consent", {"agree": False}).status == 400
    client.agree()
    assert client.get("/api/study").json["consented"] is True


def test_changes_come_from_our_pages_alone(served: Served):
    client = served.annotator()
    foreign = client.ask("POST", "/api/study/next", {}, {"Sec-Fetch-Site": "cross-site"})
    assert foreign.status == 403
    assert client.ask("GET", "/api/study", headers={"Host": "evil.example"}).status == 421
    assert "access-control-allow-origin" not in client.get("/api/study").headers


# Databases.


def test_one_server_at_a_time(tmp_path: Path):
    study = make(tmp_path, small(), write_models(tmp_path))
    first = open_study(StudySettings(study))
    with pytest.raises(MashbillError, match="another server"):
        open_study(StudySettings(study))
    first.close()
    open_study(StudySettings(study)).close()


def test_votes_in_postgresql(tmp_path: Path, postgres: str):
    """The same study on PostgreSQL: votes, a new start, the report, and nothing rewritten."""
    study = make(tmp_path, small(extra_votes=0), write_models(tmp_path))
    with serving(study, postgres) as served:
        client = served.annotator()
        given = all_of(client)
        assert len(given) == 12
    with serving(study, postgres) as served:
        assert Client(served.port, client.cookie).trials(3) == []
        assert served.owner().get("/api/study/totals").json["questions"]["quality"]["votes"] == 6
    result, _ = write_report(study, postgres)
    assert result["questions"][0]["all"]["votes"] == 6
    with psycopg.connect(postgres, autocommit=True) as raw:
        raw.execute(f'SET search_path TO "mashbill_study_{study.name}"')
        for change in ("UPDATE vote SET choice = 'left'", "DELETE FROM consent"):
            with pytest.raises(psycopg.Error, match="append-only"):
                raw.execute(change)


def test_what_was_acknowledged_survives_a_kill(tmp_path: Path):
    study = make(tmp_path, small(extra_votes=0), write_models(tmp_path))
    command = [sys.executable, "-m", "pipelines", "study", "serve", study.name, "--port", "0"]
    process = subprocess.Popen(
        [*command, "--store", str(tmp_path / "store")], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    found = re.search(r":(\d+)/enter#(\S+)", process.stdout.readline())
    assert found
    client = Client(int(found[1])).enter(found[2]).agree()
    kept = []
    for trial in client.trials(4):
        if client.vote(trial, "left", f"uuid-{trial['trial']}").status == 200:
            kept.append(trial)
    process.send_signal(signal.SIGKILL)
    process.wait(20)
    process.stdout.close()
    with serving(study) as served:
        again = Client(served.port, client.cookie)
        for trial in kept:
            said = again.vote(trial, "left", f"uuid-{trial['trial']}").json["results"][0]["status"]
            assert said == "repeat"
        assert len(served.server.database.submit_read(read_votes).result()) == len(kept) == 4


# What may not change.


def test_a_study_whose_files_were_changed_is_not_served(tmp_path: Path):
    study = make(tmp_path, small(), write_models(tmp_path))
    file = Path(study.location.path, "study.json")
    kept = file.read_text()
    file.write_text(kept.replace('"votes": 3', '"votes": 2'))
    with pytest.raises(MashbillError, match="as it was frozen"):
        open_study(StudySettings(study))
    file.write_text(kept)
    pairs = Path(study.location.path, "pairs.parquet")
    pairs.write_bytes(Path(study.location.path, "images.parquet").read_bytes())
    with pytest.raises(MashbillError, match="as it was frozen"):
        open_study(StudySettings(study))


def test_votes_of_another_study_are_refused(tmp_path: Path):
    study = make(tmp_path / "one", small(), write_models(tmp_path / "one"))
    other = make(tmp_path / "two", small(votes=5), write_models(tmp_path / "two"))
    open_study(StudySettings(study)).close()
    source = Path(study.location.path, "votes.sqlite")
    Path(other.location.path, "votes.sqlite").write_bytes(source.read_bytes())
    with pytest.raises(MashbillError, match="exchanged"):
        open_study(StudySettings(other))


def test_an_image_that_was_changed_is_not_shown(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    study = make(tmp_path, small(), write_models(tmp_path))
    tar = Path(study.location.path, "images.tar")
    data = bytearray(tar.read_bytes())
    tar.chmod(0o644)
    data[512:540] = bytes(28)
    data[-20_000:] = bytes(20_000)
    tar.write_bytes(bytes(b ^ 1 for b in data))
    with serving(study) as served:
        client = served.annotator()
        reply = client.get(client.trials(1)[0]["left"])
        assert reply.status >= 409
        assert "frozen" not in reply.json["error"]
        assert "when the study was frozen" in capfd.readouterr().err


def test_votes_and_consents_are_never_rewritten(tmp_path: Path):
    import sqlite3

    study = make(tmp_path, small(), write_models(tmp_path))
    with serving(study) as served:
        client = served.annotator()
        client.vote(client.trials(1)[0], "left")
        with sqlite3.connect(Path(study.location.path, "votes.sqlite")) as raw:
            for change in ("UPDATE vote SET choice = 'right'", "DELETE FROM vote", "DELETE FROM consent"):
                with pytest.raises(sqlite3.DatabaseError, match="append-only"):
                    raw.execute(change)
        raw.close()


def test_eight_people_at_once(tmp_path: Path):
    """Threads with disconnects over HTTP: every place is filled once, none lost, none stranded."""
    design = small(questions=(QUALITY,), votes=3, extra_votes=0)
    study = make(tmp_path, design, write_models(tmp_path, 6, 2))
    with serving(study) as served:
        clients = [served.annotator() for _ in range(8)]
        failures: list[Exception] = []

        def work(number: int) -> None:
            rng = np.random.default_rng(number)
            try:
                for _ in range(25):
                    trials = clients[number].trials(int(rng.integers(1, 5)))
                    for trial in trials:
                        if rng.random() < 0.15:
                            break  # gone without a word
                        assert clients[number].vote(trial, "left").status == 200
                    served.clock[0] += 20
            except Exception as error:
                failures.append(error)

        threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert not failures
        served.clock[0] += 1000
        for client in clients:
            all_of(client)
        votes = served.server.database.submit_read(read_votes).result()
        trials = {t.token: t for t in served.server.database.submit_read(read_trials).result()}
    given = Counter(trials[vote.trial].pair for vote in votes)
    by_person = Counter((trials[v.trial].pair, trials[v.trial].annotator) for v in votes)
    late = sum(trials[v.trial].expires_at < v.server_at for v in votes)
    assert set(given) == set(range(12))
    assert min(given.values()) == 3
    assert sum(given.values()) - 36 <= late
    assert set(by_person.values()) == {1}
