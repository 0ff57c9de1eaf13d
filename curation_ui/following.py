"""Keeps a server's memory up with what other hosts write into the same database."""

from __future__ import annotations

import threading

from curation_ui.database import Connection, Database

FOLLOW_S = 1.0
"""Pages and counts are behind other hosts by so much at most."""


class Follower:
    """A thread that has a database begin a commit of nothing every ``FOLLOW_S``.

    Each commit begins with ``Database.before``, which takes in what others have written: the id of the newest
    event is all that is read where there is nothing new.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="follower", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._over.set()
        self._thread.join()

    def _follow(self) -> None:
        asked = None
        while not self._over.wait(FOLLOW_S):
            if asked is None or asked.done():
                asked = self._database.submit(_nothing)


def _nothing(connection: Connection) -> None:
    """Who next writes hears of a connection that is lost; here nobody waits for it."""
