"""What img2dataset says about a failed URL, as a reason code.

img2dataset 1.47 records free text: what ``urllib``, ``http.client``, ``ssl`` and the resolver say,
its own few sentences, and the texts of our guards. The text stays in ``source_detail``.
"""

from __future__ import annotations

import re

CONNECTION_REASONS = frozenset({"dns", "refused", "timeout"})
"""No answer came at all. When nothing else happens to a whole list, the network is down."""

_RETRYABLE = CONNECTION_REASONS | {"lost_by_downloader", "download_failed"}
_RETRYABLE_STATUS = re.compile(r"http_(408|425|429|5\d\d)")
_DEADLINE = "mashbill: the transfer took longer than"

# Searched in this order; the first that is found decides.
_REASONS: tuple[tuple[str, str], ...] = (
    ("address_private", r"mashbill: \S+ is not a public address"),
    ("timeout", _DEADLINE),
    ("too_many_bytes", r"mashbill: the body has more than"),
    ("opt_out", r"mashbill: (robots\.txt|X-Robots-Tag)|disallowed by X-Robots-Tag"),
    # urllib gives its redirect errors the status they began with
    ("redirect", r"HTTP Error 3\d\d|redirect error|Redirection to url"),
    ("timeout", r"timed out|timeout"),
    (
        "dns",
        r"Name or service not known|name resolution|No address associated|nodename nor servname"
        r"|getaddrinfo failed|Name does not resolve|gaierror",
    ),
    (
        "refused",
        r"Connection refused|actively refused|No route to host"
        r"|(Network|Host) is (unreachable|down)",
    ),
    ("tls", r"\[SSL|_ssl\.c|certificate|CERTIFICATE_|doesn't match"),
    (
        "url_invalid",
        r"unknown url type|no host given|control characters|nonnumeric port|codec can't encode"
        r"|'idna' codec|label (empty or )?too long|label empty|Invalid IPv6|port must be",
    ),
    ("empty", r"buf\.empty\(\)"),
    ("too_small", r"^image too small$"),
    ("too_many_pixels", r"^image area too large$"),
    ("not_an_image", r"^Image decoding error$|OpenCV\("),
)


def reason_for(message: str | None) -> str:
    """The reason code for a message of img2dataset; ``download_failed`` for one not known here."""
    text = message or ""
    status = re.search(r"HTTP Error ([12456789]\d\d)\b", text)
    if status is not None:
        return f"http_{status[1]}"
    for reason, pattern in _REASONS:
        if re.search(pattern, text):
            return reason
    return "download_failed"


def worth_retrying(reason: str, detail: str | None) -> bool:
    """True when the same URL may well succeed a moment later.

    Not one that used up its deadline: it did answer, too slowly, and would cost the deadline again.
    """
    if detail is not None and _DEADLINE in detail:
        return False
    return reason in _RETRYABLE or _RETRYABLE_STATUS.fullmatch(reason) is not None
