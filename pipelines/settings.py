"""``--set PATH=VALUE``: changes one field of a recipe, with the type it has there."""

from __future__ import annotations

import types
import typing
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

from stages.image.crop_scorers import Center, Clip, CropScorer, Detector, KnownBoxes
from stages.source.datasets import HubDataset
from stages.source.folder import Folder
from stages.source.generated import Generated
from stages.source.img2dataset import Img2dataset
from stages.source.metadata import Metadata
from stages.source.prompts import PromptDataset, PromptFile, PromptList, Prompts
from stages.source.webdataset import WebDataset
from stages.stage import Source
from stages.text.chat import Chat
from stages.text.chat_endpoint import Endpoint
from stages.text.chat_local import Local
from store.errors import UsageError

Setting = TypeVar("Setting")

KINDS: dict[type, tuple[type, ...]] = {
    Source: (Metadata, Img2dataset, Folder, WebDataset, HubDataset, Generated),
    Prompts: (PromptFile, PromptList, PromptDataset),
    CropScorer: (Center, KnownBoxes, Detector, Clip),
    Chat: (Local, Endpoint),
}
"""Parts of a recipe that ``PATH.kind=NAME`` exchanges; fields of the same name carry over."""


def apply_settings(value: Setting, assignments: list[str]) -> Setting:
    """The frozen value with every ``PATH=VALUE`` applied in order.

    A path names fields and stages from the outside in, and may leave out words at either end while it
    stays unambiguous: ``min_side`` is ``select.min_side.min_px``.

    Raises:
        UsageError: unknown or ambiguous path, or a value of the wrong type; lists what is valid.
    """
    for assignment in sorted(assignments, key=lambda a: ".kind=" not in a):
        path, equals, text = assignment.partition("=")
        words = _resolve(value, path.strip())
        if not equals:
            raise UsageError(f"--set {assignment}: expected PATH=VALUE, such as source.path=crawl.parquet")
        value = _assign(value, words, text)
    return value


def paths(value: Any, prefix: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """Every path that can be set below a frozen value, with what stands there now."""
    found: dict[tuple[str, ...], Any] = {}
    if _choices(value):
        found[*prefix, "kind"] = value.kind
    for name, item in _children(value):
        nested = is_dataclass(item) or (isinstance(item, tuple) and all(map(is_dataclass, item)) and item)
        found |= paths(item, (*prefix, name)) if nested else {(*prefix, name): item}
    return found


def _children(value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, tuple):
        return [(stage.name, stage) for stage in value]
    return [(f.name, getattr(value, f.name)) for f in fields(value) if f.init]


def _resolve(value: Any, path: str) -> tuple[str, ...]:
    words, valid = tuple(path.replace("-", "_").split(".")), paths(value)
    named = {tuple(word.replace("-", "_") for word in full): full for full in valid}
    if words in named:
        return named[words]
    fits = [full for name, full in named.items() if _part_of(words, name)]
    if len(fits) == 1:
        return fits[0]
    if fits:
        listed = ", ".join(".".join(full) for full in fits)
        raise UsageError(f"--set {path}: fits more than one field: {listed}")
    listed = "\n  ".join(f"{'.'.join(full)}  (now {now!r})" for full, now in sorted(valid.items()))
    raise UsageError(f"--set {path}: there is no such field; valid are:\n  {listed}")


def _part_of(words: tuple[str, ...], full: tuple[str, ...]) -> bool:
    span = len(words)
    return any(full[i : i + span] == words for i in range(len(full) - span + 1))


def _assign(value: Any, words: tuple[str, ...], text: str) -> Any:
    if isinstance(value, tuple):
        return tuple(_assign(v, words[1:], text) if v.name == words[0] else v for v in value)
    name, rest = words[0], words[1:]
    if name == "kind" and _choices(value):
        return _exchange(value, text)
    current = getattr(value, name)
    if rest:
        return replace(value, **{name: _assign(current, rest, text)})
    hint = typing.get_type_hints(type(value))[name]
    return replace(value, **{name: _parse(text, hint, name)})


def _choices(value: Any) -> tuple[type, ...]:
    return next((kinds for base, kinds in KINDS.items() if isinstance(value, base)), ())


def _exchange(value: Any, kind: str) -> Any:
    choices = {choice.kind: choice for choice in _choices(value)}  # type: ignore[attr-defined]
    if kind not in choices:
        raise UsageError(f"kind={kind}: no such kind; there are: {', '.join(choices)}")
    if isinstance(value, choices[kind]):
        return value
    shared = {f.name for f in fields(choices[kind])} & {f.name for f in fields(value)}
    return choices[kind](**{name: getattr(value, name) for name in shared})


def _parse(text: str, hint: Any, name: str) -> Any:
    if isinstance(hint, types.UnionType):
        options = [option for option in typing.get_args(hint) if option is not type(None)]
        return None if text.lower() in ("none", "null") else _parse(text, options[0], name)
    if typing.get_origin(hint) is tuple:
        inner = typing.get_args(hint)[0]
        return tuple(_parse(part.strip(), inner, name) for part in text.split(",") if part.strip())
    if hint is bool:
        if text.lower() not in ("true", "false", "1", "0", "yes", "no"):
            raise UsageError(f"{name}={text}: expected true or false")
        return text.lower() in ("true", "1", "yes")
    try:
        return hint(text)
    except (TypeError, ValueError) as error:
        expected = getattr(hint, "__name__", str(hint))
        raise UsageError(f"{name}={text}: expected {expected}") from error
