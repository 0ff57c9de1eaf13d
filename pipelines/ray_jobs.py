"""A build as a job of a Ray cluster, followed from here: the Ray Jobs API, and nothing else of Ray.

The job is named after the build, so the same command finds it again: while it runs, another is not
started but its log is followed from its beginning. What the job prints last is the build's answer.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shlex
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TextIO
from urllib.parse import urlsplit

from store.digest import fingerprint
from store.errors import MashbillError, UsageError

RUNNING = frozenset({"PENDING", "RUNNING"})
READY_S = 60.0
"""How long a cluster that has just begun may take until it accepts a job."""
ATTEMPTS = 5
"""Connections to the log that may break before it is given up; the job goes on all the while."""
PAUSE_S = 2.0
ANSWER = '{"dataset": '
"""How the line begins in which ``build --json`` says what was built."""


@dataclass(frozen=True)
class Job:
    """A build to run on the cluster behind ``address`` (``http://HOST:8265``).

    ``arguments``: those of ``mashbill build`` after the recipe. ``recipe``: as on the command line; of
    ``path/file.py:function`` every Python file of that folder is sent along. On a cluster of this machine
    the job runs in this folder, and relative paths mean what they mean here.
    """

    address: str
    dataset: str
    recipe: str
    arguments: tuple[str, ...]
    needs: ClassVar[dict[str, float]] = {}

    @property
    def name(self) -> str:
        """The same for the same build."""
        return f"mashbill-{self.dataset}-{fingerprint([self.recipe, *self.arguments])}"

    @property
    def entrypoint(self) -> str:
        recipe = os.path.basename(self.recipe) if self.sent else self.recipe
        command = shlex.join(["mashbill", "build", recipe, *self.arguments, "--ray", "auto", "--json"])
        return f"cd {shlex.quote(os.getcwd())} && exec {command}" if self.here else f"exec {command}"

    @property
    def here(self) -> bool:
        """Whether the cluster is this machine."""
        return is_here(self.address)

    @property
    def sent(self) -> Path | None:
        """The folder of a recipe of one's own that the cluster does not have."""
        if self.here or ".py:" not in self.recipe:
            return None
        return Path(self.recipe.rpartition(":")[0]).resolve().parent


@dataclass(frozen=True)
class RunJob:
    """A queued training run to start on the cluster behind ``address``.

    ``run``: its ``NAME/FINGERPRINT``; ``arguments``: those of ``mashbill distill`` after it. Ray holds the
    job back until some node has a CPU free for it.
    """

    address: str
    run: str
    arguments: tuple[str, ...]
    sent: ClassVar[None] = None
    needs: ClassVar[dict[str, float]] = {"entrypoint_num_cpus": 1}

    @property
    def name(self) -> str:
        """The same for the same run."""
        return f"mashbill-run-{self.run.replace('/', '-')}"

    @property
    def entrypoint(self) -> str:
        command = shlex.join(["mashbill", "distill", self.run, "--queued", *self.arguments])
        here = is_here(self.address)
        return f"cd {shlex.quote(os.getcwd())} && exec {command}" if here else f"exec {command}"


def submit(job: RunJob, log: TextIO) -> str:
    """Start the job, or find it running; returns its id, and does not wait for its end.

    Raises:
        MashbillError: the cluster does not answer.
    """
    client = _client(job.address)
    try:
        job_id = _running(client, job) or _submit(client, job)
    except (RuntimeError, OSError) as error:
        raise MashbillError(f"the cluster at {job.address} refused: {error}") from error
    print(f"job {job_id} on {job.address} trains {job.run}", file=log, flush=True)
    return job_id


def run_job(job: Job, log: TextIO) -> dict[str, Any]:
    """Start the job, or find it running; show its log until it ends. Returns the build's answer.

    Raises:
        MashbillError: the cluster does not answer, or the build failed.
        KeyboardInterrupt: the user leaves; the job goes on, and ``log`` says how to come back.
    """
    client = _client(job.address)
    job_id = job.name
    try:
        job_id = _running(client, job) or _submit(client, job)
        print(f"job {job_id} on {job.address}; Ctrl-C leaves it running", file=log, flush=True)
        return _answer(client, job_id, asyncio.run(_follow(client, job_id, log)))
    except KeyboardInterrupt:
        print(
            f"\nthe job goes on. The same command follows it again; "
            f"`ray job stop {job_id} --address {job.address}` ends it, and what was finished is kept",
            file=log,
        )
        raise
    except (RuntimeError, OSError) as error:
        raise MashbillError(f"the cluster at {job.address} refused: {error}") from error


def is_jobs_address(ray: str) -> bool:
    """Whether ``--ray`` names the Jobs API of a cluster rather than the cluster itself."""
    return ray.startswith(("http://", "https://"))


def is_here(address: str) -> bool:
    return urlsplit(address).hostname in ("127.0.0.1", "localhost", "::1")


def arguments_of(address: str, settings: Sequence[str], store: str, others: Sequence[str]) -> tuple[str, ...]:
    """The arguments of the job's own build.

    Raises:
        UsageError: the store is a folder of this machine and the cluster is not. One that every node
            mounts may be named as ``file:///mnt/store``.
    """
    if "://" not in store and not is_here(address):
        raise UsageError(
            f"--store {store} is a folder of this machine, and the build runs on the cluster. Give a URL "
            "such as s3://bucket/store, or file:///mnt/store for a folder that every node mounts."
        )
    return ("--store", store, *(part for item in settings for part in ("--set", item)), *others)


def _client(address: str) -> Any:
    from ray.exceptions import AuthenticationError
    from ray.job_submission import JobSubmissionClient

    logging.getLogger("ray.dashboard.modules.job.sdk").setLevel(logging.ERROR)
    try:
        return JobSubmissionClient(address, headers=_authorization())
    except ConnectionError as error:
        raise MashbillError(
            f"no Ray cluster answers at {address}: {error}. Start one (`ray up ray_cluster.yaml`, or "
            "`ray start --head` for this machine), forward its port with `ray dashboard`, and name it as "
            "http://HOST:8265."
        ) from error
    except AuthenticationError as error:
        raise MashbillError(
            f"the cluster at {address} asks for its token: copy it from the head node (`ray get-auth-token`) "
            "to ~/.ray/auth_token, or set RAY_AUTH_TOKEN."
        ) from error


def _authorization() -> dict[str, str]:
    """The token that ``ray start`` asks for where it finds one; the client alone sends none."""
    token = os.environ.get("RAY_AUTH_TOKEN", "")
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    if not token and path.is_file():
        token = path.read_text().strip()
    return {"Authorization": f"Bearer {token}"} if token else {}


def _running(client: Any, job: Job | RunJob) -> str | None:
    """The job of this build or run that has not ended."""
    for found in client.list_jobs():
        name = found.submission_id or ""
        if name.rpartition("-")[0] == job.name and str(found.status.value) in RUNNING:
            return name
    return None


def _submit(client: Any, job: Job | RunJob) -> str:
    """Jobs keep their names when they have ended, so a number follows."""
    earlier = sum((j.submission_id or "").rpartition("-")[0] == job.name for j in client.list_jobs())
    end = time.monotonic() + READY_S
    with _sent(job) as runtime_env:
        while True:
            try:
                name = f"{job.name}-{earlier + 1}"
                started = client.submit_job(
                    entrypoint=job.entrypoint, submission_id=name, runtime_env=runtime_env, **job.needs
                )
                return str(started)
            except RuntimeError as error:
                # A cluster answers some seconds before the part of it that starts jobs does.
                if "No available agent" not in str(error) or time.monotonic() > end:
                    raise
                time.sleep(PAUSE_S)


@contextmanager
def _sent(job: Job | RunJob) -> Iterator[dict[str, Any]]:
    """What goes along with the job: the Python files beside a recipe of one's own."""
    if job.sent is None:
        yield {}
        return
    with tempfile.TemporaryDirectory(prefix="mashbill-recipe-") as folder:
        for file in sorted(job.sent.glob("*.py")):
            shutil.copy(file, folder)
        yield {"working_dir": folder}


async def _follow(client: Any, job_id: str, log: TextIO) -> str:
    """Show the log as it grows; returns the line with the answer. Comes back after a broken connection."""
    shown, rest, answer, broken = 0, "", "", 0
    while True:
        seen = 0
        try:
            async for text in client.tail_job_logs(job_id):
                new, seen = text[max(shown - seen, 0) :], seen + len(text)
                shown, broken = max(shown, seen), 0
                lines = (rest + new).split("\n")
                rest = lines.pop()
                for line in lines:
                    if line.startswith(ANSWER):
                        answer = line
                    else:
                        print(line, file=log, flush=True)
            if str(client.get_job_status(job_id).value) not in RUNNING:
                return answer
        except (OSError, RuntimeError, ValueError) as error:  # what aiohttp raises is among these
            broken += 1
            if broken == ATTEMPTS:
                raise MashbillError(
                    f"lost the log of {job_id} ({error}). The job goes on; the same command follows it again."
                ) from error
        await asyncio.sleep(PAUSE_S * (broken + 1))


def _answer(client: Any, job_id: str, last: str) -> dict[str, Any]:
    info = client.get_job_info(job_id)
    status = str(info.status.value)
    if status == "SUCCEEDED" and last:
        return dict(json.loads(last))
    if status == "STOPPED":
        raise MashbillError(f"job {job_id} was stopped. What was finished is kept; the same command goes on.")
    said = [line for line in client.get_job_logs(job_id).splitlines() if line.startswith("mashbill: ")]
    raise MashbillError(said[-1].removeprefix("mashbill: ") if said else f"job {job_id}: {info.message}")
