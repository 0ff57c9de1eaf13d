"""The query language: what a person types to filter a queue, parsed by hand.

::

    cat "red hat"                    words of the caption, all of them
    caption:word  chars:<100  tokens:>75  verdict:none|keep|reject|second  reason:hands  by:Ana
    edited:caption|crop|none (by a person)
    cluster:>1 (how many look alike)  width:>=512  split:train  clip_similarity:>0.3  COLUMN:none
    NOT verdict:keep    a OR b    (a OR b) c    a AND b

``NOT`` binds before ``AND`` (which needs not be written), and that before ``OR``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from store.errors import UsageError

OPERATORS = (">=", "<=", ">", "<", "=")
DEEPEST = 50
_TOKEN = re.compile(
    r'\s*(?:(?P<open>\()|(?P<close>\))|(?P<word>(?:[^\s()":]+:)?(?:"[^"]*"|[^\s()"]+)|[^\s()":]+:))'
)


class QueryError(UsageError):
    """A query that cannot be understood. ``at``: the character it stumbles over, from 0."""

    def __init__(self, message: str, at: int) -> None:
        super().__init__(f"{message} (at character {at + 1})")
        self.at = at
        self.more = {"at": at}


@dataclass(frozen=True)
class Term:
    """``field`` compared with ``value``. ``operator``: of ``OPERATORS``, or a plain ``:``."""

    field: str
    operator: str
    value: str
    at: int


@dataclass(frozen=True)
class Not:
    inner: Node


@dataclass(frozen=True)
class And:
    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Or:
    parts: tuple[Node, ...]


Node = Term | Not | And | Or


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    at: int


def parse(text: str) -> Node:
    """A query's meaning; an empty one is everything (``And`` of nothing).

    Raises:
        QueryError: says where, and what was expected.
    """
    parser = _Parser(_tokens(text), len(text))
    if not parser.tokens:
        return And(())
    node = parser.either(0)
    rest = parser.peek()
    if rest is not None:
        raise QueryError("there is a ) without its (", rest.at)
    return node


def _tokens(text: str) -> list[_Token]:
    found, position = [], 0
    end = len(text.rstrip())
    while position < end:
        match = _TOKEN.match(text, position)
        if match is None or match.lastgroup is None:
            raise QueryError('there is a " without its second one', text.index('"', position))
        start = match.start(match.lastgroup)
        found.append(_Token(match.lastgroup, match.group(match.lastgroup), start))
        position = match.end()
    return found


class _Parser:
    def __init__(self, tokens: list[_Token], end: int) -> None:
        self.tokens, self.end, self.position = tokens, end, 0

    def peek(self) -> _Token | None:
        return self.tokens[self.position] if self.position < len(self.tokens) else None

    def either(self, depth: int) -> Node:
        return self._joined("OR", lambda: self.both(depth), Or, depth)

    def both(self, depth: int) -> Node:
        parts = [self.one(depth)]
        while (token := self.peek()) is not None and token.kind != "close" and token.text != "OR":
            if token.text == "AND":
                self.position += 1
            parts.append(self.one(depth))
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def _joined(self, word: str, read: Callable[[], Node], kind: type[Or], depth: int) -> Node:
        if depth > DEEPEST:
            raise QueryError(f"there are more than {DEEPEST} ( inside each other", self.end)
        parts = [read()]
        while (token := self.peek()) is not None and token.text == word:
            self.position += 1
            parts.append(read())
        return parts[0] if len(parts) == 1 else kind(tuple(parts))

    def one(self, depth: int) -> Node:
        token = self.peek()
        if token is None:
            raise QueryError("something is missing here", self.end)
        self.position += 1
        if token.text == "NOT":
            return self._not(depth)
        if token.kind == "open":
            return self._inside(token, depth)
        if token.kind == "close" or token.text in ("AND", "OR"):
            raise QueryError(f"{token.text} needs something before it", token.at)
        return _term(token)

    def _not(self, depth: int) -> Node:
        count = 1
        while (token := self.peek()) is not None and token.text == "NOT":
            self.position += 1
            count += 1
        inner = self.one(depth)
        return Not(inner) if count % 2 else inner

    def _inside(self, opened: _Token, depth: int) -> Node:
        node = self.either(depth + 1)
        token = self.peek()
        if token is None or token.kind != "close":
            raise QueryError("there is a ( without its )", opened.at)
        self.position += 1
        return node


def _term(token: _Token) -> Term:
    text, at = token.text, token.at
    field, colon, value = text.partition(":")
    if not colon or text.startswith('"'):
        return Term("caption", ":", _plain(text), at)
    if not value:
        raise QueryError(f"{field}: needs a value after it", at + len(text))
    operator = next((sign for sign in OPERATORS if value.startswith(sign)), ":")
    if operator != ":":
        value = value.removeprefix(operator)
        if not value:
            raise QueryError(f"{field}:{operator} needs a number after it", at + len(text))
    return Term(field, operator, _plain(value), at)


def _plain(value: str) -> str:
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value
