"""``mashbill curate``: people go through the kept samples of a dataset version."""

from __future__ import annotations

import argparse
import ipaddress
import re
import socket
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from store.errors import MashbillError, UsageError
from store.store import open_store
from store.versions import find_version

if TYPE_CHECKING:
    from curation_ui.review import Settings

PORT = 8420
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
MOST_VOTES = 50
MOST_REASONS = 9


def curate_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("name", help="NAME or NAME@VERSION")
    command.add_argument("--host", default="127.0.0.1", help="address to listen at (127.0.0.1)")
    command.add_argument("--port", type=int, default=PORT, help=f"port to listen at, 0 for any ({PORT})")
    command.add_argument(
        "--allow-remote",
        metavar="URL",
        default="",
        help="let others in, who reach the server at this address, such as https://curate.example.org",
    )
    command.add_argument(
        "--database",
        metavar="URL",
        default="",
        help="postgresql://... for several hosts, instead of a file in the store",
    )
    command.add_argument(
        "--votes", type=int, default=1, metavar="N", help="people that judge each sample (1)"
    )
    command.add_argument(
        "--tokens",
        action="append",
        default=[],
        metavar="NAME=FOLDER_OR_ID:LIMIT",
        help="count a caption's tokens for this encoder, such as clip=openai/clip-vit-large-patch14:77",
    )
    command.add_argument(
        "--reasons", metavar="FILE", help="lines 'code label', for the keys 1 to 9, instead of the usual ones"
    )
    command.add_argument(
        "--export", action="store_true", help="write what is decided so far into the store, and leave"
    )


def run_curate(options: argparse.Namespace) -> None:
    """Serve until interrupted, or only export."""
    settings = _settings(options)
    if options.export:
        from curation_ui.exporting import Exporter
        from curation_ui.review import open_review
        from curation_ui.serve import exported

        review = open_review(settings, "")
        try:
            print(exported(Exporter(review).export()))
        finally:
            review.close()
        return
    from curation_ui.serve import serve

    serve(settings, options.host, options.port)


def _settings(options: argparse.Namespace) -> Settings:
    from curation_ui.review import REASONS, Settings
    from curation_ui.tokens import open_counter

    if not 1 <= options.votes <= MOST_VOTES:
        raise UsageError(f"--votes {options.votes}: expected 1 to {MOST_VOTES}")
    if not 0 <= options.port < 1 << 16:
        raise UsageError(f"--port {options.port}: expected 0 to {(1 << 16) - 1}")
    hosts = allowed_hosts(options.host, options.allow_remote)
    store = open_store(options.store)
    return Settings(
        store,
        find_version(store, options.name),
        options.database,
        options.votes,
        tuple(open_counter(said) for said in options.tokens),
        _reasons(options.reasons) if options.reasons else REASONS,
        hosts,
        options.allow_remote.rstrip("/"),
    )


def allowed_hosts(host: str, public_url: str) -> tuple[str, ...]:
    """The names that requests may ask for.

    Raises:
        UsageError: others could reach the server and nobody said that they may.
    """
    if not public_url:
        if not _is_loopback(host):
            raise UsageError(
                f"--host {host} lets other machines in. Say how they reach the server, such as "
                "--allow-remote https://curate.example.org, and invite people on its page."
            )
        shown = f"[{host}]" if ":" in host else host
        return LOOPBACK if shown in LOOPBACK else (*LOOPBACK, shown)
    found = urlsplit(public_url)
    if found.scheme not in ("http", "https") or not found.hostname or found.path.strip("/") or found.query:
        raise UsageError(f"--allow-remote {public_url!r}: expected http://HOST[:PORT] or https://HOST[:PORT]")
    name = f"[{found.hostname}]" if ":" in found.hostname else found.hostname
    return (*LOOPBACK, name)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        pass
    try:
        return all(ipaddress.ip_address(found[4][0]).is_loopback for found in socket.getaddrinfo(host, None))
    except OSError as error:
        raise MashbillError(f"--host {host}: there is no such address ({error})") from error


def _reasons(path: str) -> tuple[tuple[str, str], ...]:
    try:
        lines = Path(path).read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--reasons {path} cannot be read: {error}") from error
    found = []
    for line in filter(str.strip, lines):
        code, _, label = line.strip().partition(" ")
        if not re.fullmatch(r"[a-z0-9][a-z0-9_]{0,39}", code):
            raise UsageError(
                f"--reasons {path}: {line!r}: expected a code of small letters, digits and _, then a label, "
                "such as 'hands Hands are wrong'"
            )
        found.append((code, label.strip() or code))
    if not 1 <= len(found) <= MOST_REASONS:
        raise UsageError(f"--reasons {path} has {len(found)} lines: expected 1 to {MOST_REASONS}")
    return tuple(found)
