"""Personal data in captions: patterns that are checked by their own check digits where they have some.

Precision comes first: a year, a price, a size or an ISBN must not drop a picture.
"""

from __future__ import annotations

import ipaddress
import re

_EMAIL = re.compile(
    r"(?<![\w.+-])[a-z0-9](?:[\w.+-]{0,62}[\w+-])?@(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+([a-z]{2,24})"
    r"(?![\w-]|\.\w)",
    re.IGNORECASE | re.ASCII,
)
_IMAGE_FILES = frozenset(("jpg", "jpeg", "png", "gif", "webp", "svg", "bmp", "tif", "tiff", "avif", "heic"))
"""``logo@2x.png`` is a file for sharp screens."""

_PHONES = tuple(
    re.compile(pattern, re.IGNORECASE | re.ASCII)
    for pattern in (
        r"(?<![\w+/=])(?:\+|(?<!\d )00(?=[1-9]\d{0,2}[ ./(-]))(?P<digits>[1-9][\d ./()-]{6,20}\d)(?![\w%])",
        r"(?<![\w./=-])(?:\+?1[-. ])?(?P<digits>(?:\([2-9]\d{2}\) ?|[2-9]\d{2}[-.])[2-9]\d{2}[-.]\d{4})"
        r"(?![\w-]|\.\d)",
        r"\b(?:tel|telephone|call|fax|whatsapp|phone no|phone number|(?:phone|mobile|cell)(?=[.:]))"
        r"\b[.:]?\s*(?:us\s|at\s|now\s|on\s|me\s)*(?P<digits>[(+]?\d[\d ()./-]{5,20}\d)(?![\w%])",
    )
)
"""International (E.164), North American with its separators, and any after a word that announces it."""

_CARD = re.compile(r"(?<![\w./+-])\d(?:[ -]?\d){12,18}(?![\w-]|\.\w)", re.ASCII)
_CARD_KINDS = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})|5[1-5]\d{14}|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}|"
    r"3[47]\d{13}|6(?:011|5\d\d|4[4-9]\d)\d{12}|3(?:6|8|0[0-5])\d{11,12}|35(?:2[89]|[3-8]\d)\d{12}"
)
_CARD_GROUPS = ((4, 4, 4, 4), (4, 6, 5), (4, 6, 4), (4, 4, 4, 1), (4, 4, 4, 4, 3))

_IBAN = re.compile(r"(?<!\w)([A-Z]{2})\d{2}(?: ?[A-Z0-9]){11,32}", re.ASCII)
_IBAN_LENGTHS = {
    key: int(length)
    for length, keys in {
        "15": "NO",
        "16": "BE",
        "18": "DK FI NL",
        "19": "MK SI",
        "20": "AT BA EE KZ LT LU XK",
        "21": "CH HR LI LV",
        "22": "BG BH CR DE GB GE IE ME RS",
        "23": "AE GI IL IQ",
        "24": "AD CZ ES MD PK RO SA SE SK TN VA",
        "25": "PT",
        "26": "IS TR",
        "27": "FR GR IT MC SM",
        "28": "AL AZ CY DO GT HU LB PL",
        "29": "BR EG PS QA UA",
        "30": "JO KW MU",
        "31": "MT SC",
    }.items()
    for key in keys.split()
}
_IP4 = re.compile(r"(?<![\w.-])(?:\d{1,3}\.){3}\d{1,3}(?![\w-]|\.\d)", re.ASCII)
_IP6 = re.compile(r"(?<![\w:.])[0-9a-f]{1,4}(?:::?[0-9a-f]{1,4}){3,7}(?![\w:])", re.IGNORECASE | re.ASCII)
_VERSION = re.compile(
    r"(?:\bv|\bver|version|firmware|release|build|rev|section|chapter)\.?\s*$", re.IGNORECASE
)


def personal_data(text: str) -> list[str]:
    """Which kinds are in a text, in alphabetical order: ``bank_account card email ip_address phone``."""
    found = {
        "bank_account": any(_is_iban(match[0]) for match in _IBAN.finditer(text)),
        "card": any(_is_card(match[0]) for match in _CARD.finditer(text)),
        "email": any(match[1].lower() not in _IMAGE_FILES for match in _EMAIL.finditer(text)),
        "ip_address": any(_is_public(match, text) for p in (_IP4, _IP6) for match in p.finditer(text)),
        "phone": any(_is_phone(match["digits"]) for p in _PHONES for match in p.finditer(text)),
    }
    return [kind for kind, there in found.items() if there]


def _is_phone(written: str) -> bool:
    """7 to 15 digits (E.164), and not years or dates."""
    groups = re.findall(r"\d+", written)
    years = [group for group in groups if re.fullmatch(r"(?:19|20)\d\d", group)]
    dates = years and all(group in years or len(group) < 3 for group in groups)
    return 7 <= sum(map(len, groups)) <= 15 and not dates


def _is_card(written: str) -> bool:
    """A network's prefix and length, its groups or none at all, and the check digit of Luhn."""
    digits = re.sub(r"\D", "", written)
    groups = tuple(len(group) for group in re.findall(r"\d+", written))
    if not _CARD_KINDS.fullmatch(digits) or (len(groups) > 1 and groups not in _CARD_GROUPS):
        return False
    doubled = [int(d) * (2 if i % 2 else 1) for i, d in enumerate(reversed(digits))]
    return sum(d - 9 if d > 9 else d for d in doubled) % 10 == 0


def _is_iban(written: str) -> bool:
    """The country's length, and remainder 1 of 97 (ISO 13616). What follows may be the next word."""
    length = _IBAN_LENGTHS.get(written[:2])
    code = written.replace(" ", "")[:length]
    if length is None or len(code) < length:
        return False
    return int("".join(str(int(c, 36)) for c in code[4:] + code[:4])) % 97 == 1


def _is_public(match: re.Match[str], text: str) -> bool:
    """An address anybody can reach, written neither as a version nor as the number of a section."""
    try:
        address = ipaddress.ip_address(match[0])
    except ValueError:
        return False
    like_a_section = address.version == 4 and max(address.packed) < 10
    return address.is_global and not like_a_section and not _VERSION.search(text[: match.start()])
