"""What is asked of a Ray cluster before work starts: each answer that will not do is one message."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from pipelines.attempts import Raised
from pipelines.ray_cluster import autoscaled, described, on_every_node, slots
from pipelines.workers import difference, versions
from stages.stage import Resources
from store.errors import MashbillError
from store.location import temp_prefix
from store.store import Store

ANSWER_S = 5.0
PROBE_S = 60.0
HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
"""How a client of gRPC, which Ray speaks, begins (RFC 9113, 3.4); a server begins with a frame of type 4."""


def check_answers(address: str) -> None:
    """See that somebody who may be Ray answers: Ray itself would wait for 40 seconds.

    Raises:
        MashbillError: nobody answers there, or somebody else.
    """
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), ANSWER_S) as connection:
            if os.environ.get("RAY_USE_TLS") == "1":
                return
            connection.sendall(HELLO)
            connection.settimeout(ANSWER_S)
            answer = connection.recv(9)
    except (OSError, OverflowError) as error:
        raise MashbillError(
            f"--ray {address}: no answer there ({error}). Start Ray (ray start --head prints its address), "
            "or run without a cluster: --ray local."
        ) from error
    if len(answer) < 4 or answer[3] != 4:
        raise MashbillError(
            f"--ray {address}: what answers there is not Ray. Give the address of a head node."
        )


def check_needs(grants: Mapping[str, Resources], local_workers: int | None) -> None:
    """See that some node can hold a worker of each stage; an autoscaler may bring one later.

    Raises:
        MashbillError: a stage needs what no node has.
    """
    where = "no node of the cluster" if local_workers is None else f"{local_workers} --workers here"
    for stage, needs in {"a pass": Resources(), **grants}.items():
        if slots(needs) or (local_workers is None and autoscaled()):
            continue
        less = f", or ask for less: --resources {stage}=cpu:1,gpu:0" if stage in grants else ""
        raise MashbillError(
            f"{stage} needs a node with {described(needs)}; {where} can give that. Join one that does{less}"
            if local_workers is None
            else f"{stage} needs {described(needs)}, which is more than {where} have. Raise --workers, or "
            f"use a cluster that has it{less}"
        )


def check_workers(store: Store) -> None:
    """See that every node has our versions and sees the store.

    Raises:
        MashbillError: a node does not, or does not answer.
    """
    token = store.root / "tmp" / f"{temp_prefix()}{uuid.uuid4().hex}"
    token.write_bytes(b"here")
    try:
        found = on_every_node(_looker(token.url), PROBE_S)
    finally:
        token.remove()
    for node, answer in found:
        _check_answer(store, node, answer)


def _looker(token: str) -> Callable[[], Any]:
    def look() -> Any:  # travels by value: where mashbill is missing, this still runs and says so
        from pipelines.workers import looked

        return looked(token)

    return look


def _check_answer(store: Store, node: str, answer: Any) -> None:
    if answer is None:
        raise MashbillError(
            f"node {node} gave no answer in {PROBE_S:.0f} s. See `ray status`, then try again."
        )
    if isinstance(answer, Raised):
        raise MashbillError(
            f"node {node} cannot run mashbill: {answer.message}. Install the same version on every node."
        )
    theirs, unseen = answer
    differs = difference(versions(), theirs)
    if differs:
        raise MashbillError(
            f"node {node} has other versions: {differs}. Install the same on every node, or workers would "
            "write other bytes."
        )
    if unseen:
        raise MashbillError(
            f"node {node} does not see the store {store.url}: {unseen}. Give --store a URL that every node "
            "can reach, such as s3://bucket/store, or a folder that all of them mount."
        )
