"""The tables of the tiny world: shapes as polygons, and the named colors of things and backgrounds.

A shape is a tuple of closed outlines of (x, y) points; the first is filled, the others are holes.
Every point lies within 0.5 of the origin (y grows downwards), so a shape of size ``s`` stays inside
a disc of diameter ``s`` at any angle. A new shape or color is one more entry here.
"""

from __future__ import annotations

import math

Outline = tuple[tuple[float, float], ...]
RGB = tuple[int, int, int]


def _point(radius: float, degrees: float) -> tuple[float, float]:
    # Rounded, so that the last bit of a machine's sine never moves a pixel.
    angle = math.radians(degrees)
    return round(radius * math.sin(angle), 6), round(-radius * math.cos(angle), 6)


def _polygon(corners: int, start: float = 0.0) -> Outline:
    return tuple(_point(0.5, start + 360 * i / corners) for i in range(corners))


def _round(radius: float) -> Outline:
    return tuple(_point(radius, 360 * i / 72) for i in range(72))


def _star() -> Outline:
    return tuple(_point(0.5 if i % 2 == 0 else 0.21, 36 * i) for i in range(10))


def _heart() -> Outline:
    points = []
    for i in range(60):
        t = 2 * math.pi * i / 60
        x = 16 * math.sin(t) ** 3
        y = 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)
        points.append((round(x / 35, 6), round(-(y + 2.5) / 35, 6)))
    return tuple(points)


def _cross() -> Outline:
    arm, tip = 0.155, 0.475
    quarter = ((-arm, -tip), (arm, -tip), (arm, -arm))
    points: list[tuple[float, float]] = []
    for turn in range(4):
        for x, y in quarter:
            for _ in range(turn):
                x, y = -y, x
            points.append((x, y))
    return tuple(points)


def _crescent() -> Outline:
    # A disc less a smaller disc whose center lies to the right: two arcs that meet at the tips.
    radius, center = 0.42, 0.24
    x = (0.25 - radius**2 + center**2) / (2 * center)
    y = math.sqrt(0.25 - x**2)
    outer_tip = math.degrees(math.atan2(y, x))
    inner_tip = math.degrees(math.atan2(y, x - center))
    points = []
    for i in range(61):
        angle = math.radians(outer_tip + (360 - 2 * outer_tip) * i / 60)
        points.append((round(0.5 * math.cos(angle), 6), round(0.5 * math.sin(angle), 6)))
    for i in range(1, 40):
        angle = math.radians(360 - inner_tip - (360 - 2 * inner_tip) * i / 40)
        points.append((round(center + radius * math.cos(angle), 6), round(radius * math.sin(angle), 6)))
    return tuple(points)


SHAPES: dict[str, tuple[Outline, ...]] = {
    "circle": (_round(0.5),),
    "square": (_polygon(4, 45),),
    "triangle": (_polygon(3),),
    "star": (_star(),),
    "heart": (_heart(),),
    "ring": (_round(0.5), _round(0.27)),
    "cross": (_cross(),),
    "crescent": (_crescent(),),
}

COLORS: dict[str, RGB] = {
    "red": (214, 38, 40),
    "orange": (247, 140, 24),
    "yellow": (252, 216, 36),
    "green": (44, 158, 62),
    "turquoise": (42, 198, 200),
    "blue": (36, 88, 210),
    "purple": (126, 52, 168),
    "pink": (246, 118, 178),
    "brown": (122, 76, 44),
    "white": (250, 250, 250),
}

BACKGROUND_COLORS: dict[str, RGB] = {
    "cream": (250, 238, 208),
    "light gray": (200, 204, 208),
    "pale blue": (178, 208, 238),
    "mint": (182, 228, 202),
    "peach": (250, 208, 180),
    "lavender": (208, 194, 236),
    "dark gray": (84, 88, 96),
    "navy": (26, 36, 80),
    "maroon": (88, 26, 44),
    "forest green": (24, 72, 50),
}
DARK = ("dark gray", "navy", "maroon", "forest green")

MEADOW: tuple[RGB, RGB, RGB] = ((112, 178, 240), (206, 230, 248), (112, 182, 72))
"""Top of the sky, foot of the sky, grass, by day."""
NIGHT_MEADOW: tuple[RGB, RGB, RGB] = ((14, 20, 52), (44, 52, 96), (22, 52, 38))


def color_distance(first: RGB, second: RGB) -> float:
    """Euclidean distance in RGB, 0..442."""
    return math.sqrt(sum((a - b) ** 2 for a, b in zip(first, second, strict=True)))
