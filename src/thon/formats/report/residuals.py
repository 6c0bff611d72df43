"""How well the tracked features obey the geometry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
from jaxtyping import Float

from thon.data.tilt_series import TiltSeries
from thon.formats.png import to_gray
from thon.formats.report.content import ReportContent
from thon.formats.report.measures import (
    excluded_mask,
    nice_length,
    number,
    overall_rms,
    residual_length,
    root_mean_square,
)
from thon.formats.report.style import TEXT, Theme, finish, mark_excluded, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw_residuals(content: ReportContent, theme: Theme) -> Figure | None:
    """Vectors over the least tilted image, histogram, and RMS per tilt and per point."""
    series, diagnostics = content.series, content.diagnostics
    if series is None or diagnostics is None or diagnostics.residual is None:
        return None
    length = residual_length(diagnostics.residual)
    if not np.isfinite(length).any():
        return None
    figure = new_figure(10.0, 7.6, theme)
    grid = figure.add_gridspec(2, 2, height_ratios=(1.35, 1))
    _draw_vectors(figure.add_subplot(grid[0, 0]), content, series, theme)
    _draw_histogram(figure.add_subplot(grid[0, 1]), length, series.pixel_size, theme)
    _draw_per_tilt(figure.add_subplot(grid[1, 0]), series, length, theme)
    _draw_per_point(figure.add_subplot(grid[1, 1]), length, theme)
    return figure


def describe_residuals(content: ReportContent) -> str:
    """What the plots show, in words."""
    diagnostics = content.diagnostics
    if diagnostics is None or diagnostics.residual is None:
        return ""
    length = residual_length(diagnostics.residual)
    return (
        f"Residuals of {length.shape[0]} features: vectors over an image, histogram with median "
        f"{np.nanmedian(length):.2f} Å and RMS {overall_rms(length):.2f} Å, RMS per tilt and per feature"
    )


def vector_tilt(series: TiltSeries, length: Float[np.ndarray, "points tilts"]) -> int:
    """The least tilted image that has residuals, of those that take part if any does."""
    seen = np.isfinite(length).any(0)
    usable = seen & ~excluded_mask(series)
    usable = usable if usable.any() else seen
    return int(np.argmin(np.where(usable, np.abs(series.geometry.tilt), np.inf)))


def _draw_vectors(axes: Axes, content: ReportContent, series: TiltSeries, theme: Theme) -> None:
    diagnostics = content.diagnostics
    if diagnostics is None or diagnostics.residual is None:
        return
    length = residual_length(diagnostics.residual)
    k = vector_tilt(series, length)
    rows, columns = (n * series.pixel_size / 10 for n in series.image_shape)
    extent = (-columns / 2, columns / 2, -rows / 2, rows / 2)
    if content.raw is not None:
        axes.imshow(to_gray(content.raw[k]), cmap="gray", vmin=-60, vmax=315, origin="lower", extent=extent)
    position, residual = _positions(content, series)[:, k] / 10, diagnostics.residual[:, k] / 10
    shown = np.isfinite(position).all(-1) & np.isfinite(residual).all(-1)
    y, x = position[shown].T
    dy, dx = residual[shown].T
    typical = float(np.nanmedian(length[:, k])) / 10
    # The typical vector spans a twelfth of the image: its true size would be less than a pixel here.
    grow = columns / 12 / typical if typical > 0 else 1.0
    colour = "#ffd23f" if content.raw is not None else theme.second
    arrows = axes.quiver(
        x, y, dx * grow, dy * grow, color=colour, angles="xy", scale_units="xy", scale=1, width=0.006, headwidth=4
    )
    key = nice_length(10 * typical, 2.0)
    key_text = f"{key:g} Å"
    key_arrow = axes.quiverkey(
        arrows,
        0.9,
        1.06,
        key / 10 * grow,
        key_text,
        labelcolor=theme.ink,
        color=theme.second,
        labelpos="W",
        fontproperties={"size": TEXT - 0.5},
    )
    key_arrow.set_in_layout(False)
    axes.plot(x, y, ".", color=colour, markersize=3.5)
    axes.set_xlim(*extent[:2])
    axes.set_ylim(*extent[2:])
    cast(Any, axes).set_aspect("equal")
    finish(axes, theme, f"Vectors at {number(series.geometry.tilt[k], 1)}°", "x, nm", "y, nm")
    if content.raw is not None:
        axes.grid(False)


def _positions(content: ReportContent, series: TiltSeries) -> Float[np.ndarray, "points tilts 2"]:
    """Where the residuals are, Å: measured positions, or those of the points by the geometry."""
    diagnostics = content.diagnostics
    if diagnostics is not None and diagnostics.tracks is not None:
        return diagnostics.tracks.position
    if diagnostics is not None and diagnostics.points is not None:
        return np.swapaxes(series.geometry.project(diagnostics.points), 0, 1)
    return np.full(
        (0 if diagnostics is None or diagnostics.residual is None else len(diagnostics.residual), len(series), 2),
        np.nan,
    )


def _draw_histogram(axes: Axes, length: Float[np.ndarray, "points tilts"], pixel_size: float, theme: Theme) -> None:
    values = length[np.isfinite(length)]
    end = max(float(np.quantile(values, 0.99)) * 1.1, 1e-6)
    axes.hist(np.clip(values, 0, end), bins=40, range=(0, end), color=theme.first, alpha=0.75)
    lines = (
        ("median", float(np.median(values)), "-"),
        ("mean", float(values.mean()), "--"),
        ("RMS", overall_rms(length), ":"),
    )
    for name, value, style in lines:
        label = f"{name} {value:.2f} Å ({value / pixel_size:.2f} px)"
        axes.axvline(value, color=theme.second, linewidth=1.6, linestyle=style, label=label)
    axes.set_xlim(0, end)
    finish(axes, theme, "All residuals", "length, Å", "count")
    axes.legend(fontsize=TEXT - 0.5, labelcolor=theme.ink, facecolor=theme.paper, edgecolor=theme.grid, framealpha=0.9)


def _draw_per_tilt(axes: Axes, series: TiltSeries, length: Float[np.ndarray, "points tilts"], theme: Theme) -> None:
    tilt = series.geometry.tilt
    axes.plot(tilt, root_mean_square(length, 0), color=theme.first, marker="o", markersize=3.8, linewidth=1.3)
    axes.set_ylim(0, 1.1 * axes.get_ylim()[1])
    mark_excluded(axes, tilt, excluded_mask(series), theme)
    finish(axes, theme, "Per tilt", "tilt, °", "RMS residual, Å", legend=True)


def _draw_per_point(axes: Axes, length: Float[np.ndarray, "points tilts"], theme: Theme) -> None:
    rms = np.sort(root_mean_square(length, 1))
    rms = rms[np.isfinite(rms)]
    axes.fill_between(np.arange(1, len(rms) + 1), rms, color=theme.first, alpha=0.3, linewidth=0)
    axes.plot(np.arange(1, len(rms) + 1), rms, color=theme.first, linewidth=1.5)
    axes.set_ylim(0, 1.1 * axes.get_ylim()[1])
    axes.set_xlim(1, max(2, len(rms)))
    finish(axes, theme, "Per feature", "features, best to worst", "RMS residual, Å")
