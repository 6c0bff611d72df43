"""The geometry that was found, per tilt, with its uncertainty."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from thon.formats.report.content import ReportContent
from thon.formats.report.measures import excluded_mask
from thon.formats.report.style import Theme, finish, mark_excluded, new_figure, plain_ticks, plot_per_tilt, widen

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Panel = tuple[str, str, Float[np.ndarray, "tilts"], Float[np.ndarray, "tilts"] | None, float]
"""Title, label of the y axis, value, standard deviation, least span of the y axis."""


def draw_shifts(content: ReportContent, theme: Theme) -> Figure | None:
    """Shifts, tilt axis, and whatever else was refined: tilt, x-tilt and magnification."""
    series = content.series
    if series is None:
        return None
    panels, shift_sigma = varying_panels(content), None
    if content.diagnostics is not None:
        shift_sigma = content.diagnostics.sigma.shift
    rows = (len(panels) + 2) // 2
    figure = new_figure(10.0, 3.1 * rows + 0.2, theme)
    grid = figure.add_gridspec(rows, 2)
    tilt, excluded = series.geometry.tilt, excluded_mask(series)

    axes = figure.add_subplot(grid[0, :] if len(panels) % 2 == 0 else grid[0, 0])
    for axis, label, colour, marker in ((0, "y", theme.first, "o"), (1, "x", theme.second, "s")):
        sigma = None if shift_sigma is None else _kept(shift_sigma[:, axis], excluded)
        value = _kept(series.geometry.shift[:, axis], excluded)
        plot_per_tilt(axes, tilt, value, sigma, colour=colour, label=label, marker=marker)
    widen(axes, 4 * series.pixel_size)
    _finish(axes, content, theme, "Shift", "shift, Å", legend=True)

    for k, (title, label, value, sigma, least) in enumerate(panels):
        place = k + (2 if len(panels) % 2 == 0 else 1)
        axes = figure.add_subplot(grid[place // 2, place % 2])
        kept_sigma = None if sigma is None else _kept(sigma, excluded)
        plot_per_tilt(axes, tilt, _kept(value, excluded), kept_sigma, colour=theme.first, label=title)
        widen(axes, least)
        _finish(axes, content, theme, title, label)
    return figure


def varying_panels(content: ReportContent) -> list[Panel]:
    """The tilt axis, and those of the other parameters that were refined or are not what they would be unrefined."""
    series, diagnostics = content.series, content.diagnostics
    if series is None:
        return []
    found, sigma = series.geometry, None if diagnostics is None else diagnostics.sigma
    panels: list[Panel] = [
        ("Tilt axis", "angle from +y, °", found.rotation, None if sigma is None else sigma.rotation, 0.4)
    ]
    candidates: list[Panel] = [
        ("x-tilt", "x-tilt, °", found.x_tilt, None if sigma is None else sigma.x_tilt, 0.4),
        (
            "Magnification",
            "magnification − 1, %",
            100 * (found.magnification - 1),
            None if sigma is None else 100 * sigma.magnification,
            0.2,
        ),
    ]
    if content.nominal is not None:
        correction = found.tilt - content.nominal.tilt
        tilt_sigma = None if sigma is None else sigma.tilt
        candidates.insert(0, ("Tilt correction", "found − stage's tilt, °", correction, tilt_sigma, 0.4))
    moved = [p for p in candidates if np.abs(p[2]).max() > 1e-9 or (p[3] is not None and np.nan_to_num(p[3]).any())]
    return panels + moved


def describe_shifts(content: ReportContent) -> str:
    """What the plots show, in words."""
    if content.series is None:
        return ""
    shift = content.series.geometry.shift[content.series.kept]
    names = ", ".join(panel[0].lower() for panel in varying_panels(content))
    span = "" if not len(shift) else f" from {shift.min():.1f} to {shift.max():.1f} Å"
    return f"Plots against the tilt angle: shifts along y and x{span}, {names}; bands are ± one standard deviation"


def _kept(value: Float[np.ndarray, "tilts"], excluded: np.ndarray) -> Float[np.ndarray, "tilts"]:
    return np.where(excluded, np.nan, value)


def _finish(axes: Axes, content: ReportContent, theme: Theme, title: str, label: str, *, legend: bool = False) -> None:
    series = content.series
    if series is not None:
        mark_excluded(axes, series.geometry.tilt, excluded_mask(series), theme)
    plain_ticks(axes)
    finish(axes, theme, title, "tilt, °", label, legend=legend)
