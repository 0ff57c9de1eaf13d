"""Size columns from headers."""

from __future__ import annotations

import io

import pyarrow as pa
from PIL import Image

from stages.image.picture import read_header
from stages.image.size import Size
from stages.stage import Batch


def test_upright_size_reason_and_no_image() -> None:
    out = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (30, 20)).save(out, "JPEG", exif=exif.tobytes())
    images = [read_header(out.getvalue()), None, None]
    written = Size().open()(Batch(3, {}, images, [None, "too_many_pixels", None]))
    table = pa.table(written, schema=Size.writes)
    assert table.to_pydict() == {
        "width": [20, None, None],
        "height": [30, None, None],
        "format": ["jpeg", None, None],
        "header_error": [None, "too_many_pixels", None],
    }
