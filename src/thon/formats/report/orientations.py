"""From where particles were seen, and how well the map is known by direction."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from jaxtyping import Float

from thon.formats.report.job_page import ReportFigure
from thon.formats.report.measures import number
from thon.formats.report.postprocess import resolution_axis
from thon.formats.report.style import TEXT, Theme, finish, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROWS = 36
"""Rows of cells over the sphere at most; there are twice as many columns."""
VIEWS = 10
"""Views that a cell should have on average, or cells are made larger."""


def draw_orientations(directions: Float[np.ndarray, "n 3"], efficiency: float, theme: Theme) -> Figure:
    """Views per direction over the whole sphere, relative to even ones, in cells of equal solid angle.

    Args:
        directions: (z, y, x) in the reference's frame from which it was seen, symmetric copies among them.
        efficiency: How even they are, 0 to 1.
        theme: Colours.
    """
    z, y, x = directions.T
    rows = int(np.clip(np.sqrt(len(directions) / VIEWS / 2), 6, ROWS))
    counts, _, _ = np.histogram2d(
        np.clip(z, -1, 1), np.degrees(np.arctan2(y, x)), [rows, 2 * rows], [[-1, 1], [-180, 180]]
    )
    figure = new_figure(10.0, 4.4, theme)
    axes = figure.add_subplot()
    shown = axes.imshow(
        counts * (counts.size / max(len(directions), 1)),
        origin="lower",
        extent=(-180, 180, -1, 1),
        aspect="auto",
        cmap="viridis",
        vmin=0,
        interpolation="nearest",
    )
    bar = cast(Any, figure).colorbar(shown, ax=axes, pad=0.01)
    bar.set_label("views, relative to even ones", fontsize=TEXT, color=theme.ink)
    bar.ax.tick_params(colors=theme.faint, labelsize=TEXT - 0.5)
    elevation = [-90, -60, -30, -15, 0, 15, 30, 60, 90]
    cast(Any, axes).set_yticks(
        [np.sin(np.radians(angle)) for angle in elevation], [f"{number(angle, 0)}°" for angle in elevation]
    )
    cast(Any, axes).set_xticks(range(-180, 181, 60))
    title = f"Viewing directions, efficiency {efficiency:.2f}"
    finish(axes, theme, title, "azimuth from x, °", "elevation above the xy plane")
    axes.grid(False)
    return figure


def draw_conical_fsc(
    frequency: Float[np.ndarray, "shells"], curves: Float[np.ndarray, "cones shells"], ratio: float, theme: Theme
) -> Figure:
    """FSC in cones over all directions: the mean, the spread, the extremes, and the ratio of their areas."""
    figure = new_figure(10.0, 4.0, theme)
    axes = figure.add_subplot()
    axes.axhline(0.143, color=theme.faint, linewidth=1.1, linestyle="--")
    low, high = curves.min(0), curves.max(0)
    mean, deviation = curves.mean(0), curves.std(0)
    axes.fill_between(frequency, low, high, color=theme.first, alpha=0.15, linewidth=0, label="all directions")
    axes.fill_between(
        frequency, mean - deviation, mean + deviation, color=theme.first, alpha=0.35, linewidth=0, label="± 1 deviation"
    )
    axes.plot(frequency, mean, color=theme.first, linewidth=1.8, label="mean")
    axes.set_ylim(min(-0.1, max(float(low.min()), -0.5)), 1.03)
    resolution_axis(axes, float(frequency[-1]))
    title = f"FSC by direction, area ratio (cFAR) {ratio:.2f}"
    finish(axes, theme, title, "spatial frequency, 1/Å", "FSC in a cone", legend=True)
    return figure


def orientation_figure(directions: Float[np.ndarray, "n 3"], efficiency: float) -> ReportFigure:
    """Viewing directions in a report; arguments as of `draw_orientations`."""
    return ReportFigure(
        name="directions",
        title="Viewing directions",
        draw=partial(draw_orientations, directions, efficiency),
        text=f"Heat map of {len(directions):,} viewing directions over the sphere, symmetric copies among them; "
        f"efficiency {efficiency:.2f} of 1",
        caption="Cells have equal solid angles; 1 is as many views as even ones would give. The efficiency (sampling "
        "compensation factor) is the harmonic over the arithmetic mean of how often each direction of Fourier space "
        "was sampled: 1 for even views, 0.81 for a ring of side views, 0 where a direction was never sampled.",
    )


def cones_figure(
    frequency: Float[np.ndarray, "shells"], curves: Float[np.ndarray, "cones shells"], ratio: float
) -> ReportFigure:
    """FSC by direction in a report; arguments as of `draw_conical_fsc`."""
    return ReportFigure(
        name="cones",
        title="Resolution by direction",
        draw=partial(draw_conical_fsc, frequency, curves, ratio),
        text=f"FSC of the half maps in {len(curves)} cones over all directions: mean, deviation and extremes; the "
        f"smallest area under a curve is {ratio:.2f} of the largest",
        caption="The area ratio (cFAR) is 1 for a map alike in all directions; below 0.5 the map is anisotropic: views "
        "are missing, or those that there are hold little signal.",
    )
