"""Which URLs are given to the downloader, and how they are written on the wire."""

from __future__ import annotations

import re
from urllib.parse import quote, urlsplit

from stages.source.fetch_guards import is_public


def refusal(url: str | None, allow_private: tuple[str, ...]) -> tuple[str, str] | None:
    """Reason code and detail for a URL that is not to be fetched; None for one that is.

    An address written as a number is judged here; the address of a name when it is connected to.
    """
    if url is None or not url.strip():
        return "url_missing", "no URL"
    url = url.strip()
    try:
        url.encode("utf-8")
        parts = urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme, 0)
    except ValueError as error:
        return "url_invalid", str(error).encode("ascii", "backslashreplace").decode()
    if re.search(r"[\x00-\x1f\x7f]", url):
        return "url_invalid", "control characters"
    if parts.scheme not in ("http", "https"):
        return "url_invalid", f"the scheme is {parts.scheme!r}, not http or https"
    if not parts.hostname or re.search(r"[@\s]", parts.netloc):
        return "url_invalid", f"{parts.netloc!r} is not a host"
    if f"{parts.hostname}:{port}" not in allow_private and not _may_be_public(parts.hostname):
        return "address_private", f"{parts.hostname} is not a public address"
    return None


def as_sent(url: str) -> str:
    """The URL with spaces and letters outside ASCII percent-encoded, as browsers send it."""
    parts = urlsplit(url.strip())
    keep = "%/:;=,@!$&'()*+~?[]"
    sent = parts._replace(path=quote(parts.path, keep), query=quote(parts.query, keep), fragment="")
    return sent.geturl()


def _may_be_public(host: str) -> bool:
    try:
        return is_public(host)
    except ValueError:
        return True  # a name
