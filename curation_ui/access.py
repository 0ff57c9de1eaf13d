"""Who someone is: people, invitations, sessions. Tokens are random 256 bits, and only their hashes are kept.

An invitation works once and becomes a session, which a browser holds in a cookie that no script can read.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass

from curation_ui.database import Connection, Database
from store.errors import MashbillError

ROLES = ("annotator", "curator", "admin")
INVITE_S = 7 * 86_400.0
SESSION_S = 30 * 86_400.0
REMEMBERED_S = 5.0
"""A session is looked up again after so long: then one that another host revoked has ended here too."""
OWNER = 1
"""The person who started the server."""


class Refused(MashbillError):
    """A request that this person may not make. ``status`` is HTTP's; ``more`` goes into the answer."""

    def __init__(self, message: str, status: int = 403, **more: object) -> None:
        super().__init__(message)
        self.status, self.more = status, more


@dataclass(frozen=True)
class Person:
    """Someone with a session. ``role``: of ``ROLES``, each may do what those before it may."""

    id: int
    name: str
    role: str

    def may(self, role: str) -> bool:
        return ROLES.index(self.role) >= ROLES.index(role)

    def public(self) -> dict[str, object]:
        return {"id": self.id, "name": self.name, "role": self.role}


class Access:
    """People and their sessions. ``clock`` gives seconds since 1970."""

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database, self._clock = database, clock
        self._remembered: dict[str, tuple[Person, float]] = {}
        self.names: dict[int, str] = {}

    def open(self, connection: Connection) -> str:
        """Make the owner where there is none; returns a token to enter with as that person."""
        now = self._clock()
        if connection.one("SELECT 1 FROM person WHERE id = ?", (OWNER,)) is None:
            connection.run(
                "INSERT INTO person (id, name, role, created_at) VALUES (?, ?, ?, ?)",
                (OWNER, "Owner", "admin", now),
            )
        connection.run("DELETE FROM invite WHERE expires_at < ?", (now,))
        if not connection.postgres:  # else another host's link may wait to be used
            connection.run("DELETE FROM invite WHERE person = ?", (OWNER,))
        connection.run("DELETE FROM session WHERE expires_at < ?", (now,))
        return self._invitation(connection, OWNER)

    def invite(self, connection: Connection, name: str, role: str) -> tuple[int, str]:
        """A new person and the token to enter with.

        Raises:
            Refused: somebody here has that name.
        """
        if connection.one("SELECT 1 FROM person WHERE name = ? AND revoked_at IS NULL", (name,)):
            raise Refused(f"somebody here is called {name} already: give another name", 409)
        [found] = connection.all("SELECT coalesce(max(id), 0) + 1 FROM person")
        person = int(found[0])
        connection.run(
            "INSERT INTO person (id, name, role, created_at) VALUES (?, ?, ?, ?)",
            (person, name, role, self._clock()),
        )
        return person, self._invitation(connection, person)

    def revoke(self, connection: Connection, person: int) -> None:
        """End a person's sessions and invitations; what they decided stays theirs."""
        if person == OWNER:
            raise Refused("the owner of this server cannot be removed", 409)
        changed = connection.run(
            "UPDATE person SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL", (self._clock(), person)
        )
        if not changed:
            raise Refused("there is no such person", 404)
        for table in ("invite", "session", "lease"):
            connection.run(f"DELETE FROM {table} WHERE person = ?", (person,))
        self._remembered.clear()

    def enter(self, connection: Connection, token: str, name: str | None) -> tuple[Person, str]:
        """Use up an invitation; returns who entered and the key of their session.

        Raises:
            Refused: the token is unknown, used or too old.
        """
        now, hashed = self._clock(), _hash(token)
        found = connection.one("SELECT person, expires_at FROM invite WHERE hash = ?", (hashed,))
        connection.run("DELETE FROM invite WHERE hash = ?", (hashed,))
        if found is None or found[1] < now:
            raise Refused("this link was used before, or is too old: ask for a new one", 401)
        person = int(found[0])
        taken = connection.one("SELECT 1 FROM person WHERE name = ? AND id <> ?", (name, person))
        if name and not taken:
            connection.run("UPDATE person SET name = ? WHERE id = ?", (name, person))
        key = secrets.token_urlsafe(32)
        connection.run("INSERT INTO session VALUES (?, ?, ?)", (_hash(key), person, now + SESSION_S))
        entered = _person(connection, person)
        assert entered is not None
        self.names[person] = entered.name
        return entered, key

    async def person(self, key: str | None) -> Person:
        """Whose session a key opens.

        Raises:
            Refused: nobody's.
        """
        if not key:
            raise Refused("enter with the link you were given", 401)
        hashed, now = _hash(key), self._clock()
        remembered = self._remembered.get(hashed)
        if remembered is None or remembered[1] < now:
            found = await self._database.read(lambda connection: _session(connection, hashed, now))
            if found is None:
                self._remembered.pop(hashed, None)
                raise Refused("your session has ended: enter with a new link", 401)
            remembered = self._remembered[hashed] = (found, now + REMEMBERED_S)
        return remembered[0]

    def load(self, connection: Connection) -> None:
        """Names of everyone, for cards."""
        self.names = dict(connection.all("SELECT id, name FROM person"))

    def name(self, person: int) -> str | None:
        """A person's name, also of one who was removed."""
        return self.names.get(person)

    def _invitation(self, connection: Connection, person: int) -> str:
        token = secrets.token_urlsafe(32)
        connection.run(
            "INSERT INTO invite VALUES (?, ?, ?)", (_hash(token), person, self._clock() + INVITE_S)
        )
        self.load(connection)
        return token


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _person(connection: Connection, person: int) -> Person | None:
    found = connection.one("SELECT id, name, role FROM person WHERE id = ? AND revoked_at IS NULL", (person,))
    return Person(*found) if found else None


def _session(connection: Connection, hashed: str, now: float) -> Person | None:
    found = connection.one("SELECT person FROM session WHERE hash = ? AND expires_at > ?", (hashed, now))
    return _person(connection, int(found[0])) if found else None
