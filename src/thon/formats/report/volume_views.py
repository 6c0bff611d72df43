"""Pictures of a map: sections and projections along the three axes, its mask, and its local resolution in colours."""

from __future__ import annotations

import importlib
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from jaxtyping import Float

from thon.formats.report.job_page import ReportFigure
from thon.formats.report.slices import draw_scale_bar
from thon.formats.report.style import TEXT, Theme, finish, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

AXES = ("z", "y", "x")


def draw_views(volume: Float[np.ndarray, "z y x"], voxel_size: float, theme: Theme) -> Figure:
    """Central sections above and projections below; y, or z, points up."""
    figure = new_figure(9.0, 6.3, theme)
    rows = (("Section across", sections(volume)), ("Projection along", projections(volume)))
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
    low, high = np.percentile(within, (1, 95)) if within.size else (float(resolution.min()), float(resolution.max()))
    high = max(high, low + 0.1)
    black, white = _limits(volume.ravel())
    shown = zip(sections(volume), sections(resolution), sections(inside), AXES, strict=True)
    for column, (grey, local, mask, name) in enumerate(shown):
        light = np.clip((grey - black) / (white - black), 0, 1)[..., None]
        tint = _colours((local - low) / (high - low))
        picture = np.where(mask[..., None] > 0.5, tint * (0.55 + 0.45 * light), 0.6 * light)
        _show(figure.add_subplot(grid[0, column]), picture, f"Section across {name}", theme)
    axes = figure.add_subplot(grid[1, :])
    counts, edges = np.histogram(within, 60, (low, high))
    middle = (edges[1:] + edges[:-1]) / 2
    axes.bar(middle, counts, width=edges[1] - edges[0], color=_colours((middle - low) / (high - low)))
    if within.size:
        median = float(np.median(within))
        axes.axvline(median, color=theme.ink, linewidth=1.2, linestyle="--", label=f"median {median:.1f} Å")
    finish(axes, theme, "Within the mask", "local resolution, Å", "voxels", legend=True)
    return figure


def draw_mask(
    volume: Float[np.ndarray, "z y x"], mask: Float[np.ndarray, "z y x"], voxel_size: float, theme: Theme
) -> Figure:
    """Central sections of a map, dimmed outside of a mask, with lines where that begins, is one half, and is whole."""
    figure = new_figure(9.0, 3.5, theme)
    low, high = _limits(volume.ravel())
    for k, (image, inside, name) in enumerate(zip(sections(volume), sections(mask), AXES, strict=True)):
        axes = figure.add_subplot(1, 3, k + 1)
        light = np.clip((image - low) / (high - low), 0, 1) * (0.35 + 0.65 * inside)
        _show(axes, light, f"Section across {name}", theme, cmap="gray", vmin=0, vmax=1)
        rows, columns = image.shape
        place = (np.arange(columns) + 0.5, np.arange(rows) + 0.5)
        for level, width in ((0.02, 0.9), (0.5, 1.8), (0.98, 0.9)):
            if inside.min() < level < inside.max():
                # Coloured as in light figures on either page: sections are dark on both.
                axes.contour(*place, inside, levels=[level], colors=["#f0a030"], linewidths=width)
        if k == 0:
            draw_scale_bar(axes, columns * voxel_size, columns, rows)
    return figure


def views_figure(
    volume: Float[np.ndarray, "z y x"], voxel_size: float, name: str = "views", title: str = "Map"
) -> ReportFigure:
    """A map in a report; arguments as of `draw_views`."""
    z, y, x = volume.shape
    return ReportFigure(
        name=name,
        title=title,
        draw=partial(draw_views, volume, voxel_size),
        text=f"Central sections and projections along z, y and x of a map of {x} × {y} × {z} voxels of "
        f"{voxel_size:.3g} Å",
        caption="Above, sections through the middle; below, sums along each axis. The second axis points up.",
        photo=88,
    )


def mask_figure(
    volume: Float[np.ndarray, "z y x"], mask: Float[np.ndarray, "z y x"], voxel_size: float
) -> ReportFigure:
    """A map with its mask in a report; arguments as of `draw_mask`."""
    return ReportFigure(
        name="mask",
        title="Map and mask",
        draw=partial(draw_mask, volume, mask, voxel_size),
        text="Central sections of the map with the outline of the mask, which takes "
        f"{100 * float(mask.mean()):.1f} % of the box",
        caption="The thick line is where the mask is one half; between the thin ones lies its soft edge. It should "
        "follow the particle at some distance and cut nothing off.",
        photo=88,
    )


def local_resolution_figure(
    volume: Float[np.ndarray, "z y x"],
    resolution: Float[np.ndarray, "z y x"],
    inside: Float[np.ndarray, "z y x"],
) -> ReportFigure:
    """Local resolution in a report; arguments as of `draw_local_resolution`."""
    within = resolution[inside > 0.5]
    best, middle, worst = np.percentile(within, (5, 50, 95)) if within.size else (np.nan,) * 3
    return ReportFigure(
        name="locres",
        title="Local resolution",
        draw=partial(draw_local_resolution, volume, resolution, inside),
        text="Central sections of the map coloured by local resolution, and its histogram: within the mask "
        f"{best:.1f} to {worst:.1f} Å (5th to 95th percentile), median {middle:.1f} Å",
        caption="Colours are those of the histogram, which leaves out the coarsest 5 %: blue where the map is known to "
        "the finest detail. The core of a particle should be finer than its surface.",
        photo=90,
    )


def sections(volume: Float[np.ndarray, "z y x"]) -> list[Float[np.ndarray, "rows columns"]]:
    """Central sections across z, y and x."""
    z, y, x = (n // 2 for n in volume.shape)
    return [volume[z], volume[:, y], volume[:, :, x]]


def projections(volume: Float[np.ndarray, "z y x"]) -> list[Float[np.ndarray, "rows columns"]]:
    """Sums along z, y and x."""
    return [volume.sum(axis) for axis in range(3)]


def _colours(place: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape 3"]:
    """Colours from blue at 0 to red at 1, without the nearly black ends of the scale."""
    scale = cast(Any, importlib.import_module("matplotlib")).colormaps["turbo"]
    return scale(0.08 + 0.86 * np.clip(place, 0, 1))[..., :3]


def _limits(values: Float[np.ndarray, "n"]) -> tuple[float, float]:
    low, high = np.percentile(values, (0.5, 99.8))
    return float(low), float(high) if high > low else float(low) + 1.0


def _show(axes: Axes, image: Float[np.ndarray, "rows columns *colour"], name: str, theme: Theme, **how: Any) -> None:
    rows, columns = image.shape[:2]
    axes.imshow(image, origin="lower", extent=(0, columns, 0, rows), interpolation="nearest", **how)
    axes.set_axis_off()
    axes.set_title(name, fontsize=TEXT, color=theme.ink, loc="left", pad=4)
