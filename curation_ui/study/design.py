"""What a study asks of whom, and by which rules it counts: fixed before anybody votes.

A design is a frozen value that one function returns, as a recipe does. A study is a design with its models
and prompts, in ``studies/<name>/`` of a store:

::

    study.json        the design, the seed, where the models' images came from, digests; written once, last
    pairs.parquet     every pair of images, with its prompt
    images.parquet    every image: where its bytes are, and their SHA-256
    images.tar        those that came from folders and runs
    votes.sqlite      trials and votes, append-only
    report/           what ``mashbill study report`` wrote
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import msgspec

from store.digest import fingerprint, settings
from store.errors import MashbillError, UsageError
from store.location import Location
from store.store import Store
from store.versions import NAME

FORMAT = 1
Choice = Literal["left", "right", "both", "none", "skip"]
CHOICES: tuple[str, ...] = get_args(Choice)
CONSENT = (
    "You will be shown two images at a time and asked which is better. Your answers are kept without your "
    "name, with the time you took and the size of your window. You may stop whenever you like: close the "
    "page. What you answered until then is kept."
)
EXAMPLE = "mashbill study create duel --preset sd35-flash --model student=out/student --model teacher=out/big"


@dataclass(frozen=True)
class Question:
    """One pass over the pairs. ``choices``: what may be answered, beside "skip". ``shows_prompt``: else the
    prompt is sent nowhere. ``gold``: what known answers are made by: a "corrupted" image against itself, or
    an image of another ("swapped") prompt against the right one."""

    name: str
    text: str
    shows_prompt: bool
    gold: Literal["corrupted", "swapped"]
    choices: tuple[str, ...] = ("left", "right", "both", "none")


@dataclass(frozen=True)
class Exclusion:
    """Who is left out of the second account. Each rule is told with the people it met."""

    gold_accuracy: float = 0.75
    """Under this share of known answers right."""
    gold_at_least: int = 8
    """Of so many, else the rules on gold and retests do not hold."""
    side_z: float = 4.0
    """Chose one side by so many standard deviations more often than the other."""
    fast_ms: int = 600
    """A vote sooner after both images were shown is counted as fast. That alone leaves out nobody."""


@dataclass(frozen=True)
class Design:
    """A whole study but for its models and prompts. Counts are per question."""

    name: str
    questions: tuple[Question, ...]
    votes: int
    """On each pair, of different people."""
    extra_votes: int = 2
    """More of them, one at a time, while no answer leads."""
    overlap: float = 0.0
    """Share of the pairs that get one vote more: where ``votes`` is 1, agreement is known by these alone."""
    pairing: str = "all"
    """Which models meet: "all", or the "first" with each other one."""
    match: str = "seed"
    """Which images of a prompt meet: by "seed" those with equal ones, by "number" the first and the first."""
    prompts: int = 0
    """At most so many, drawn by the seed; 0 is all."""
    seeds: int = 0
    """At most so many images of a prompt and model; 0 is all."""
    per_person: int = 0
    """At most so many votes of one person; 0 is no limit."""
    gold: float = 0.05
    retest: float = 0.05
    """Shares of a person's trials: known answers, and pairs they saw before with the sides swapped."""
    practice: int = 5
    """Trials with known answers that come first and tell whether one was right. They count nowhere."""
    block: int = 50
    """Trials between pauses."""
    apart: int = 10
    """No prompt comes twice within so many trials."""
    layout: str = "side"
    """Both images at once, "side" by side; or "flip", one at a time in one place."""
    exclude: Exclusion = Exclusion()
    consent: str = CONSENT

    def question(self, name: str) -> Question:
        return next(question for question in self.questions if question.name == name)


