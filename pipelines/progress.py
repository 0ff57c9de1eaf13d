"""Progress bars on stderr, one at a time."""

from __future__ import annotations

from types import TracebackType

from tqdm import tqdm


class Bars:
    """A ``Progress`` that draws the work of the moment; use as a context."""

    def __init__(self) -> None:
        self._bar: tqdm | None = None
        self._what = ""

    def __call__(self, what: str, done: int, total: int) -> None:
        if what != self._what or self._bar is None:
            self.close()
            self._what = what
            shown = what if len(what) <= 48 else what[:45] + "..."
            self._bar = tqdm(total=total, desc=shown, initial=done, mininterval=0.5)
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def __enter__(self) -> Bars:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()
