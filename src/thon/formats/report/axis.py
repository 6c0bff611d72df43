"""How sure the tilt axis is, and how well each image agrees with the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from thon.data.alignment import AlignmentDiagnostics
from thon.data.tilt_series import TiltSeries
from thon.formats.report.content import ReportContent
from thon.formats.report.measures import excluded_mask, number
from thon.formats.report.style import Theme, finish, mark_excluded, new_figure, plain_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw_axis(content: ReportContent, theme: Theme) -> Figure | None:
    """Score of each trial axis, and correlation per tilt."""
    series, diagnostics = content.series, content.diagnostics
    if series is None or diagnostics is None:
        return None
    searched, correlated = bool(diagnostics.axis_angle.size), bool(np.isfinite(diagnostics.correlation).any())
    if not (searched or correlated):
        return None
    figure = new_figure(10.0, 3.6, theme)
    columns = searched + correlated
    if searched:
        _draw_search(figure.add_subplot(1, columns, 1), series, diagnostics, theme)
    if correlated:
        _draw_correlation(figure.add_subplot(1, columns, columns), series, diagnostics, theme)
    return figure


def describe_axis(content: ReportContent) -> str:
    """What the plots show, in words."""
    series, diagnostics = content.series, content.diagnostics
    if series is None or diagnostics is None:
        return ""
    parts: list[str] = []
    if diagnostics.axis_angle.size:
        best = diagnostics.axis_angle[np.argmax(diagnostics.axis_score)]
        parts.append(f"score of the trial tilt axes, best at {best:.2f}°")
    if np.isfinite(diagnostics.correlation).any():
        middle = np.nanmedian(diagnostics.correlation)
        parts.append(f"correlation of each image with the reprojection of the others, median {middle:.2f}")
    return "Plots: " + "; ".join(parts)


def _draw_search(axes: Axes, series: TiltSeries, diagnostics: AlignmentDiagnostics, theme: Theme) -> None:
    order = np.argsort(diagnostics.axis_angle)
    angle, score = diagnostics.axis_angle[order], diagnostics.axis_score[order]
    axes.plot(angle, score, color=theme.first, linewidth=1.4, marker="o" if len(angle) < 60 else "", markersize=3)
    chosen = float(np.mean(series.geometry.rotation[series.kept])) if len(series.kept) else float("nan")
    axes.axvline(chosen, color=theme.second, linewidth=1.4, linestyle="--", label=f"refined: {number(chosen, 2)}°")
    plain_ticks(axes)
    axes.locator_params(axis="x", nbins=6)
    finish(axes, theme, "Search for the axis", "angle from +y, °", "score", legend=True)


def _draw_correlation(axes: Axes, series: TiltSeries, diagnostics: AlignmentDiagnostics, theme: Theme) -> None:
    excluded, tilt = excluded_mask(series), series.geometry.tilt
    value = np.where(excluded, np.nan, diagnostics.correlation)
    axes.vlines(tilt, 0, value, color=theme.first, linewidth=1, alpha=0.5)
    axes.plot(tilt, value, "o", color=theme.first, markersize=4.5)
    mark_excluded(axes, tilt, excluded, theme)
    shown = np.append(value[np.isfinite(value)], 0.0)
    axes.set_ylim(1.1 * float(shown.min()), min(1.0, 1.15 * max(0.1, float(shown.max()))))
    finish(axes, theme, "Agreement with the other tilts", "tilt, °", "correlation", legend=True)
