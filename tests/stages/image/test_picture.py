"""Hand-made images with known pixels through the readers."""

from __future__ import annotations

import io
import pickle
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageFile

from stages.image import color
from stages.image.picture import (
    MAX_PIXELS,
    BrokenImage,
    ext_for,
    read_full,
    read_header,
    read_small,
)

CORNERS = np.zeros((48, 96, 3), np.uint8)
CORNERS[:24, :48] = (255, 0, 0)
CORNERS[:24, 48:] = (0, 255, 0)
CORNERS[24:, :48] = (0, 0, 255)
CORNERS[24:, 48:] = (255, 255, 0)


def encode(image: Image.Image | np.ndarray, fmt: str, **options: Any) -> bytes:
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    out = io.BytesIO()
    image.save(out, fmt, **options)
    return out.getvalue()


def pixels(data: bytes) -> np.ndarray:
    full = read_full(data)
    assert full.mode == "RGB"
    return np.asarray(full)


def reason(data: bytes, read: Any = read_full) -> str:
    with pytest.raises(BrokenImage) as caught:
        read(data)
    return str(caught.value.reason)


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def exif_with(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


# How a camera stores the upright picture under each orientation.
STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("fmt", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_every_orientation_is_read_upright(fmt: str, orientation: int) -> None:
    upright = Image.fromarray(CORNERS)
    turn = STORED[orientation]
    stored = upright if turn is None else upright.transpose(turn)
    options: dict[str, Any] = {"exif": exif_with(orientation)}
    if fmt == "WEBP":
        options["lossless"] = True
    if fmt == "JPEG":
        options |= {"quality": 100, "subsampling": 0}
    data = encode(stored, fmt, **options)
    header = read_header(data)
    assert (header.width, header.height, header.orientation) == (96, 48, orientation)
    assert header.format == fmt.lower()
    assert np.abs(pixels(data).astype(int) - CORNERS).max() <= 3
    assert np.abs(read_small(data).astype(int) - CORNERS).max() <= 3


@pytest.mark.parametrize(
    "exif",
    [
        b"",
        b"Exif\0\0",
        b"Exif\0\0MM\0*\0\0\0\x08",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\0" * 7,
        b"Exif\0\0XX*\0\x08\0\0\0\0\0",
        exif_with(0),
        exif_with(9),
        exif_with(65535),
    ],
)
def test_broken_exif_on_a_fine_image_is_ignored(exif: bytes) -> None:
    jpeg = encode(CORNERS, "JPEG", quality=95)
    data = jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:]
    assert read_header(data).orientation == 1
    assert np.array_equal(pixels(data), pixels(jpeg))


def test_header_says_format_size_mode_and_frames() -> None:
    frames = [Image.fromarray(noise(5, 7, seed)) for seed in range(3)]
    gif = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    header = read_header(gif)
    assert (header.format, header.width, header.height, header.frames) == ("gif", 7, 5, 3)
    mpo = encode(frames[0], "MPO", save_all=True, append_images=frames[1:])
    assert (read_header(mpo).format, read_header(mpo).frames) == ("jpeg", 3)
    assert read_header(encode(noise(4, 4)[..., 0], "PNG")).mode == "L"


def test_a_broken_later_frame_spoils_nothing() -> None:
    frames = [Image.fromarray(noise(20, 20, seed)) for seed in range(3)]
    gif = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    cut = gif[: len(gif) * 2 // 3]
    assert 1 <= read_header(cut).frames < 3
    assert np.array_equal(pixels(cut), pixels(gif))


def test_the_first_frame_is_read() -> None:
    red, blue = (Image.new("RGB", (8, 8), name) for name in ("red", "blue"))
    for fmt, options in (("GIF", {}), ("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {})):
        data = encode(red, fmt, save_all=True, append_images=[blue], **options)
        assert pixels(data)[4, 4].tolist() == [255, 0, 0], fmt


def half_clear(mode: str) -> Image.Image:
    image = Image.new("RGBA", (8, 8), (255, 0, 0, 255))
    image.paste((0, 0, 0, 0), (4, 0, 8, 8))
    return image.convert(mode)


def test_alpha_is_put_on_white() -> None:
    data = encode(half_clear("RGBA"), "PNG")
    assert pixels(data)[0, 0].tolist() == [255, 0, 0]
    assert pixels(data)[0, 7].tolist() == [255, 255, 255]
    assert read_small(data)[0, 7].tolist() == [255, 255, 255]
    assert pixels(encode(Image.new("RGBA", (4, 4), (0, 0, 0, 51)), "PNG"))[0, 0].tolist() == [204] * 3
    assert pixels(encode(half_clear("LA"), "PNG"))[0, ::7].tolist() == [[76] * 3, [255] * 3]
    webp = pixels(encode(half_clear("RGBA"), "WEBP", lossless=True))
    assert webp[0, ::7].tolist() == [[255, 0, 0], [255, 255, 255]]
    tiff = pixels(encode(half_clear("RGBA"), "TIFF"))
    assert tiff[0, ::7].tolist() == [[255, 0, 0], [255, 255, 255]]


def test_palette_transparency_is_put_on_white() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 0, 0])
    image.putpixel((1, 0), 1)
    assert pixels(encode(image, "PNG"))[0].tolist() == [[10, 20, 30], [200, 0, 0]]
    for fmt in ("PNG", "GIF"):
        data = encode(image, fmt, transparency=0)
        assert pixels(data)[0].tolist() == [[255, 255, 255], [200, 0, 0]]
    partial = encode(image, "PNG", transparency=bytes([102, 255]))
    assert pixels(partial)[0].tolist() == [[157, 161, 165], [200, 0, 0]]


def png(depth: int, kind: int, row: bytes, width: int, key: bytes) -> bytes:
    """A PNG of one row, with a tRNS chunk."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, 1, depth, kind, 0, 0, 0))
        + chunk(b"tRNS", key)
        + chunk(b"IDAT", zlib.compress(b"\0" + row))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (png(8, 0, bytes([7, 8]), 2, b"\0\x07"), [[255] * 3, [8] * 3]),
        (png(4, 0, b"\x78", 2, b"\0\x07"), [[255] * 3, [136] * 3]),
        (png(2, 0, b"\x60", 2, b"\0\x01"), [[255] * 3, [170] * 3]),
        (png(1, 0, b"\x40", 2, b"\0\0"), [[255] * 3, [255] * 3]),
        (png(16, 0, b"\x20\x01\x20\x02", 2, b"\x20\x01"), [[255] * 3, [32] * 3]),
        (png(8, 2, bytes([1, 2, 3, 1, 2, 4]), 2, b"\0\1\0\2\0\3"), [[255] * 3, [1, 2, 4]]),
        (png(16, 2, bytes([9, 0] * 3 + [8, 0] * 3), 2, b"\x09\0" * 3), [[255] * 3, [8] * 3]),
    ],
)
def test_a_color_key_is_put_on_white(data: bytes, expected: list[list[int]]) -> None:
    assert pixels(data)[0].tolist() == expected


def test_wide_gray_is_scaled_not_clipped() -> None:
    ramp = np.array([[0, 257, 128 * 257, 65535]], np.uint16)
    for fmt in ("PNG", "TIFF", "PPM"):
        assert pixels(encode(ramp, fmt))[0, :, 0].tolist() == [0, 1, 128, 255], fmt
    floats = np.array([[0, 0.2, 1]], np.float32)
    assert pixels(encode(floats, "TIFF"))[0, :, 0].tolist() == [0, 51, 255]
    assert pixels(encode(floats * 255, "TIFF"))[0, :, 0].tolist() == [0, 51, 255]
    assert pixels(encode(floats * 1000 - 500, "TIFF"))[0, :, 0].tolist() == [0, 51, 255]
    odd = np.array([[np.nan, np.inf, -np.inf, 1]], np.float32)
    assert pixels(encode(odd, "TIFF"))[0, :, 0].tolist() == [0, 0, 0, 255]
    ints = np.array([[-100, 0, 155]], np.int32)
    assert pixels(encode(ints, "TIFF"))[0, :, 0].tolist() == [0, 100, 255]


def test_cmyk_lab_gray_and_two_tone() -> None:
    cmyk = Image.new("CMYK", (64, 64), (0, 255, 255, 0))
    for fmt in ("JPEG", "TIFF"):
        red = pixels(encode(cmyk, fmt))[5, 5]
        assert red[0] > 230, fmt
        assert max(red[1:]) < 40, fmt
        assert read_small(encode(cmyk, fmt))[5, 5].tolist() == red.tolist()
    lab = Image.new("LAB", (4, 4), (255, 128, 128))
    assert pixels(encode(lab, "TIFF"))[0, 0].min() >= 254
    assert pixels(encode(Image.new("L", (70, 70), 99), "JPEG"))[0, 0].tolist() == [99] * 3
    assert read_small(encode(Image.new("L", (70, 70), 99), "JPEG"))[0, 0].tolist() == [99] * 3
    assert pixels(encode(Image.new("1", (3, 3), 1), "PNG"))[0, 0].tolist() == [255] * 3


def profile_bytes(name: str) -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile(name)).tobytes()  # type: ignore[arg-type]


def swapped_primaries() -> bytes:
    """The sRGB profile with the red and blue primaries exchanged: red pixels mean blue."""
    data = bytearray(profile_bytes("sRGB"))
    at = {}
    for i in range(struct.unpack_from(">I", data, 128)[0]):
        name, offset, _ = struct.unpack_from(">4sII", data, 132 + 12 * i)
        at[bytes(name)] = offset
    red, blue = (data[at[name] : at[name] + 20] for name in (b"rXYZ", b"bXYZ"))
    data[at[b"rXYZ"] : at[b"rXYZ"] + 20] = blue
    data[at[b"bXYZ"] : at[b"bXYZ"] + 20] = red
    return bytes(data)


@pytest.mark.parametrize("fmt", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_icc_profile_is_converted_to_srgb(fmt: str) -> None:
    red = Image.new("RGB", (80, 80), (255, 0, 0))
    options = {"lossless": True} if fmt == "WEBP" else {}
    data = encode(red, fmt, icc_profile=swapped_primaries(), **options)
    assert pixels(data)[9, 9, 2] >= 250
    assert pixels(data)[9, 9, 0] <= 5
    assert read_small(data)[9, 9].tolist() == pixels(data)[9, 9].tolist()


def test_an_srgb_profile_changes_no_pixel() -> None:
    image = noise(20, 20)
    assert np.array_equal(pixels(encode(image, "PNG", icc_profile=profile_bytes("sRGB"))), image)


@pytest.mark.parametrize("profile", [b"x", b"\0" * 200, swapped_primaries()[:300]])
def test_a_broken_profile_is_ignored(profile: bytes) -> None:
    image = noise(20, 20)
    assert np.array_equal(pixels(encode(image, "PNG", icc_profile=profile)), image)


def test_a_profile_for_other_pixels_is_ignored() -> None:
    gray = Image.new("L", (4, 4), 77)
    assert pixels(encode(gray, "PNG", icc_profile=profile_bytes("LAB")))[0, 0].tolist() == [77] * 3
    assert pixels(encode(gray, "PNG", icc_profile=swapped_primaries()))[0, 0].tolist() == [77] * 3


def test_profile_transforms_are_kept_and_bounded() -> None:
    color._transforms.clear()
    image = noise(4, 4)
    for i in range(color._TRANSFORMS_MAX + 3):
        pixels(encode(image, "PNG", icc_profile=profile_bytes("sRGB") + bytes([i])))
    assert 0 < len(color._transforms) <= color._TRANSFORMS_MAX
    before = dict(color._transforms)
    pixels(encode(image, "PNG", icc_profile=profile_bytes("sRGB") + bytes([i])))
    assert color._transforms == before


@pytest.mark.parametrize("fmt", ["JPEG", "PNG"])
@pytest.mark.parametrize(
    ("width", "height"), [(64, 64), (127, 300), (128, 128), (191, 640), (1000, 700), (2048, 1536)]
)
def test_small_has_its_short_side_from_64_to_127(fmt: str, width: int, height: int) -> None:
    y, x = np.mgrid[:height, :width]
    image = np.stack([x * 255 // width, y * 255 // height, x * 0 + 90], -1).astype(np.uint8)
    data = encode(image, fmt)
    small = read_small(data)
    assert small.dtype == np.uint8
    assert small.flags.writeable
    assert 64 <= min(small.shape[:2]) <= 127
    assert small.shape[1] / small.shape[0] == pytest.approx(width / height, rel=0.02)
    full = read_full(data).resize(small.shape[1::-1], Image.Resampling.BOX)
    assert np.abs(small.astype(int) - np.asarray(full)).max() <= 6


def test_small_of_small_and_of_thin_images() -> None:
    assert read_small(encode(noise(5, 9), "PNG")).shape == (5, 9, 3)
    assert read_small(encode(noise(63, 200), "JPEG")).shape == (63, 200, 3)
    assert read_small(encode(noise(80, 2000), "JPEG")).shape == (80, 2000, 3)
    assert read_small(encode(noise(1, 50_000), "PNG")).shape == (1, 3847, 3)
    assert read_small(encode(noise(60_000, 2), "JPEG")).shape == (4000, 1, 3)


def announcing(fmt: str, width: int, height: int) -> bytes:
    """A tiny file of which the header announces other sides."""
    data = bytearray(encode(noise(16, 16), fmt))
    if fmt == "PNG":
        data[16:24] = struct.pack(">II", width, height)
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    elif fmt == "GIF":
        data[6:10] = struct.pack("<HH", width, height)
    elif fmt == "BMP":
        data[18:26] = struct.pack("<ii", width, height)
    elif fmt == "JPEG":
        at = data.index(b"\xff\xc0") + 5
        data[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(data)


@pytest.mark.parametrize("fmt", ["PNG", "GIF", "BMP", "JPEG"])
@pytest.mark.parametrize("read", [read_header, read_small, read_full])
def test_bombs_are_refused_by_their_header(fmt: str, read: Any) -> None:
    side = int(MAX_PIXELS**0.5) + 1
    assert reason(announcing(fmt, side, side), read) == "too_many_pixels"
    assert reason(announcing(fmt, 65_000, 65_000), read) == "too_many_pixels"


def test_a_bomb_inside_an_icon_is_refused() -> None:
    inside = announcing("PNG", 20_000, 20_000)
    entry = struct.pack("<BBBBHHII", 16, 16, 0, 0, 1, 32, len(inside), 22)
    assert reason(b"\0\0\1\0\1\0" + entry + inside) == "too_many_pixels"


def test_the_limit_itself_is_read_and_pillow_keeps_its_own() -> None:
    before = Image.MAX_IMAGE_PIXELS
    assert read_header(announcing("PNG", 10_000, 10_000)).width == 10_000
    assert reason(announcing("PNG", 10_000, 10_001), read_header) == "too_many_pixels"
    assert before == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize("fmt", ["PNG", "BMP", "JPEG"])
@pytest.mark.parametrize("read", [read_header, read_small, read_full])
def test_a_side_of_zero_pixels(fmt: str, read: Any) -> None:
    assert reason(announcing(fmt, 16, 0), read) == "zero_size"
    assert reason(announcing(fmt, 0, 16), read) == "zero_size"


def test_a_gif_screen_of_zero_pixels_grows_to_its_frame() -> None:
    assert read_header(announcing("GIF", 0, 0)).width == 16
    frame = b"," + struct.pack("<HHHH", 0, 0, 0, 9) + b"\0\2\0;"
    gif = b"GIF89a" + struct.pack("<HH", 0, 9) + b"\0\0\0" + frame
    assert reason(gif) == "zero_size"


@pytest.mark.parametrize("read", [read_header, read_small, read_full])
@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html><body>404</body></html>", "not_an_image"),
        (b"Not found\n", "not_an_image"),
        (b"\0" * 500, "not_an_image"),
        (b"%PDF-1.7\n", "unsupported_format"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "unsupported_format"),
        (b"\xc5\xd0\xd3\xc6" + b"\0" * 30, "unsupported_format"),
        (b"\xd7\xcd\xc6\x9a" + b"\0" * 40, "unsupported_format"),
        (b'<?xml version="1.0"?>\n<svg xmlns="x"></svg>', "unsupported_format"),
        (b"<svg></svg>", "unsupported_format"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "unsupported_format"),
        (b"\0\0\0\x18ftypisom\0\0\0\0", "unsupported_format"),
        (b"\xff\xd8\xff", "corrupt"),
        (b"\x89PNG\r\n\x1a\n", "corrupt"),
    ],
)
def test_what_is_no_readable_image(data: bytes, code: str, read: Any) -> None:
    assert reason(data, read) == code


def test_formats_that_start_programs_are_not_tried() -> None:
    eps = encode(noise(8, 8), "EPS")
    assert reason(eps) == "unsupported_format"
    assert reason(encode(noise(8, 8), "PDF")) == "unsupported_format"


@pytest.mark.parametrize("fmt", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF"])
@pytest.mark.parametrize("read", [read_small, read_full])
def test_truncated_files_are_broken(fmt: str, read: Any) -> None:
    data = encode(noise(200, 300), fmt)
    assert reason(data[: len(data) // 2], read) == "truncated"


def test_pillows_lenient_mode_stays_off() -> None:
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False


def test_corrupt_pixels_are_broken() -> None:
    data = bytearray(encode(noise(64, 64), "PNG"))
    data[60:80] = b"\xff" * 20
    assert reason(bytes(data)) == "corrupt"


def test_the_exception_survives_pickling() -> None:
    error = BrokenImage("truncated", "12 bytes missing")
    again = pickle.loads(pickle.dumps(error))
    assert (again.reason, again.detail) == (error.reason, error.detail)
    assert str(again) == "truncated: 12 bytes missing"


@pytest.mark.parametrize(
    ("fmt", "ext"),
    [
        ("JPEG", "jpg"),
        ("MPO", "jpg"),
        ("PNG", "png"),
        ("WEBP", "webp"),
        ("GIF", "gif"),
        ("BMP", "bmp"),
        ("TIFF", "tiff"),
        ("JPEG2000", "jp2"),
        ("AVIF", "avif"),
        ("PPM", "ppm"),
        ("ICO", "ico"),
        ("PDF", "pdf"),
        ("EPS", "eps"),
        ("TGA", "bin"),
    ],
)
def test_extension_by_first_bytes(fmt: str, ext: str) -> None:
    assert ext_for(encode(noise(16, 16), fmt)) == ext


def test_extension_of_nothing() -> None:
    assert ext_for(b"") == ext_for(b"hello") == ext_for(b"\xff\xd8") == "bin"


@pytest.mark.parametrize("fmt", ["TGA", "PPM", "ICO", "JPEG2000", "AVIF", "BMP", "TIFF"])
def test_the_rarer_formats_are_read(fmt: str) -> None:
    image = np.full((16, 16, 3), 90, np.uint8)
    data = encode(image, fmt)
    assert np.abs(pixels(data).astype(int) - image).max() <= 4
    assert (read_header(data).width, read_header(data).format) == (16, fmt.lower())


def samples() -> list[bytes]:
    plain = Image.fromarray(noise(40, 50))
    profile = swapped_primaries()
    gif = encode(plain, "GIF", save_all=True, append_images=[plain.rotate(90)])
    return [
        encode(plain, "JPEG", exif=exif_with(6), icc_profile=profile),
        encode(plain, "JPEG", progressive=True),
        encode(plain.convert("CMYK"), "JPEG"),
        encode(plain.convert("P"), "PNG", transparency=3),
        encode(plain.convert("RGBA"), "PNG", exif=exif_with(3), icc_profile=profile),
        gif,
        encode(plain.convert("RGBA"), "WEBP", exif=exif_with(8)),
        encode(plain, "TIFF", compression="tiff_lzw", exif=exif_with(5)),
        encode(plain, "BMP"),
    ]


SAMPLES = samples()


REASONS = (
    None,
    "not_an_image",
    "unsupported_format",
    "too_many_pixels",
    "truncated",
    "corrupt",
    "zero_size",
    "empty",
)


def reason_or_none(read: Any, data: bytes) -> str | None:
    try:
        read(data)
    except BrokenImage as error:
        return error.reason
    return None


def check_all_readers(data: bytes) -> None:
    for read in (read_header, read_small, read_full):
        assert reason_or_none(read, data) in REASONS


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from(SAMPLES),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=8),
    st.floats(0.0, 1.0),
    st.booleans(),
)
def test_damaged_files_raise_nothing_else(
    data: bytes, changes: list[tuple[float, int]], cut: float, near_start: bool
) -> None:
    damaged = bytearray(data)
    reach = min(len(data), 700) if near_start else len(data)
    for where, value in changes:
        damaged[int(where * reach)] = value
    if not near_start:
        damaged = damaged[: int(cut * len(data)) + 1]
    check_all_readers(bytes(damaged))


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300))
def test_random_bytes_raise_nothing_else(data: bytes) -> None:
    check_all_readers(data)
