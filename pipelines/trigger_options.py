"""The options of ``mashbill trigger``."""

from __future__ import annotations

import argparse

TOKEN = "MASHBILL_TRIGGER_TOKEN"
"""Environment variable: what requests to ``--listen`` must send as ``Authorization: Bearer TOKEN``."""


def trigger_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--watch", action="store_true", help="look every 5 s, and run what is queued")
    command.add_argument("--once", action="store_true", help="look, run what is queued, and end")
    command.add_argument(
        "--slots", type=_slots, default=1, metavar="N", help="runs at work on this machine at a time (1)"
    )
    command.add_argument(
        "--listen", metavar="HOST:PORT", help=f"look when POST /versions says so; token in {TOKEN}"
    )
    actions = command.add_subparsers(dest="action", metavar="add|remove|list|retry")
    for name, what in ACTIONS.items():
        action = actions.add_parser(name, help=what, description=f"{what[0].upper()}{what[1:]}.")
        action.add_argument("--store", default=argparse.SUPPRESS, help="folder of the store")
        if name == "add":
            action.add_argument("recipe", help="finetune-tiny, ... or path/to/file.py:function")
            action.add_argument("--set", dest="settings", action="append", default=[], metavar="PATH=VALUE")
            action.add_argument("--now", action="store_true", help="run it for the newest version there is")
        elif name == "list":
            action.add_argument("--json", action="store_true", help="one JSON object on stdout")
        else:
            action.add_argument("name", help="the trigger" if name == "remove" else "NAME/ID of the run")


ACTIONS = {
    "add": "start a run for every new version of its dataset",
    "remove": "end that; runs stay",
    "list": "what is started by what, and what came of it",
    "retry": "queue a run again that failed or was stopped",
}


def _slots(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected 1 or more")
    return int(text)
