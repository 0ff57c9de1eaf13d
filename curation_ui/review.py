"""One queue that is being reviewed: what every route works with."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from curation_ui.access import Access, Person
from curation_ui.board import Board
from curation_ui.catalog import Catalog, open_catalog
from curation_ui.database import Connection, Database
from curation_ui.following import Follower
from curation_ui.images import Images
from curation_ui.place import database_of
from curation_ui.tokens import Counter
from store.store import Store
from store.versions import Version

REASONS = (
    ("hands", "Hands"),
    ("text", "Text"),
    ("face", "Face"),
    ("anatomy", "Anatomy"),
    ("watermark", "Watermark"),
    ("blur", "Blur"),
    ("crop", "Crop"),
    ("off_prompt", "Off prompt"),
    ("nsfw", "NSFW"),
)
"""Code and label of the reasons for a rejection, on the keys 1 to 9."""
DUPLICATE = "duplicate"
"""The reason of those that were not the best of their cluster; always understood."""
PRESENT_S = 60.0
"""Who looked at an item so long ago is said to be there."""


@dataclass(frozen=True)
class Settings:
    """How a queue is reviewed.

    ``database``: a ``postgresql://`` URL; empty for a file in the store. ``public_url``: where people
    reach the server, when that is not where it listens. ``clock``: seconds since 1970.
    """

    store: Store
    version: Version
    database: str = ""
    votes_required: int = 1
    counters: tuple[Counter, ...] = ()
    reasons: tuple[tuple[str, str], ...] = REASONS
    hosts: tuple[str, ...] = ("127.0.0.1", "localhost", "[::1]")
    public_url: str = ""
    clock: Callable[[], float] = time.time

    @property
    def secure(self) -> bool:
        """Whether cookies may travel over TLS only."""
        return self.public_url.startswith("https://")


@dataclass
class Review:
    """A queue with its database, opened. ``ui`` is the hash of the pages' files."""

    settings: Settings
    ui: str
    catalog: Catalog
    database: Database
    access: Access
    board: Board
    images: Images
    enter_token: str
    presence: dict[int, tuple[int, float]] = field(default_factory=dict)
    """Per person the item they look at, and since when."""

    @cached_property
    def _token_counts(self) -> np.ndarray:
        texts = self.catalog.rows["caption"].to_pylist()
        return self.settings.counters[0].counts([text or "" for text in texts])

    def token_counts(self) -> np.ndarray:
        """Tokens of every caption as it came, by the first counter: int32. Counted once."""
        return self._token_counts

    @property
    def clock(self) -> Callable[[], float]:
        return self.settings.clock

    def codes(self) -> set[str]:
        return {code for code, _ in self.settings.reasons} | {DUPLICATE}

    def seen(self, who: Person, item: int) -> None:
        self.presence[who.id] = (item, self.clock())

    def there(self, item: int, who: Person) -> list[str]:
        """Names of the others who look at an item."""
        since = self.clock() - PRESENT_S
        found = [
            p for p, (at, when) in list(self.presence.items()) if at == item and when > since and p != who.id
        ]
        return [self.access.names.get(person, "?") for person in found]

    def close(self) -> None:
        self.database.close()
        self.images.close()


def open_review(settings: Settings, ui: str) -> Review:
    """Open a queue.

    Raises:
        MashbillError: nothing to review, a database that cannot be opened, or another server that has it.
    """
    catalog = open_catalog(settings.store, settings.version)
    database = database_of(settings.store, settings.version.dataset, settings.database)
    access = Access(database, settings.clock)
    board = Board(catalog.sample_ids, settings.votes_required)

    def start(connection: Connection) -> str:
        board.load(connection)
        return access.open(connection)

    token = database.submit(start).result()
    database.lost = board.load
    if database.postgres:  # the only one that other hosts write to as well
        database.before = board.catch_up
        database.closing.callback(Follower(database).close)
    images = Images(settings.store, settings.version, catalog)
    return Review(settings, ui, catalog, database, access, board, images, token)


def me(review: Review, who: Person, keys: dict[str, Any]) -> dict[str, Any]:
    """What a page must know before anything else."""
    settings, version = review.settings, review.settings.version
    reasons = [
        {"key": str(number), "code": code, "label": label}
        for number, (code, label) in enumerate(settings.reasons, 1)
    ]
    return {
        "person": who.public(),
        "queue": {"dataset": version.dataset, "version": version.version, "items": len(review.catalog)},
        "reasons": reasons,
        "tokens": [{"name": counter.name, "limit": counter.limit} for counter in settings.counters],
        "aspects": review.catalog.aspects,
        "left": review.board.left_for(who.id),
        "ui": review.ui,
        "votes_required": settings.votes_required,
        **keys,
    }
