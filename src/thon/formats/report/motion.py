"""How the specimen moved in a movie: the track of the whole frame, and those of the patches over the micrograph."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Shaped

from thon.data.motion import FrameMotion, PatchTracks
from thon.formats.png import robust_range, shrink
from thon.formats.report.measures import length_text, nice_length
from thon.formats.report.style import TEXT, Theme, finish, new_figure, widen

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIDE = 700
"""Longer side of the micrograph behind the tracks, px."""


def draw_motion(
    motion: FrameMotion, image: Shaped[np.ndarray, "rows columns"], pixel_size: float, theme: Theme
) -> Figure:
    """Displacement per frame, and the micrograph with the tracks of its parts, enlarged.

    Args:
        motion: What was found.
        image: The micrograph.
        pixel_size: Of `image`, Å.
        theme: Colours.
    """
    figure = new_figure(10.0, 4.6, theme)
    grid = figure.add_gridspec(1, 2, width_ratios=(1.1, 1))
    axes = figure.add_subplot(grid[0, 0])
    _draw_global(axes, motion, theme)
    axes = figure.add_subplot(grid[0, 1])
    rows, columns = image.shape
    small = shrink(image, SIDE)
    low, high = robust_range(small)
    extent = (-columns / 2 * pixel_size, columns / 2 * pixel_size, -rows / 2 * pixel_size, rows / 2 * pixel_size)
    axes.imshow(small, cmap="gray", vmin=low, vmax=high, origin="lower", extent=extent)
    _draw_patches(axes, motion, np.array([rows, columns]) * pixel_size, theme)
    axes.set_xticks([])
    axes.set_yticks([])
    return figure


def _draw_global(axes: Axes, motion: FrameMotion, theme: Theme) -> None:
    """Displacement along y and x against the exposure, or the frame where the exposure is not known."""
    known = np.isfinite(motion.frame_exposure)
    position = (motion.first + np.arange(len(motion)) + 0.5) * (motion.frame_exposure if known else 1.0)
    for axis, label, colour in ((0, "y", theme.first), (1, "x", theme.second)):
        value = motion.displacement[:, axis]
        if np.isfinite(motion.sigma) and motion.sigma > 0:
            axes.fill_between(
                position, value - motion.sigma, value + motion.sigma, color=colour, alpha=0.25, linewidth=0
            )
        axes.plot(position, value, color=colour, marker="o", markersize=2.5, linewidth=1.2, label=label)
    widen(axes, 2.0)
    x = "exposure, e/Å²" if known else "frame"
    finish(axes, theme, f"Motion: {motion.travelled[-1]:.1f} Å in all", x, "displacement, Å", legend=True)


def _draw_patches(axes: Axes, motion: FrameMotion, extent: Float[np.ndarray, "2"], theme: Theme) -> None:
    """Tracks at the patches, or on a coarse grid where there are none, all enlarged by the same factor."""
    patches = motion.patches or PatchTracks(_grid(4), np.zeros((16, len(motion), 2)))
    fitted = motion.at(patches.place)
    span = max(float(np.abs(fitted - fitted[:1]).max()), 1e-3)
    factor = nice_length(0.1 * float(extent.min()), 1.0) / nice_length(span, 1.0)
    for k, place in enumerate(patches.place):
        centre = place * extent
        measured = motion.displacement + patches.displacement[k]
        good = k not in patches.rejected
        if motion.patches is not None:
            points = centre + factor * (measured - measured[0])
            colour = theme.second if good else theme.mark
            axes.plot(points[:, 1], points[:, 0], ".", color=colour, markersize=2, alpha=0.8)
        points = centre + factor * (fitted[:, k] - fitted[0, k])
        axes.plot(points[:, 1], points[:, 0], color="#56b4e9", linewidth=1.3)
        axes.plot(points[0, 1], points[0, 0], "o", color="#ffffff", markersize=3)
    bar = nice_length(float(extent[1]))
    rejected = f", {len(patches.rejected)} of {len(patches.place)} patches rejected" if patches.rejected else ""
    title = f"Tracks × {factor:g}{rejected}"
    axes.set_title(title, fontsize=TEXT + 1, color=theme.ink, loc="left", fontweight="bold", pad=8)
    left, low = -0.47 * extent[1], -0.46 * extent[0]
    axes.plot([left, left + bar], [low, low], color="#ffffff", linewidth=3)
    axes.text(left, low + 0.015 * extent[0], length_text(bar), color="#ffffff", fontsize=TEXT - 1)


def _grid(side: int) -> Float[np.ndarray, "points 2"]:
    steps = (np.arange(side) + 0.5) / side - 0.5
    return np.stack(np.meshgrid(steps, steps, indexing="ij"), -1).reshape(-1, 2)
