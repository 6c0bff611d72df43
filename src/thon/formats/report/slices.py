"""Central slices of a tomogram, all at one scale."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
from jaxtyping import Shaped

from thon.formats.png import to_gray
from thon.formats.report.content import ReportContent
from thon.formats.report.measures import length_text, nice_length
from thon.formats.report.style import TEXT, Theme, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GAP = 0.34
"""Room for a slice's name and between slices, inches."""

WIDEST, HIGHEST = 10.0, 10.5

EDGE = 0.06
"""Around everything, inches."""


def draw_slices(content: ReportContent, theme: Theme) -> Figure | None:
    """xy with xz below and yz at the right, one scale for all, y and z pointing up."""
    slices = content.slices
    if slices is None:
        return None
    (y, x), z = slices.xy.shape, slices.xz.shape[0]
    scale = min((WIDEST - GAP - 2 * EDGE) / (x + z), (HIGHEST - 2 * GAP - 2 * EDGE) / (y + z))
    width, height = scale * (x + z) + GAP + 2 * EDGE, scale * (y + z) + 2 * GAP + 2 * EDGE
    figure = new_figure(width, height, theme, constrained=False)
    panels = (
        (slices.xy, "xy", EDGE, scale * z + GAP + EDGE),
        (slices.xz, "xz", EDGE, EDGE),
        (slices.yz.T, "yz", scale * x + GAP + EDGE, scale * z + GAP + EDGE),
    )
    for image, name, left, bottom in panels:
        rows, columns = image.shape
        box = (left / width, bottom / height, scale * columns / width, scale * rows / height)
        axes = figure.add_axes(box)
        _show(axes, image, name, theme)
        if name == "xy":
            draw_scale_bar(axes, columns * slices.voxel_size, columns, rows)
    return figure


def describe_slices(content: ReportContent) -> str:
    """What the slices show, in words."""
    slices = content.slices
    if slices is None:
        return ""
    (y, x), z = (n * slices.voxel_size / 10 for n in slices.xy.shape), slices.xz.shape[0] * slices.voxel_size / 10
    return (
        f"Slices through the middle of the tomogram: xy, xz and yz, of a volume of {x:.0f} × {y:.0f} × {z:.0f} nm "
        f"(x, y, z), with a scale bar of {length_text(nice_length(10 * x))}"
    )


def draw_scale_bar(axes: Axes, extent: float, columns: int, rows: int) -> None:
    """A bar at the lower left of an image that is `extent` Å and `columns` of its own units wide."""
    length = nice_length(extent)
    span, foot, left = length / extent * columns, 0.035 * rows, 0.035 * columns
    thick = 0.012 * rows
    patches = cast(Any, axes)
    for grow, colour in ((0.006 * rows, "black"), (0.0, "white")):
        patches.fill_between([left - grow, left + span + grow], foot - grow, foot + thick + grow, color=colour, lw=0)
    axes.text(
        left,
        foot + thick + 0.016 * rows,
        length_text(length),
        color="white",
        fontsize=TEXT + 1,
        fontweight="bold",
        ha="left",
        va="bottom",
        bbox={"facecolor": "black", "alpha": 0.55, "edgecolor": "none", "boxstyle": "round,pad=0.2"},
    )


def _show(axes: Axes, image: Shaped[np.ndarray, "rows columns"], name: str, theme: Theme) -> None:
    rows, columns = image.shape
    axes.imshow(
        to_gray(image), cmap="gray", vmin=0, vmax=255, origin="lower", aspect="auto", extent=(0, columns, 0, rows)
    )
    axes.set_axis_off()
    axes.set_title(name, fontsize=TEXT + 1, color=theme.ink, loc="left", fontweight="bold", pad=5)
