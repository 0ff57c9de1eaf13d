"""Any Pillow image to 8-bit sRGB on white."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageCms

_SRGB = ImageCms.createProfile("sRGB")
_PROFILE_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK", "Lab": "LAB"}
_TRANSFORMS_MAX = 64
_BITS_PER_SAMPLE = 258  # TIFF tag
_transforms: dict[tuple[bytes, str], ImageCms.ImageCmsTransform | None] = {}


def to_srgb(image: Image.Image, reshape: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """A loaded image in mode RGB: sRGB (perceptual intent), alpha and color keys on white.

    ``reshape`` turns or shrinks opaque 8-bit pixels, once, before their colors are converted. A
    profile that cannot be read, or that is made for another color space than the pixels, is
    ignored. Wide and float gray is scaled by ``_gray_8``.
    """
    profile = image.info.get("icc_profile")
    pixels = reshape(_opaque_8(image))
    if profile:
        transform = _transform_for(profile, pixels.mode)
        if transform is None and pixels.mode == "L":
            transform = _transform_for(profile, "RGB")
            pixels = pixels.convert("RGB") if transform else pixels
        if transform is not None:
            converted = ImageCms.applyTransform(pixels, transform)
            assert converted is not None
            return converted
    if pixels.mode == "LAB":
        lab = ImageCms.buildTransform(ImageCms.createProfile("LAB"), _SRGB, "LAB", "RGB")
        converted = ImageCms.applyTransform(pixels, lab)
        assert converted is not None
        return converted
    return pixels if pixels.mode == "RGB" else pixels.convert("RGB")


def _opaque_8(image: Image.Image) -> Image.Image:
    """The image in mode L, RGB, CMYK or LAB, transparent parts white."""
    key = image.info.get("transparency")
    if image.mode.startswith(("I", "F")):
        return _gray_8(image, key)
    if image.mode in ("P", "PA"):
        image = image.convert("RGBA" if key is not None or image.mode == "PA" else "RGB")
    elif image.mode in ("La", "RGBa"):
        image = image.convert(image.mode.upper())
    elif key is not None and image.mode in ("1", "L", "RGB"):
        return _key_on_white(image, key)
    if image.mode in ("LA", "RGBA"):
        white = Image.new("L" if image.mode == "LA" else "RGB", image.size, "white")
        white.paste(image, (0, 0), image)
        return white
    if image.mode == "1":
        return image.convert("L")
    return image if image.mode in ("L", "RGB", "CMYK", "LAB") else image.convert("RGB")


def _key_on_white(image: Image.Image, key: int | tuple[int, int, int] | bytes) -> Image.Image:
    """Pixels of the color that a PNG calls transparent, white."""
    if isinstance(key, bytes):
        return image.convert("L") if image.mode == "1" else image
    pixels = np.array(image.convert("L") if image.mode == "1" else image)
    same = pixels == np.array(key)
    pixels[same.all(axis=2) if image.mode == "RGB" else same] = 255
    return Image.fromarray(pixels)


def _gray_8(image: Image.Image, key: int | None) -> Image.Image:
    """16-bit, 32-bit or float gray as 8 bits.

    Integers are taken to span 16 bits (12 where a TIFF says so), floats 0 to 1 or 0 to 255; values
    outside of that are stretched from their least to their greatest. What is not finite is 0.
    """
    values = np.asarray(image)
    if image.mode == "F":
        values = np.nan_to_num(values, posinf=0.0, neginf=0.0)
    low, high = float(values.min()), float(values.max())
    if image.mode == "F":
        top = 1.0 if high <= 1 else 255.0
    else:
        bits = getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE, (16,))
        top = 4095.0 if bits[0] == 12 else 65535.0
    if low >= 0 and high <= top:
        low, high = 0.0, top
    gray = np.empty(values.shape, np.uint8)
    for row, line in enumerate(values):  # by rows: a wide copy of 100 megapixels takes 800 MB
        gray[row] = np.rint((line - low) * (255 / (high - low or 1)))
    if key is not None:
        gray[values == key] = 255
    return Image.fromarray(gray)


def _transform_for(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """From the profile to sRGB, for pixels in ``mode``; None where there is nothing to do."""
    key = (hashlib.sha256(profile).digest(), mode)
    if key not in _transforms:
        if len(_transforms) >= _TRANSFORMS_MAX:
            _transforms.clear()
        _transforms[key] = _build(profile, mode)
    return _transforms[key]


def _build(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if _PROFILE_MODES.get(source.profile.xcolor_space.strip()) != mode:
            return None
        transform = ImageCms.buildTransform(source, _SRGB, mode, "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None
    return None if mode == "RGB" and _is_srgb(transform) else transform


def _is_srgb(transform: ImageCms.ImageCmsTransform) -> bool:
    """Whether a transform moves no color of a 9 x 9 x 9 cube by more than 2 of 255."""
    steps = np.linspace(0, 255, 9).astype(np.uint8)
    cube = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(27, 27, 3)
    moved = ImageCms.applyTransform(Image.fromarray(cube), transform)
    return bool(np.abs(np.asarray(moved).astype(int) - cube.astype(int)).max() <= 2)
