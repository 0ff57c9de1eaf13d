"""Windows into thumbnails, and how far one was cut beside the other.

A crop seldom takes the share off each side that a hashed inset leaves out. The window is corrected
by one linear step: the remaining difference is explained by shifting and stretching the picture along
its own slopes, together with gain and offset (Lucas and Kanade, IJCAI 1981, with a stretch per axis).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stages.image.perceptual_hash import Region

CELLS = 16
"""Side of the luma grid that pictures are compared on; chroma has half of it."""
REACH = 0.03
"""Largest correction of a window's side, as a share of the picture."""


@dataclass(frozen=True)
class Window:
    """Parts of n pictures: float32 [n] shares of width and height, from the left and from the top."""

    left: np.ndarray
    right: np.ndarray
    top: np.ndarray
    bottom: np.ndarray

    @staticmethod
    def of(region: Region, count: int) -> Window:
        sides = (region.sides, 1 - region.sides, region.top, 1 - region.bottom)
        return Window(*(np.full(count, side, np.float32) for side in sides))

    def take(self, rows: np.ndarray) -> Window:
        return Window(self.left[rows], self.right[rows], self.top[rows], self.bottom[rows])

    def moved(self, wrong: np.ndarray) -> Window:
        """Corrected by [n, 4]: shift and stretch across, shift and stretch down, in cells."""
        across = (self.right - self.left) / CELLS
        down = (self.bottom - self.top) / CELLS
        return Window(
            self.left + across * (wrong[:, 0] - wrong[:, 1]),
            self.right + across * (wrong[:, 0] + wrong[:, 1]),
            self.top + down * (wrong[:, 2] - wrong[:, 3]),
            self.bottom + down * (wrong[:, 2] + wrong[:, 3]),
        )

    def near(self, nominal: Window) -> Window:
        """No side further than ``REACH`` from where it was."""
        sides = ("left", "right", "top", "bottom")
        pairs = [(getattr(self, side), getattr(nominal, side)) for side in sides]
        return Window(*(np.clip(now, then - REACH, then + REACH) for now, then in pairs))


def cut(planes: np.ndarray, window: Window, cells: int) -> np.ndarray:
    """float32 [..., cells, cells] of [n, ..., s, s]: triangle filter one cell wide over the window."""
    down = _interpolation(cells, planes.shape[-1], window.top, window.bottom)
    across = _interpolation(cells, planes.shape[-1], window.left, window.right)
    if planes.ndim == 4:
        down, across = down[:, None], across[:, None]
    return np.asarray(down @ planes @ across.swapaxes(-1, -2))


def _interpolation(cells: int, samples: int, start: np.ndarray, stop: np.ndarray) -> np.ndarray:
    """float32 [n, cells, samples]."""
    share = (np.arange(cells, dtype=np.float32) + 0.5) / cells
    center = (start[:, None] + (stop - start)[:, None] * share) * samples - 0.5
    center = center.clip(0, samples - 1)
    reach = np.maximum(1.0, (stop - start) * samples / cells)[:, None, None]
    weights = (1 - np.abs(np.arange(samples) - center[..., None]) / reach).clip(0)
    return np.asarray(weights / weights.sum(axis=-1, keepdims=True), np.float32)


def misplacement(luma: np.ndarray, target: np.ndarray) -> np.ndarray:
    """float32 [n, 4]: how ``luma`` [n, 16, 16] must be cut otherwise to look like ``target``.

    Shift across, stretch across (of each half), shift down, stretch down, in cells.
    """
    weight = np.ones_like(luma)
    gain, offset = weighted_fit(luma, target, weight)
    fitted = luma * gain + offset
    place = np.linspace(-1, 1, CELLS, dtype=np.float32)
    down, across = np.gradient(fitted, axis=(1, 2))
    columns = [across, across * place, down, down * place[:, None], fitted, np.ones_like(fitted)]
    system = np.stack([c.reshape(len(luma), -1) for c in columns], axis=2)
    remainder = (target - fitted).reshape(len(luma), -1, 1)
    normal = system.swapaxes(1, 2) @ system
    scale = np.trace(normal[:, :4, :4], axis1=1, axis2=2)[:, None, None] / 4
    ridge = np.diag([1.0, 1.0, 1.0, 1.0, 0.0, 0.0]) * (0.02 * scale + 1) + np.eye(6) * 1e-3
    solved = np.linalg.solve(normal + ridge, system.swapaxes(1, 2) @ remainder)
    return np.asarray(solved[:, :4, 0].clip(-0.6, 0.6), np.float32)


def weighted_fit(dim: np.ndarray, bright: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gain (0.7 to 1.43) and offset [n, 1, 1] from dim to bright [n, h, w], by least squares."""

    def mean(values: np.ndarray) -> np.ndarray:
        return np.asarray((weight * values).sum(axis=(1, 2), keepdims=True) / total)

    total = weight.sum(axis=(1, 2), keepdims=True) + 1e-6
    center, center_2 = mean(dim), mean(bright)
    # The 4 pulls the gain of flat pictures, which is undetermined, to 1.
    spread = mean((dim - center) ** 2) + 4
    together = mean((dim - center) * (bright - center_2)) + 4
    gain = (together / spread).clip(0.7, 1.43)
    return gain, center_2 - gain * center
