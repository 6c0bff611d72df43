"""Where the sample is along z, and how it lies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from thon.data.alignment import ThicknessProfile
from thon.formats.report.content import ReportContent
from thon.formats.report.measures import number
from thon.formats.report.style import TEXT, Theme, finish, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw_thickness(content: ReportContent, theme: Theme) -> Figure | None:
    """Signal along z with the faces, and the sample seen along x and along y."""
    profile = None if content.diagnostics is None else content.diagnostics.profile
    series = content.series
    if profile is None or series is None or not np.isfinite(profile.signal).any():
        return None
    figure = new_figure(10.0, 4.0, theme)
    grid = figure.add_gridspec(1, 2, width_ratios=(1.25, 1))
    _draw_profile(figure.add_subplot(grid[0, 0]), profile, theme)
    extent = max(series.image_shape) * series.pixel_size / 10
    _draw_slab(figure.add_subplot(grid[0, 1]), profile, extent, theme)
    return figure


def describe_thickness(content: ReportContent) -> str:
    """What the plots show, in words."""
    profile = None if content.diagnostics is None else content.diagnostics.profile
    if profile is None:
        return ""
    return (
        f"Signal along z with the faces at {profile.lower / 10:.1f} and {profile.upper / 10:.1f} nm, "
        f"thickness {profile.thickness / 10:.1f} nm; inclination {_angle(profile, 0)} along y and "
        f"{_angle(profile, 1)} along x"
    )


def _angle(profile: ThicknessProfile, axis: int) -> str:
    return f"{number(profile.inclination[axis], 2)} ± {profile.inclination_sigma[axis]:.2f}°"


def _draw_profile(axes: Axes, profile: ThicknessProfile, theme: Theme) -> None:
    lower, upper = profile.lower / 10, profile.upper / 10
    axes.axvspan(lower, upper, color=theme.third, alpha=0.16, linewidth=0, label=f"sample, {upper - lower:.0f} nm")
    axes.plot(profile.z / 10, profile.signal, color=theme.first, linewidth=1.5)
    top = float(np.nanmax(profile.signal))
    for face, side in ((lower, "right"), (upper, "left")):
        axes.axvline(face, color=theme.third, linewidth=1.4, linestyle="--")
        space = "  "
        text = f"{number(face, 1)} nm{space}" if side == "right" else f"{space}{number(face, 1)} nm"
        axes.text(face, top, text, ha=side, va="center", fontsize=TEXT - 0.5, color=theme.ink)
    low = float(min(0, np.nanmin(profile.signal)))
    axes.set_ylim(low, low + (top - low) * 1.12)
    room = 0.16 * (float(profile.z.max() - profile.z.min()) / 10)
    start, stop = axes.get_xlim()
    axes.set_xlim(min(start, lower - room), max(stop, upper + room))
    finish(axes, theme, "Signal along z", "z, nm", "reproducible signal", legend=True)


def _draw_slab(axes: Axes, profile: ThicknessProfile, extent: float, theme: Theme) -> None:
    place = np.array([-extent / 2, extent / 2])
    middle, half = (profile.lower + profile.upper) / 20, profile.thickness / 20
    for axis, (name, colour, style) in enumerate((("y", theme.first, "-"), ("x", theme.second, "--"))):
        height = middle + place * np.tan(np.deg2rad(profile.inclination[axis]))
        label = f"{name}: {_angle(profile, axis)}"
        axes.plot(place, height, color=colour, linestyle=style, linewidth=1.6, label=label)
        for face in (-half, half):
            axes.plot(place, height + face, color=colour, linestyle=style, linewidth=0.8)
    finish(axes, theme, "Inclination along", "y or x, nm", "z (enlarged), nm", legend=True)
