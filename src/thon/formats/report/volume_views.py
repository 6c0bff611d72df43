"""Pictures of a map: central sections and projections along the three axes, and the local resolution in colours."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from jaxtyping import Float

from thon.formats.report.slices import draw_scale_bar
from thon.formats.report.style import TEXT, Theme, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

AXES = ("along z", "along y", "along x")


def draw_views(volume: Float[np.ndarray, "z y x"], voxel_size: float, theme: Theme) -> Figure:
    """Central sections above and projections below; y, or z, points up."""
    figure = new_figure(9.0, 6.3, theme)
    rows = (("Section", _sections(volume)), ("Projection", [volume.sum(axis) for axis in range(3)]))
    for row, (name, images) in enumerate(rows):
        low, high = _limits(np.concatenate([image.ravel() for image in images]))
        for column, image in enumerate(images):
            axes = figure.add_subplot(2, 3, 3 * row + column + 1)
            _show(axes, image, f"{name} {AXES[column]}", theme, cmap="gray", vmin=low, vmax=high)
            if row == column == 0:
                draw_scale_bar(axes, image.shape[1] * voxel_size, image.shape[1], image.shape[0])
    return figure


def draw_local_resolution(
    volume: Float[np.ndarray, "z y x"],
    resolution: Float[np.ndarray, "z y x"],
    inside: Float[np.ndarray, "z y x"],
    theme: Theme,
) -> Figure:
    """Central sections of a map, coloured by their local resolution within a mask, and its distribution.

    Args:
        volume: The map, which shines through.
        resolution: Å.
        inside: Mask; where it is above one half there is colour.
        theme: Colours.
    """
    figure = new_figure(10.0, 6.0, theme)
    grid = cast(Any, figure).add_gridspec(2, 3, height_ratios=[2.2, 1])
    within = resolution[inside > 0.5]
    low, high = np.percentile(within, (1, 99)) if within.size else (float(resolution.min()), float(resolution.max()))
    high = max(high, low + 0.1)
    black, white = _limits(volume.ravel())
    colours = cast(Any, importlib.import_module("matplotlib")).colormaps["turbo"]
    sections = zip(_sections(volume), _sections(resolution), _sections(inside), AXES, strict=True)
    for column, (grey, local, mask, name) in enumerate(sections):
        light = np.clip((grey - black) / (white - black), 0, 1)[..., None]
        tint = colours(np.clip((local - low) / (high - low), 0, 1))[..., :3]
        picture = np.where(mask[..., None] > 0.5, tint * (0.55 + 0.45 * light), 0.6 * light)
        _show(figure.add_subplot(grid[0, column]), picture, name, theme)
    axes = figure.add_subplot(grid[1, :])
    counts, edges = np.histogram(within, 60, (low, high))
    middle = (edges[1:] + edges[:-1]) / 2
    axes.bar(middle, counts, width=edges[1] - edges[0], color=colours((middle - low) / (high - low)))
    axes.set_facecolor(theme.paper)
    axes.set_xlabel("local resolution, Å", fontsize=TEXT, color=theme.ink)
    axes.set_ylabel("voxels", fontsize=TEXT, color=theme.ink)
    axes.tick_params(colors=theme.faint, labelsize=TEXT - 0.5)
    if within.size:
        axes.axvline(float(np.median(within)), color=theme.ink, linewidth=1.2, linestyle="--")
    return figure


def _sections(volume: Float[np.ndarray, "z y x"]) -> list[Float[np.ndarray, "rows columns"]]:
    z, y, x = (n // 2 for n in volume.shape)
    return [volume[z], volume[:, y], volume[:, :, x]]


def _limits(values: Float[np.ndarray, "n"]) -> tuple[float, float]:
    low, high = np.percentile(values, (0.5, 99.8))
    return float(low), float(high) if high > low else float(low) + 1.0


def _show(axes: Axes, image: Float[np.ndarray, "rows columns *colour"], name: str, theme: Theme, **how: Any) -> None:
    rows, columns = image.shape[:2]
    axes.imshow(image, origin="lower", extent=(0, columns, 0, rows), interpolation="nearest", **how)
    axes.set_axis_off()
    axes.set_title(name, fontsize=TEXT, color=theme.ink, loc="left", pad=4)
