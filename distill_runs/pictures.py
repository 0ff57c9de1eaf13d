"""The two pictures of a run: its loss curve and its sample grid."""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

INK, GRAY, ACCENT = "#222222", "#8a8a8a", "#c2571a"
COLUMNS = 4
CAPTION_CHARACTERS = 30
CAPTION_LINES = 5


def draw_loss(path: Path, steps: Sequence[float], losses: Sequence[float], title: str) -> None:
    """Each logged loss as a dot, their running mean as the line; logarithmic from top to bottom."""
    figure = Figure(figsize=(7.5, 4.2), dpi=130, layout="constrained")
    axes = figure.add_subplot()
    mean = _running_mean(losses)
    axes.plot(steps, losses, ".", color=ACCENT, alpha=0.35, markersize=5, label="each step")
    axes.plot(steps, mean, color=ACCENT, linewidth=2, label="running mean")
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("{x:g}")
    axes.set_xlabel("step", color=INK)
    axes.set_ylabel("epsilon loss (log scale)", color=INK)
    axes.set_title(title, loc="left", color=INK, fontsize=12, parse_math=False)
    axes.grid(True, which="both", color=GRAY, alpha=0.18, linewidth=0.7)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(which="both", colors=GRAY, labelsize=8)
    axes.legend(frameon=False, labelcolor=INK, fontsize=9)
    _save(figure, path)


def _running_mean(losses: Sequence[float]) -> list[float]:
    """Mean of each loss with its neighbors, a twentieth of the run (at least 2) on each side."""
    reach = max(2, len(losses) // 20)
    return [float(np.mean(losses[max(0, i - reach) : i + reach + 1])) for i in range(len(losses))]


def draw_grid(path: Path, images_BCHW: Tensor, prompts: Sequence[str], title: str) -> None:
    """Pictures, float [B, 3, H, W] in [-1, 1], each with its prompt below, as enlarged pixels."""
    columns = min(COLUMNS, len(prompts))
    rows = -(-len(prompts) // columns)
    captions = [_wrapped(prompt) for prompt in prompts]
    row_inches = 2.75 + 0.17 * max(caption.count("\n") + 1 for caption in captions)
    size = (2.6 * columns, row_inches * rows + 0.4)
    figure = Figure(figsize=size, dpi=110, layout="constrained")
    cells = list(figure.subplots(rows, columns, squeeze=False).flat)
    pixels_BHWC = ((images_BCHW + 1) / 2).clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy()
    for axes in cells:
        axes.set_axis_off()
        axes.set_anchor("N")
    for axes, pixels_HWC, caption in zip(cells, pixels_BHWC, captions, strict=False):
        axes.imshow(pixels_HWC, interpolation="nearest")
        axes.text(
            0.5,
            -0.03,
            caption,
            transform=axes.transAxes,
            ha="center",
            va="top",
            fontsize=8,
            color=INK,
            parse_math=False,
        )
    figure.suptitle(title, x=0.01, ha="left", color=INK, fontsize=12, parse_math=False)
    _save(figure, path)


def _wrapped(prompt: str) -> str:
    text = " ".join(prompt.split()) or "(no caption)"
    lines = textwrap.wrap(text, CAPTION_CHARACTERS, max_lines=CAPTION_LINES, placeholder=" …")
    return "\n".join(lines)


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        # A caption in a script that the font lacks is drawn as boxes; that is no defect of the run.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font", category=UserWarning)
        FigureCanvasAgg(figure)
        figure.savefig(path)
