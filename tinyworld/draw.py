"""Drawing a scene at any size.

Backgrounds and textures are made at the image's own size and soften their own edges; things are
drawn as masks at two to four times the size, within their box only, and averaged down.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw

from store.errors import UsageError
from tinyworld.scene import (
    MONOCHROME,
    OUTLINE,
    Box,
    Scene,
    Thing,
    background_rgb,
    outlines,
    thing_box,
)
from tinyworld.shapes import COLORS, RGB

_TILE = 1024
_INK = (30, 30, 38)
_GRAIN = {"flat": 6, "outlined": 7, "glossy": 6, "crayon": 11, "night": 8, MONOCHROME: 12}


def draw(scene: Scene, width: int, height: int) -> Image.Image:
    """The scene as an RGB image of ``width`` x ``height`` pixels, the same on every machine.

    Costs about 3 ms at 384 x 384. Grain is one pixel wide at every size; all else scales.
    """
    if width < 1 or height < 1:
        raise UsageError(f"cannot draw at {width} x {height} pixels; both must be 1 or more")
    size = width, height
    grain, strokes = _grain(_GRAIN[scene.style], scene.variant, size), None
    light = _stretched(_clouds(scene.variant), size)
    if scene.style == "crayon":
        strokes = _stretched(_strokes(scene.variant), size)
        light = ImageChops.add(light, strokes, 1, -128)
    image = _lit(_background(scene, width, height), light, grain)
    for thing in scene.things:
        _draw_thing(image, scene, thing, grain, strokes)
    return image.convert("L").convert("RGB") if scene.style == MONOCHROME else image


def _lit(image: Image.Image, light: Image.Image, grain: Image.Image) -> Image.Image:
    """The image with light (L, 128 is none) and grain (RGB, modulo 256, 0 is none) added to it."""
    # Light and grain together never leave a byte, so the cheap wrapping sum is exact.
    texture = ImageChops.add_modulo(light.convert("RGB"), grain)
    return ImageChops.add(image, texture, 1, -128)


def _draw_thing(
    image: Image.Image, scene: Scene, thing: Thing, grain: Image.Image, strokes: Image.Image | None
) -> None:
    width, height = image.size
    box = thing_box(scene, thing, width, height)
    size = box.right - box.left, box.bottom - box.top
    if min(size) < 1:
        return
    paths = outlines(scene, thing, width, height)
    light = strokes.crop(box[:4]) if strokes else Image.new("L", size, 128)
    if scene.style in ("glossy", "night"):
        light = _gloss().resize(size, Image.Resampling.BICUBIC)
    fill = _lit(Image.new("RGB", size, COLORS[thing.color]), light, grain.crop(box[:4]))
    scale = 4 if max(size) < 160 else 2
    image.paste(fill, box[:2], _mask(paths, box, scale, 0.0))
    if scene.style == "outlined":
        stroke = OUTLINE * thing.size * min(width, height)
        image.paste(_INK, box[:4], _mask(paths, box, scale, stroke))


def _mask(paths: list[list[tuple[float, float]]], box: Box, scale: int, stroke: float) -> Image.Image:
    """Coverage 0..255 of the filled outlines, or of their strokes if ``stroke`` pixels wide."""
    size = (box.right - box.left) * scale, (box.bottom - box.top) * scale
    mask = Image.new("L", size, 0)
    pen = ImageDraw.Draw(mask)
    for number, path in enumerate(paths):
        # Half a fine pixel less: PIL counts from pixel centers, the outlines from pixel corners.
        points = [((x - box.left) * scale - 0.5, (y - box.top) * scale - 0.5) for x, y in path]
        if stroke:
            pen.line([*points, *points[:2]], fill=255, width=max(1, round(stroke * scale)), joint="curve")
        else:
            pen.polygon(points, fill=0 if number else 255)
    return mask.reduce(scale)


def _background(scene: Scene, width: int, height: int) -> Image.Image:
    kind, colors = scene.background.kind, background_rgb(scene.background, scene.style)
    if kind == "plain":
        image = Image.new("RGB", (width, height), colors[0])
    elif kind == "meadow":
        image = _meadow(scene, colors, width, height)
    else:
        cover = _cover(scene, width, height)
        image = Image.composite(
            Image.new("RGB", (width, height), colors[1]),
            Image.new("RGB", (width, height), colors[0]),
            Image.fromarray(cover),
        )
    if scene.style == "night":
        _stars(image, scene)
    return image


def _axes(width: int, height: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """x [1, W] and y [H, 1] of the pixel centers, in fractions of the shorter side."""
    side = min(width, height)
    x = (np.arange(width, dtype=np.float32) + np.float32(0.5)) / np.float32(side)
    y = (np.arange(height, dtype=np.float32) + np.float32(0.5)) / np.float32(side)
    return x[None, :], y[:, None]


def _cover(scene: Scene, width: int, height: int) -> NDArray[np.uint8]:
    """How much of the second color each pixel has, 0..255 [H, W]."""
    x, y = _axes(width, height)
    side, variant = min(width, height), scene.variant
    angle = math.radians((0, 90, 45, 135, 20, 160)[variant % 6])
    cos, sin = round(math.cos(angle), 6), round(math.sin(angle), 6)
    cells = 3 + variant // 6 % 4
    count, phase = np.float32(cells), np.float32((variant // 24 % 16) / 16)
    if scene.background.kind == "gradient":
        along = x * np.float32(cos * side / width) + y * np.float32(sin * side / height)
        low, high = float(along.min()), float(along.max())
        return ((along - low) * np.float32(255 / (high - low + 1e-6))).astype(np.uint8)
    if scene.background.kind == "stripes":
        wave = _wave((x * np.float32(cos) + y * np.float32(sin)) * count + phase)
        edge = wave * np.float32(side / cells / 2)
    elif scene.background.kind == "checker":
        sharp = np.float32(side / cells / 2)
        columns = np.clip(_wave(x * count + phase) * sharp * 2, -1, 1)
        rows = np.clip(_wave(y * count + phase) * sharp * 2, -1, 1)
        edge = columns * rows / 2
    else:
        count += np.float32(2)
        u, v = _from_middle(x * count + phase), _from_middle(y * count + phase)
        edge = (np.float32(0.3) - np.sqrt(u * u + v * v)) * np.float32(side / (cells + 2))
    return _unit(edge)


def _from_middle(turns: NDArray[np.float32]) -> NDArray[np.float32]:
    """Signed distance, in cells, to the middle of the cell: -0.5..0.5."""
    return turns - np.floor(turns) - np.float32(0.5)


def _wave(turns: NDArray[np.float32]) -> NDArray[np.float32]:
    """A triangle wave of period 1, -1..1, that is 0 where a stripe begins or ends."""
    return np.float32(1) - np.float32(4) * np.abs(_from_middle(turns))


def _meadow(scene: Scene, colors: tuple[RGB, ...], width: int, height: int) -> Image.Image:
    """A sky that grows paler towards a gently curved horizon, and grass."""
    x, y = _axes(width, height)
    y = y * np.float32(min(width, height) / height)
    horizon = 0.56 + (scene.variant % 8) / 40
    bow = x * np.float32(min(width, height) / width) - np.float32((scene.variant // 8 % 5) / 4)
    edge = np.float32(horizon) + bow * bow * np.float32(0.09)
    sky = np.array(colors[:2], dtype=np.float32)
    depth = np.clip(y / np.float32(horizon), 0, 1)[:, :, None]
    column = (sky[0] + (sky[1] - sky[0]) * depth).astype(np.uint8)
    image = Image.fromarray(column).resize((width, height), Image.Resampling.NEAREST)
    grass = _unit((y - edge) * np.float32(height))
    image.paste(colors[2], (0, 0), Image.fromarray(grass))
    return image


def _unit(pixels_inside: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Coverage 0..255 from the signed distance to an edge, in pixels."""
    cover: NDArray[np.uint8] = (np.clip(pixels_inside + np.float32(0.5), 0, 1) * 255).astype(np.uint8)
    return cover


