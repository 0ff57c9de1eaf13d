"""What prompts are to show: attributes, the share of each of their values, and what must not go together."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

from store.errors import UsageError

UNSAID = ""
"""The value of an attribute that a prompt says nothing about."""


@dataclass(frozen=True)
class Value:
    """One value of an attribute, in the words of a prompt, and the share (0 to 1) of prompts to have it.

    ``plural``: of a noun whose plural does not end in s.
    """

    name: str
    share: float
    plural: str = ""


@dataclass(frozen=True)
class Attribute:
    """Such as color, setting or light. Where the shares add up to less than 1, the rest leave it unsaid."""

    name: str
    values: tuple[Value, ...]

    def shares(self) -> dict[str, float]:
        """Share of each value, ``UNSAID`` last; they add up to 1."""
        said = {value.name: value.share for value in self.values}
        return said | {UNSAID: max(0.0, 1.0 - math.fsum(said.values()))}


@dataclass(frozen=True)
class Specification:
    """Attributes, forbidden pairs and the templates of a grammar.

    ``forbidden``: pairs such as ``("age=child", "setting=bar")``; ``"relation="`` is a relation left unsaid.
    ``templates``: sentences with ``{attribute}`` in them; see ``stages.prompt.grammar``.

    Raises:
        UsageError: shares over 1 or below 0, a name that comes twice, a pair of what there is not.
    """

    attributes: tuple[Attribute, ...]
    templates: tuple[str, ...]
    forbidden: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        _once("attributes", [attribute.name for attribute in self.attributes])
        for attribute in self.attributes:
            _check_shares(attribute)
        if not (self.attributes and self.templates):
            raise UsageError("a specification needs attributes and templates; one of them is empty")
        for pair in self.forbidden:
            for side in pair:
                self.place(side)

    def values(self, attribute: int) -> list[str]:
        """The values of attribute number ``attribute``, ``UNSAID`` last."""
        return list(self.attributes[attribute].shares())

    def place(self, side: str) -> tuple[int, int]:
        """Number of the attribute and of its value that one side of a forbidden pair names."""
        name, equals, value = side.partition("=")
        names = [attribute.name for attribute in self.attributes]
        if not equals or name not in names:
            raise UsageError(f"forbidden {side!r}: expected attribute=value with one of {', '.join(names)}")
        number = names.index(name)
        if value not in self.values(number):
            known = ", ".join(value.name for value in self.attributes[number].values)
            raise UsageError(f"forbidden {side!r}: {name} has the values {known}; nothing after = is unsaid")
        return number, self.values(number).index(value)


def _once(what: str, names: list[str]) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise UsageError(f"{what}: {twice[0]!r} comes twice; give each once")


def _check_shares(attribute: Attribute) -> None:
    _once(attribute.name, [value.name for value in attribute.values])
    if any(value.name == UNSAID for value in attribute.values):
        raise UsageError(f"{attribute.name}: a value without a name; leave a share over for what is unsaid")
    wrong = [v for v in attribute.values if not 0 <= v.share <= 1]
    total = math.fsum(value.share for value in attribute.values)
    if wrong or not attribute.values or total > 1 + 1e-9:
        found = ", ".join(f"{value.name} {value.share:g}" for value in attribute.values) or "no values"
        raise UsageError(f"{attribute.name}: {found}; expected shares of 0 to 1 that add up to 1 or less")
