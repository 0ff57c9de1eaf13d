"""What clients may say: the bodies of requests, typed. Everything else is refused with one sentence."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

CAPTION_BYTES = 8192
EVENTS_PER_CALL = 200

Uuid = Annotated[str, msgspec.Meta(pattern=r"^[0-9A-Za-z-]{8,64}\Z")]
Item = Annotated[int, msgspec.Meta(ge=0, lt=2**32)]
Position = Annotated[int, msgspec.Meta(ge=0, lt=2**32)]
Pixel = Annotated[int, msgspec.Meta(ge=0, lt=2**20)]
Reason = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9_]{0,39}\Z")]
Reasons = Annotated[tuple[Reason, ...], msgspec.Meta(max_length=9)]
Caption = Annotated[str, msgspec.Meta(max_length=CAPTION_BYTES)]
Short = Annotated[str, msgspec.Meta(max_length=200)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=60)]
Token = Annotated[str, msgspec.Meta(max_length=100)]
Role = Literal["annotator", "curator", "admin"]


class Body(msgspec.Struct, forbid_unknown_fields=True):
    """A JSON object with these fields and no others."""


class Enter(Body):
    token: Token
    name: Name | None = None


class Keys(Body):
    keys: Annotated[dict[Token, Short], msgspec.Meta(max_length=100)]
    single_keys: bool = True


class Renew(Body):
    lease: Token
    item: Item | None = None


class Release(Body):
    lease: Token


class NewEvent(Body):
    """One thing a person did to one item; ``base`` is the version of the card they saw."""

    uuid: Uuid
    item: Item
    kind: Literal["keep", "reject", "unset", "caption", "crop"]
    base: Annotated[int, msgspec.Meta(ge=0, lt=2**40)]
    reasons: Reasons = ()
    caption: Caption | None = None
    crop: tuple[Pixel, Pixel, Pixel, Pixel] | None = None
    lease: Token | None = None
    shown_ms: Annotated[int, msgspec.Meta(ge=0, lt=2**40)] | None = None
    at: Token | None = None
    batch: Uuid | None = None


class NewEvents(Body):
    events: Annotated[tuple[NewEvent, ...], msgspec.Meta(max_length=EVENTS_PER_CALL)]


class Undo(Body):
    """``undoes``: uuid of the event or batch that is meant; the newest without it."""

    uuid: Uuid
    undoes: Uuid | None = None


class Ask(Body):
    """A query, a sort, and the polygon (x, y, x, y, ...) on the plane ``map`` that items must lie in."""

    query: Annotated[str, msgspec.Meta(max_length=2000)] = ""
    sort: Short = ""
    map: Short = ""
    area: Annotated[tuple[float, ...], msgspec.Meta(max_length=2000)] = ()


class Batch(Body):
    """One change of many items: ``start`` to ``stop`` of a snapshot, several such ``ranges``, or clusters."""

    kind: Literal["keep", "reject", "unset", "caption", "keep_best"]
    uuid: Uuid | None = None
    snapshot: Token | None = None
    start: Position = 0
    stop: Position = 0
    ranges: Annotated[tuple[tuple[Position, Position], ...], msgspec.Meta(max_length=500)] = ()
    reasons: Reasons = ()
    find: Annotated[str, msgspec.Meta(max_length=1000)] = ""
    replace: Annotated[str, msgspec.Meta(max_length=1000)] = ""
    clusters: Annotated[tuple[Short, ...], msgspec.Meta(max_length=2000)] = ()
    by: Short = ""
    preview: bool = False


class Text(Body):
    text: Caption


class Invite(Body):
    name: Name
    role: Role = "annotator"


def with_nul(value: Any, name: str = "") -> str | None:
    """The first field of a body, as ``events[0].at``, that has the character NUL, which no database keeps."""
    if isinstance(value, str):
        return name if "\0" in value else None
    parts: list[tuple[str, Any]] = []
    if isinstance(value, dict):
        for key, part in value.items():
            if "\0" in key:
                return f"a name in {name}"
            parts.append((f"{name}.{key}", part))
    elif isinstance(value, msgspec.Struct):
        parts = [(f"{name}.{field}", getattr(value, field)) for field in value.__struct_fields__]
    elif isinstance(value, (tuple, list)):
        parts = [(f"{name}[{index}]", part) for index, part in enumerate(value)]
    return next((found for at, part in parts if (found := with_nul(part, at.lstrip(".")))), None)
