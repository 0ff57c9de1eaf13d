"""Images as numbers and back. B batch, C channels, H W pixels."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def to_pixels(images: NDArray[np.uint8]) -> Tensor:
    """uint8 [0, 255] [B, H, W, C] to float32 [-1, 1] [B, C, H, W]."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1


def to_images(pixels_BCHW: Tensor) -> NDArray[np.uint8]:
    """float [-1, 1] [B, C, H, W] to uint8 [0, 255] [B, H, W, C]."""
    scaled = ((pixels_BCHW.float().clamp(-1, 1) + 1) * 127.5).round()
    images: NDArray[np.uint8] = scaled.permute(0, 2, 3, 1).to(torch.uint8).numpy()
    return images


def psnr(originals: NDArray[np.uint8], others: NDArray[np.uint8]) -> float:
    """Mean over images of the peak signal-to-noise ratio, dB."""
    error = (originals.astype(np.float64) - others.astype(np.float64)) ** 2
    return float(np.mean(20 * math.log10(255) - 10 * np.log10(error.mean(axis=(1, 2, 3)))))
