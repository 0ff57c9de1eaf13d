"""Every text that img2dataset was seen to record, and its reason code."""

from __future__ import annotations

import pytest

from stages.source.failures import reason_for, worth_retrying

TEXTS = [
    ("HTTP Error 404: Not Found", "http_404"),
    ("HTTP Error 410: Gone", "http_410"),
    ("HTTP Error 429: Too Many Requests", "http_429"),
    ("HTTP Error 500: Internal Server Error", "http_500"),
    ("HTTP Error 503: Service Unavailable", "http_503"),
    ("<urlopen error [Errno -2] Name or service not known>", "dns"),
    ("<urlopen error [Errno -3] Temporary failure in name resolution>", "dns"),
    ("<urlopen error [Errno -5] No address associated with hostname>", "dns"),
    ("<urlopen error [Errno 8] nodename nor servname provided, or not known>", "dns"),
    ("<urlopen error [Errno 111] Connection refused>", "refused"),
    ("<urlopen error [Errno 61] Connection refused>", "refused"),
    ("<urlopen error [Errno 113] No route to host>", "refused"),
    ("<urlopen error [Errno 101] Network is unreachable>", "refused"),
    ("timed out", "timeout"),
    ("<urlopen error timed out>", "timeout"),
    ("The read operation timed out", "timeout"),
    ("<urlopen error _ssl.c:989: The handshake operation timed out>", "timeout"),
    ("<urlopen error [Errno 110] Connection timed out>", "timeout"),
    (
        "HTTP Error 302: The HTTP server returned a redirect error that would lead to an infinite loop.\n"
        "The last 30x error message was:\nFound",
        "redirect",
    ),
    ("HTTP Error 302: Found - Redirection to url 'file:///etc/passwd' is not allowed", "redirect"),
    ("HTTP Error 304: Not Modified", "redirect"),
    (
        "<urlopen error [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: "
        "self-signed certificate (_ssl.c:1006)>",
        "tls",
    ),
    ("<urlopen error [SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:1006)>", "tls"),
    ("<urlopen error EOF occurred in violation of protocol (_ssl.c:1006)>", "tls"),
    ("Use of image disallowed by X-Robots-Tag directive", "opt_out"),
    ("mashbill: X-Robots-Tag says noai", "opt_out"),
    ("mashbill: robots.txt of http://a.example disallows /x to mashbill", "opt_out"),
    ("<urlopen error mashbill: 10.0.0.1:80 is not a public address>", "address_private"),
    ("<urlopen error mashbill: ::1:80 is not a public address>", "address_private"),
    ("mashbill: the transfer took longer than 30 seconds", "timeout"),
    ("mashbill: the body has more than 67108864 bytes", "too_many_bytes"),
    ("<urlopen error unknown url type: file>", "url_invalid"),
    ("unknown url type: 'x.jpg'", "url_invalid"),
    ("URL can't contain control characters. '/a b.jpg' (found at least ' ')", "url_invalid"),
    ("nonnumeric port: 'x'", "url_invalid"),
    ("encoding with 'idna' codec failed (UnicodeError: label empty or too long)", "url_invalid"),
    ("Image decoding error", "not_an_image"),
    (
        "OpenCV(4.14.0) /io/opencv/modules/imgcodecs/src/loadsave.cpp:1011: error: (-215:Assertion failed) "
        "!buf.empty() in function 'imdecode_'\n",
        "empty",
    ),
    ("OpenCV(4.14.0) :-1: error: (-5:Bad argument) in function 'resize'", "not_an_image"),
    ("image too small", "too_small"),
    ("image area too large", "too_many_pixels"),
    ("hash mismatch", "download_failed"),
    ("IncompleteRead(10 bytes read, 90 more expected)", "download_failed"),
    ("Remote end closed connection without response", "download_failed"),
    ("<urlopen error [Errno 104] Connection reset by peer>", "download_failed"),
    ("", "download_failed"),
    (None, "download_failed"),
]


@pytest.mark.parametrize(("text", "reason"), TEXTS)
def test_reason_for(text: str | None, reason: str) -> None:
    assert reason_for(text) == reason


def test_what_may_pass_is_worth_retrying() -> None:
    for reason in ("dns", "timeout", "refused", "http_500", "http_503", "http_429", "lost_by_downloader"):
        assert worth_retrying(reason, None)
    for reason in ("http_404", "http_410", "opt_out", "redirect", "tls", "too_many_bytes", "empty"):
        assert not worth_retrying(reason, None)


def test_a_transfer_that_was_too_slow_is_not_waited_for_again() -> None:
    assert worth_retrying("timeout", "timed out")
    assert not worth_retrying("timeout", "mashbill: the transfer took longer than 30 seconds")
