"""Everything that can be wrong with a row of the crawl: name, share, and reason to drop it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """``share`` is the fraction of rows; ``reason`` the code a right L-pp build drops the row with
    (None: the row is kept). Where single rows of a kind differ, ``meaning`` says which."""

    name: str
    share: float
    reason: str | None
    meaning: str


KINDS = (
    Kind("original", 0.321, None, "a good picture with a true caption"),
    Kind("hard_negative", 0.05, None, "an original with one thing recolored, reshaped or moved"),
    Kind("off_center", 0.06, None, "3:2, 2:3 or 16:9 with the subject at one end"),
    Kind("wrong_caption", 0.04, None, "the caption of another picture"),
    Kind("junk_caption", 0.04, None, "a file name, boilerplate or a URL as caption"),
    Kind("exif", 0.02, None, "stored turned, upright by EXIF orientation 3, 6 or 8"),
    Kind("png_alpha", 0.012, None, "a PNG with transparent rounded corners"),
    Kind("webp", 0.015, None, "a lossy WebP"),
    Kind("gif", 0.008, None, "an animated GIF; its first frame counts"),
    Kind("cmyk", 0.006, None, "a CMYK JPEG"),
    Kind("gray", 0.008, None, "a gray JPEG; its true caption names no color"),
    Kind("redirect", 0.015, None, "behind one redirect"),
    Kind("flaky", 0.01, None, "503 at the first request, then fine"),
    Kind("exact", 0.04, "duplicate_exact", "the bytes of an original under another URL"),
    Kind("reencode", 0.035, "duplicate_near", "an original at JPEG quality 40 to 75"),
    Kind("resize", 0.035, "duplicate_near", "an original at 0.5 to 0.9; under 300 px too_small"),
    Kind("watermark", 0.025, "duplicate_near", "half-transparent text in a corner, 0.8 to 0.95"),
    Kind("caption_bar", 0.02, "duplicate_near", "a bar with text at the foot, 0.8 to 0.95"),
    Kind("crop", 0.025, "duplicate_near", "2 to 5 % cut off each side"),
    Kind("brightness", 0.02, "duplicate_near", "20 % brighter or darker, 0.8 to 0.95"),
    Kind("flip", 0.02, "duplicate_near", "mirrored, 0.8 to 0.95; kept where the policy says so"),
    Kind("placeholder", 0.015, "duplicate_exact", "one solid color under many URLs; first kept"),
    Kind("no_caption", 0.02, "caption_missing", "an empty or null caption"),
    Kind("tiny", 0.03, "too_small", "shorter side under 300 px, down to 1x1 trackers"),
    Kind("html", 0.007, "not_an_image", "an HTML page named .jpg"),
    Kind("text", 0.003, "not_an_image", "a line of text named .jpg"),
    Kind("nul_bytes", 0.003, "not_an_image", "4,096 zero bytes"),
    Kind("empty_body", 0.004, "empty", "200 and nothing"),
    Kind("truncated", 0.008, "truncated", "the first 60 % of a JPEG"),
    Kind("png_flipped_bits", 0.004, "corrupt", "a PNG with flipped bits"),
    Kind("http_404", 0.02, "http_404", "gone"),
    Kind("http_410", 0.005, "http_410", "gone for good"),
    Kind("http_500", 0.005, "http_500", "a server error, every time"),
    Kind("redirect_loop", 0.004, "redirect", "redirects to itself"),
    Kind("slow", 0.002, "timeout", "drips a byte at a time, for ever; at most 3 rows"),
    Kind("noai", 0.006, "opt_out", "X-Robots-Tag: noai"),
    Kind("noimageai", 0.004, "opt_out", "X-Robots-Tag: noimageai"),
    Kind("robots_txt", 0.004, "opt_out", "forbidden by robots.txt"),
    Kind("refused", 0.004, "refused", "a closed port"),
    Kind("dns", 0.004, "dns", "a host that does not exist"),
    Kind("file_url", 0.003, "url_invalid", "file:///etc/passwd"),
    Kind("private_address", 0.003, "address_private", "http://10.0.0.1/..."),
    Kind("repeated_row", 0.017, "repeated_row", "URL and caption of an earlier row"),
)

BY_NAME = {kind.name: kind for kind in KINDS}

MIN_SAMPLES = 100
_MOST = {"slow": 3}


def counts(samples: int) -> dict[str, int]:
    """Rows per kind, at least one each, ``samples`` in all; what rounding leaves is originals."""
    shares = {k.name: max(1, min(int(k.share * samples), _MOST.get(k.name, samples))) for k in KINDS}
    shares["original"] += samples - sum(shares.values())
    return shares
