"""The two pictures of a run: its loss curve and its sample grid."""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from PIL import Image
from torch import Tensor

from distill_runs.metrics import Metrics

INK, GRAY, ACCENT = "#222222", "#8a8a8a", "#c2571a"
LINES = ("#c2571a", "#2b6cb0", "#2f855a", "#805ad5", "#b83280", "#718096")
COLUMNS, ROWS = 4, 8
CAPTION_CHARACTERS = 30
CAPTION_LINES = 5


def _running_mean(losses: Sequence[float]) -> list[float]:
    """Mean of each loss with its neighbors, a twentieth of the run (at least 2) on each side."""
    reach = max(2, len(losses) // 20)
    return [float(np.mean(losses[max(0, i - reach) : i + reach + 1])) for i in range(len(losses))]


def draw_curves(path: Path, metrics: Metrics, title: str) -> None:
    """One panel each for losses, gradient norms and learning rates: a line per term and role, the running
    mean of what differs from batch to batch."""
    panels = [
        (heading, [name for name in metrics.names if part in name], scale)
        for heading, part, scale in (
            ("loss", "loss", "log"),
            ("gradient norm", "grad_norm/", "log"),
            ("learning rate", "learning_rate/", "linear"),
        )
    ]
    panels = [panel for panel in panels if panel[1]]
    figure = Figure(figsize=(7.5, 2.6 * len(panels) + 0.4), dpi=130, layout="constrained")
    for axes, (heading, names, scale) in zip(
        figure.subplots(len(panels), 1, squeeze=False).flat, panels, strict=True
    ):
        for color, name in zip(cycle(LINES), names, strict=False):
            steps, values = metrics.column(name)
            exact = name.startswith(("validation/", "learning_rate/"))
            line = values if exact else _running_mean(values)
            axes.plot(steps, values, ".", color=color, alpha=0.3, markersize=4)
            axes.plot(steps, line, color=color, linewidth=1.8, label=name)
        axes.set_yscale(scale)
        if scale == "log":
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_formatter(NullFormatter())
        axes.set_ylabel(heading, color=INK)
        axes.grid(True, color=GRAY, alpha=0.18, linewidth=0.7)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(which="both", colors=GRAY, labelsize=8)
        axes.legend(frameon=False, labelcolor=INK, fontsize=8)
    axes.set_xlabel("step", color=INK)
    figure.suptitle(title, x=0.01, ha="left", color=INK, fontsize=12, parse_math=False)
    _save(figure, path)


def save_strip(path: Path, images_BCHW: Tensor) -> None:
    """The pictures of one step side by side, pixel by pixel, as a PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels_BHWC = (((images_BCHW + 1) / 2).clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy()
    Image.fromarray(np.concatenate(list(pixels_BHWC), axis=1)).save(path)


def draw_over_time(path: Path, strips: Path, prompts: Sequence[str]) -> None:
    """The strips of up to eight steps below each other, the first and the last among them."""
    files = sorted(strips.glob("step-*.png"))
    picked = (
        sorted({round(i * (len(files) - 1) / (ROWS - 1)) for i in range(ROWS)}) if len(files) > 1 else [0]
    )
    figure = Figure(
        figsize=(1.5 * len(prompts) + 0.8, 1.5 * len(picked) + 0.5), dpi=110, layout="constrained"
    )
    for axes, index in zip(figure.subplots(len(picked), 1, squeeze=False).flat, picked, strict=True):
        with Image.open(files[index]) as strip:
            axes.imshow(np.asarray(strip), interpolation="nearest")
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_visible(False)
        step = int(files[index].stem.removeprefix("step-"))
        axes.set_ylabel(f"{step}", color=INK, rotation=0, ha="right", va="center", fontsize=9)
    figure.suptitle("the same prompts and noise, by step", x=0.01, ha="left", color=INK, fontsize=11)
    _save(figure, path)


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