def _stars(image: Image.Image, scene: Scene) -> None:
    """Small pale dots over the upper half; where they would be under a pixel, fewer of them."""
    width, height = image.size
    radius = min(width, height) / 240
    count = round(36 * min(1.0, radius**2))
    spots = np.random.PCG64(scene.variant).random_raw(36).view(np.uint32).reshape(36, 2)
    pen = ImageDraw.Draw(image)
    for a, b in spots.tolist()[:count]:
        x, y = a / 2**32 * width, b / 2**32 * height * 0.5
        pen.ellipse((x, y, x + max(radius, 1), y + max(radius, 1)), fill=(214, 218, 236))


def _stretched(texture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The square texture over an image of this size, in its own proportions, from the top left."""
    longest, side = max(size), texture.width
    part = (0, 0, side * size[0] / longest, side * size[1] / longest)
    return texture.resize(size, Image.Resampling.BICUBIC, box=part)


def _noise(seed: int, shape: tuple[int, ...], amplitude: int) -> NDArray[np.int16]:
    """Whole numbers from -amplitude to amplitude. Raw generator output is stable for ever."""
    count = math.prod(shape)
    raw = np.random.PCG64(seed).random_raw(-(-count // 8)).view(np.uint8)[:count].astype(np.int16)
    return (raw * (2 * amplitude + 1) // 256 - amplitude).astype(np.int16).reshape(shape)


def _clouds(variant: int) -> Image.Image:
    """Soft uneven light, 128 is none: what makes two scenes on one background two pictures."""
    wide = Image.fromarray((_noise(variant, (7, 7), 20) + 128).astype(np.uint8))
    image = wide.resize((28, 28), Image.Resampling.BICUBIC)
    fine = np.asarray(image).astype(np.int16) + _noise(variant + 1, (28, 28), 6)
    return Image.fromarray(fine.clip(0, 255).astype(np.uint8))


@lru_cache(maxsize=1)
def _stroke_sheet() -> Image.Image:
    flat = Image.fromarray((_noise(7, (384, 60), 52) + 128).astype(np.uint8))
    slanted = flat.resize((1152, 1152), Image.Resampling.BICUBIC)
    return slanted.rotate(38, Image.Resampling.BICUBIC).crop((192, 192, 960, 960))


def _strokes(variant: int) -> Image.Image:
    """Slanted crayon strokes, 128 is none; the variant says which part of the sheet."""
    left, top = variant % 512, variant // 512 % 512
    return _stroke_sheet().crop((left, top, left + 256, top + 256))


@lru_cache(maxsize=1)
def _gloss() -> Image.Image:
    """Light from the upper left: brighter there, darker at the lower right, 128 is none."""
    axis = np.linspace(-1, 1, 48, dtype=np.float32)
    x, y = axis[None, :], axis[:, None]
    spot = np.clip(1 - 2.2 * ((x + 0.35) ** 2 + (y + 0.4) ** 2), 0, 1)
    light = 128 + 70 * spot - 30 * np.clip(x + y, 0, 2) / 2
    return Image.fromarray(light.astype(np.uint8))


@lru_cache(maxsize=8)
def _grain_tile(amplitude: int) -> Image.Image:
    luma = _noise(11, (_TILE, _TILE, 1), amplitude)
    color = _noise(12, (_TILE, _TILE, 3), amplitude // 3)
    return Image.fromarray((luma + color).astype(np.uint8))


def _grain(amplitude: int, variant: int, size: tuple[int, int]) -> Image.Image:
    """Fine grain, modulo 256, 0 is none; the variant says where the tile begins."""
    tile = _grain_tile(amplitude)
    left, top = variant % 331, variant // 331 % 331
    if left + size[0] <= _TILE and top + size[1] <= _TILE:
        return tile.crop((left, top, left + size[0], top + size[1]))
    image = Image.new("RGB", size)
    for x in range(-left, size[0], _TILE):
        for y in range(-top, size[1], _TILE):
            image.paste(tile, (x, y))
    return image
