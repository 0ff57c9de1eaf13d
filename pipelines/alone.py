"""One build at a time works on a thing; another that needs it waits, and says for whom."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from store.lease import Owner, clear_dead, held
from store.location import Location


@contextmanager
def alone(location: Location, what: str, to_do: bool = True) -> Iterator[None]:
    """Hold the lease of a source or version while it is made. Look again, inside, what there is to do.

    With nothing ``to_do`` nobody is waited for; what a killed builder left of its lease is removed.
    """
    if not to_do:
        clear_dead(location)
        yield
        return

    def waiting(owner: Owner) -> None:
        print(f"{owner} is at work on {what}; waiting, to use what it makes", file=sys.stderr, flush=True)

    with held(location, waiting):
        yield
