"""Captions that are not about the picture: names of files, addresses, shop talk."""

from __future__ import annotations

import re

_EXTENSION = r"(?:jpe?g|png|gif|webp|bmp|tiff?|heic|avif|svg|psd|cr2|nef)"
_STOCK = (
    r"photos?|photographs?|photography|images?|pictures?|pics?|footage|illustrations?|vectors?|graphics?|art"
)
_AGENCIES = (
    r"shutterstock|getty\s?images|istock(?:photo)?|alamy|depositphotos|dreamstime|123rf|bigstock|"
    r"canstock\s?photo"
)
_MAKERS = r"canon|nikon|sony|olympus|panasonic|fujifilm|kodak|konica minolta|pentax|samsung|casio|leica"
_WHOLE = (
    r"images?|photos?|pictures?|pic|img|thumbnail|untitled|unnamed|unknown|default|placeholder|null|none|n/?a|"
    r"undefined|alt(?: text)?|caption|title|screenshot|no (?:image|photo|caption|description|title)|"
    r"(?:image|photo) not (?:found|available)|no (?:image|photo) available|"
    r"(?:featured|main|product|slideshow|gallery|post) image|profile picture"
)
_CAMERA = (
    rf"(?:{_MAKERS})(?: digital camera| dsc| dvc| camera| corporation| imaging|"
    r" [a-z]{1,4}-?\d{1,4}[a-z]{0,3}|"
    r" (?:eos|powershot|coolpix|cyber-shot|lumix|finepix|easyshare|dimage|exilim)[\w\s-]{0,40})\W*|"
    r"(?:digital|exif) camera\W*"
)
_CALL = (
    r"\bclick (?:here|to|on|for|the (?:image|photo|picture|link))\b|"
    r"\b(?:buy|shop|order|call|subscribe) now\b|\badd to (?:cart|basket|wishlist)\b|"
    r"\bfree (?:download|shipping|delivery)\b|"
    r"\bdownload (?:free|now)\b|\b(?:read|learn|find out|see) more\b(?= ?(?:$|[.!»>:]|here|at|on|about))|"
    r"\bview larger\b|\blarger image\b|\bzoom in$|\bsign up (?:now|today|for)\b|\ball rights reserved\b"
)
_FILE = (
    rf"(?<![\w@().%+-])[\w()%+-]{{1,200}}(?:\.[\w()%+-]{{1,200}}){{0,9}}\.{_EXTENSION}(?!\w)|"
    r"(?<![a-z0-9])(?:img|dsc|dscn|dscf|dcp|pict|sam|mvi|vid|pxl|gopr|p|wp|imag)[_-]?\d{4,}|"
    r"(?<![a-z0-9])(?:img|dsc)[_-][a-z_-]{0,40}\d{3,}|"
    r"^(?:image|photo|picture|pic|scan|slide|untitled)[_-]?\d+\W*$"
)
_HTML = (
    r"</?(?:a|b|i|p|br|div|span|img|em|strong|font|h[1-6]|ul|li|td|tr|table|script|style|iframe|center)"
    r"(?:\s[^<>]*)?/?>|&(?:amp|nbsp|lt|gt|quot|#\d{2,5}|#x[0-9a-f]{2,5});|"
    r"\[/?(?:url|img|caption)[^\[\]]*\]|\b(?:href|src)=[\"']"
)
_KINDS = {
    "call_to_action": re.compile(_CALL),
    "camera": re.compile(_CAMERA),
    "file_name": re.compile(_FILE),
    "html": re.compile(_HTML),
    "placeholder": re.compile(rf"(?:{_WHOLE})(?:\s[#(]?\d+)?\W*"),
    "stock": re.compile(
        rf"\bstock[- ](?:{_STOCK})\b|\broyalty[- ]free\b|\brights[- ]managed\b|\b(?:{_AGENCIES})\b|"
        r"\beditorial use only\b"
    ),
    "url": re.compile(
        r"\bhttps?:/|\bftp://|\bwww\.[a-z0-9-]|"
        r"(?<![\w@.-])(?:[a-z0-9-]{1,63}\.){1,9}(?:com|net|org|info|biz|co\.uk|edu|gov)\b(?!\.\w)"
    ),
}
_WHOLE_CAPTION = ("camera", "placeholder")
"""Kinds that must be all there is: a picture may well show a Canon EOS."""


def boilerplate(caption: str) -> list[str]:
    """Which kinds of boilerplate a caption holds, in alphabetical order; see docs/scores.md."""
    text = " ".join(caption.casefold().split())
    return [
        kind
        for kind, pattern in _KINDS.items()
        if (pattern.fullmatch(text) if kind in _WHOLE_CAPTION else pattern.search(text))
    ]
