"""The one EXIF tag that changes pixels."""

from __future__ import annotations

import struct


def exif_orientation(exif: bytes) -> int:
    """The orientation tag of the first directory, as it stands (1 to 8 are sane); 1 without one.

    ``exif`` may start with "Exif" and two zero bytes, as a JPEG segment does. Pillow's ``getexif``
    reads every tag and costs about 20 times as much.
    """
    tiff = exif[6:] if exif.startswith(b"Exif\0\0") else exif
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None or len(tiff) < 8:
        return 1
    (start,) = struct.unpack_from(order + "L", tiff, 4)
    if start + 2 > len(tiff):
        return 1
    (count,) = struct.unpack_from(order + "H", tiff, start)
    for at in range(start + 2, min(start + 2 + 12 * count, len(tiff) - 11), 12):
        tag, kind = struct.unpack_from(order + "HH", tiff, at)
        if tag == 0x0112:
            value: int = struct.unpack_from(order + ("L" if kind == 4 else "H"), tiff, at + 8)[0]
            return value
    return 1
