"""Puts asked attributes into words by templates.

``{setting}`` is the value of the attribute. ``{subject:count}`` is in the plural where the attribute
``count`` says more than one. ``a(n)`` becomes ``a`` or ``an`` by the word after it. What stands in ``[...]``
is left out where an attribute in it is unsaid, or gives way to what follows a bar; an unsaid one outside
leaves nothing.

    [{style} of ][{count} {color} {subject:count}|a(n) {color} {subject}][ in {setting}]
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from stages.prompt.specification import Specification
from store.errors import UsageError

_FIELD = re.compile(r"\{(\w+)(?::(\w+))?\}")
_OPTIONAL = re.compile(r"\[([^\[\]]*)\]")
_ARTICLE = re.compile(r"\b([Aa])\(n\)(\s+)(\w*)")
_OPEN = re.compile(r"hour|honou?r|honest|heir|[aefhilmnorsx](?:\d|\Z)|8|1[18](?:\D|\Z)", re.IGNORECASE)
"""Beginnings said with a vowel and not written so: an hour, an honest man, an F1 car, an 80s photo."""
_SHUT = re.compile(
    r"uni(?!n|m|dent)|us[aeu]|ut[eio]|ur[ai]|ubi|ufo|uku|usb|eu|ewe|one\Z|once|u(?:\d|\Z)", re.IGNORECASE
)
"""Beginnings written with a vowel and said with none: a unicorn, a European city, a one-way street."""
_ONE = frozenset({"", "a", "an", "one", "1", "single", "a single"})


def check_templates(specification: Specification) -> None:
    """Raises UsageError where a template names an attribute that there is not."""
    known = {attribute.name for attribute in specification.attributes}
    for template in specification.templates:
        named = {name for found in _FIELD.findall(template) for name in found if name}
        if strange := sorted(named - known):
            raise UsageError(
                f"template {template!r} names {strange[0]!r}; there are: {', '.join(sorted(known))}"
            )


def worded(template: str, asked: Mapping[str, str], plurals: Mapping[str, str]) -> str:
    """The template with the asked values in it.

    Args:
        asked: value by attribute, without those left unsaid.
        plurals: plural by noun, where it is not regular.
    """

    def optional(part: re.Match[str]) -> str:
        choices = part[1].split("|")
        return next((c for c in choices if all(name in asked for name, _ in _FIELD.findall(c))), "")

    def value(field: re.Match[str]) -> str:
        word = asked.get(field[1], "")
        many = field[2] and asked.get(field[2], "") not in _ONE
        return plurals.get(word) or plural(word) if many and word else word

    text = _FIELD.sub(value, _OPTIONAL.sub(optional, template))
    text = _ARTICLE.sub(_article, " ".join(text.split()))
    return text[:1].upper() + text[1:]


def plural(noun: str) -> str:
    """The regular English plural."""
    if re.search(r"(s|x|z|ch|sh)$", noun):
        return f"{noun}es"
    return re.sub(r"(?<![aeiou])y$", "ie", noun) + "s"


def _article(found: re.Match[str]) -> str:
    an = "n" if _sounds_open(found[3]) else ""
    return f"{found[1]}{an}{found[2]}{found[3]}"


def _sounds_open(word: str) -> bool:
    """Whether a word begins with a vowel as it is said, as far as its first letters tell."""
    if _SHUT.match(word):
        return False
    return bool(_OPEN.match(word)) or word[:1].lower() in tuple("aeiou")