def check(design: Design) -> Design:
    """The design itself.

    Raises:
        UsageError: a field is out of range; says which, and what is valid.
    """
    names = [question.name for question in design.questions]
    if not names or len(set(names)) != len(names):
        raise UsageError(f"design.questions={names}: expected one or more, each with a name of its own")
    for question in design.questions:
        odd = [choice for choice in question.choices if choice not in CHOICES[:-1]]
        if odd or not {"left", "right"} <= set(question.choices):
            raise UsageError(
                f"design.questions.{question.name}.choices={question.choices}: expected left and right, and "
                "if wanted both and none"
            )
        if question.gold == "swapped" and not question.shows_prompt:
            raise UsageError(
                f"design.questions.{question.name}: a swapped prompt can be told only where it is shown"
            )
    seen = [question.shows_prompt for question in design.questions]
    if sorted(seen) != seen:
        raise UsageError("design.questions: those that hide the prompt come before those that show it")
    for name, least in (
        ("votes", 1),
        ("extra_votes", 0),
        ("prompts", 0),
        ("seeds", 0),
        ("per_person", 0),
        ("practice", 0),
        ("block", 1),
        ("apart", 0),
    ):
        if getattr(design, name) < least:
            raise UsageError(f"design.{name}={getattr(design, name)}: expected {least} or more")
    for name in ("overlap", "gold", "retest"):
        if not 0 <= getattr(design, name) <= 1:
            raise UsageError(f"design.{name}={getattr(design, name)}: expected a share from 0 to 1")
    for name, valid in (
        ("pairing", ("all", "first")),
        ("match", ("seed", "number")),
        ("layout", ("side", "flip")),
    ):
        if getattr(design, name) not in valid:
            raise UsageError(f"design.{name}={getattr(design, name)}: expected {' or '.join(valid)}")
    if design.gold + design.retest > 0.5:
        raise UsageError("design.gold and design.retest: expected at most half of all trials together")
    return design


def design_of(found: dict[str, Any]) -> Design:
    """The design that ``store.digest.settings`` wrote."""
    return msgspec.convert(found, Design)


@dataclass(frozen=True)
class Study:
    """The place of one study, whether or not it exists yet. Make one with ``study_at``."""

    location: Location

    @property
    def name(self) -> str:
        return self.location.name

    @property
    def exists(self) -> bool:
        return (self.location / "study.json").exists()

    @property
    def _store(self) -> Location:
        return self.location.parent.parent

    def tar_said(self, url: str) -> str:
        """What ``tar`` finds again wherever the store lies: a tar inside of it by its path there."""
        return url.removeprefix(f"{self._store.url}/")

    def tar(self, said: str) -> Location:
        """A tar by what ``images.parquet`` says: a name beside it, a path in the store, or a URL."""
        if said.startswith("/") or "://" in said:
            return Location.of(said)
        return self._store / said if "/" in said else self.location / said

    def record(self) -> dict[str, Any]:
        """The content of ``study.json``: ``name``, ``design``, ``seed``, ``models``, ``prompts``, ``pairs``,
        ``missing``, ``files``, ``digest``, ``created``.

        Raises:
            MashbillError: there is no such study, or it is not as it was frozen.
        """
        file = self.location / "study.json"
        try:
            found = dict(file.read_json())
        except FileNotFoundError as error:
            raise MashbillError(
                f"there is no study {self.name!r}: {file.url} is missing. Make one: {EXAMPLE}"
            ) from error
        if found.get("format") != FORMAT or frozen_digest(found) != found.get("digest"):
            raise MashbillError(
                f"{file.url} is not as it was frozen: a study's design may not change once it is made, as "
                "votes cast under one design are no votes under another. Restore the file, or create another "
                "study."
            )
        return found

    def design(self) -> Design:
        return design_of(self.record()["design"])


def frozen_digest(record: dict[str, Any]) -> str:
    """Names all that decides what is asked; 12 hex digits."""
    return fingerprint({k: v for k, v in record.items() if k not in ("digest", "created")})


def frozen(record: dict[str, Any], design: Design) -> dict[str, Any]:
    """The record with its design and digest."""
    whole = record | {"format": FORMAT, "design": settings(check(design))}
    return whole | {"digest": frozen_digest(whole)}


def study_at(store: Store, name: str) -> Study:
    """The place of a study in a store.

    Raises:
        UsageError: a name that is no folder name.
        MashbillError: the store is not on a local disk.
    """
    if not re.fullmatch(NAME, name):
        raise UsageError(f"study {name!r}: expected lower-case letters, digits, dots and hyphens, at most 80")
    if not store.root.local:
        raise MashbillError(
            f"votes are written to a local disk; the store is at {store.url}. Give --store a folder. Models "
            "may still come from anywhere."
        )
    place = store.root / "studies" / name
    return Study(replace(place, temp=store.root.temp))
