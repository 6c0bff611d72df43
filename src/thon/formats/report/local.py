"""Local motion: how each image is bent beyond its rigid alignment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
from jaxtyping import Int

from thon.data.tilt_series import TiltSeries
from thon.formats.report.content import ReportContent
from thon.formats.report.measures import (
    excluded_mask,
    image_grid,
    local_displacement,
    local_rms,
    nice_length,
    number,
)
from thon.formats.report.style import TEXT, Theme, finish, mark_excluded, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = 4
"""Tilts whose field is drawn."""


def draw_local(content: ReportContent, theme: Theme) -> Figure | None:
    """The displacement over the image at several tilts, and its RMS at each."""
    series = content.series
    if series is None or series.geometry.local is None or not len(series.kept):
        return None
    figure = new_figure(10.0, 6.0, theme)
    chosen = chosen_tilts(series)
    grid = figure.add_gridspec(2, len(chosen), height_ratios=(1.1, 1))
    position = image_grid(series, 9)
    moved = local_displacement(series.geometry, position)[chosen]
    longest = float(np.quantile(np.hypot(moved[..., 0], moved[..., 1]), 0.98)) or 1.0
    spacing = max(series.image_shape) * series.pixel_size / 9
    key = nice_length(longest, 1.0)
    arrows = None
    for column, k in enumerate(chosen):
        axes = figure.add_subplot(grid[0, column])
        y, x = position.T / 10
        grow = spacing / 10 / longest
        dy, dx = moved[column].T * grow
        arrows = axes.quiver(
            x, y, dx, dy, color=theme.first, angles="xy", scale_units="xy", scale=1, width=0.008, pivot="mid"
        )
        rows, columns = (n * series.pixel_size / 20 for n in series.image_shape)
        axes.set_xlim(-columns, columns)
        axes.set_ylim(-rows, rows)
        cast(Any, axes).set_aspect("equal")
        # Few round ticks, which fit beside each other in narrow plots.
        tick = nice_length(columns, 0.9)
        axes.set_xticks([-tick, 0, tick])
        axes.set_yticks([-tick, 0, tick] if tick < rows else [0])
        finish(axes, theme, f"{number(float(series.geometry.tilt[k]), 1)}°", "x, nm", "y, nm" if column == 0 else "")
        axes.tick_params(labelleft=column == 0)
        if column == len(chosen) - 1:
            key_arrow = axes.quiverkey(
                arrows,
                0.82,
                1.1,
                key * grow,
                f"{key:g} Å",
                labelpos="W",
                labelcolor=theme.ink,
                color=theme.second,
                fontproperties={"size": TEXT},
            )
            # Otherwise the layout would leave a band as high as the key above all plots.
            key_arrow.set_in_layout(False)
    _draw_rms(figure.add_subplot(grid[1, :]), series, theme)
    return figure


def chosen_tilts(series: TiltSeries) -> Int[np.ndarray, "shown"]:
    """Kept tilts whose field is drawn, evenly from the lowest to the highest."""
    kept = series.kept
    return kept[np.unique(np.round(np.linspace(0, len(kept) - 1, SHOWN)).astype(np.int64))]


def describe_local(content: ReportContent) -> str:
    """What the plots show, in words."""
    series = content.series
    if series is None or series.geometry.local is None:
        return ""
    rms = local_rms(series)[series.kept]
    return (
        f"Arrows: local displacement over the image at {len(chosen_tilts(series))} tilts; "
        f"plot: its RMS per tilt, from {rms.min():.1f} to {rms.max():.1f} Å"
    )


def _draw_rms(axes: Any, series: TiltSeries, theme: Theme) -> None:
    excluded = excluded_mask(series)
    rms = np.where(excluded, np.nan, local_rms(series))
    axes.plot(series.geometry.tilt, rms, color=theme.first, marker="o", markersize=3.8, linewidth=1.3)
    axes.set_ylim(0, 1.1 * axes.get_ylim()[1])
    mark_excluded(axes, series.geometry.tilt, excluded, theme)
    finish(axes, theme, "Local motion per tilt", "tilt, °", "RMS displacement, Å", legend=True)
