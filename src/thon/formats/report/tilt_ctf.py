"""The CTFs of a tilt series: defocus, astigmatism and how fine the rings are, image by image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from thon.base.errors import InputError
from thon.data.tilt_series import TiltSeries
from thon.formats.report.measures import excluded_mask
from thon.formats.report.style import Theme, finish, mark_excluded, new_figure, plain_ticks, plot_per_tilt, widen

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_tilt_ctf(series: TiltSeries, theme: Theme) -> Figure:
    """Defocus, astigmatism and fit resolution over the tilts.

    Raises:
        InputError: If the CTFs of the series are not known.
    """
    if series.ctf is None:
        raise InputError("no CTFs to draw", got=series.name)
    ctf, tilt = series.ctf, series.geometry.tilt
    excluded = excluded_mask(series)
    figure = new_figure(10.0, 3.4, theme)
    grid = figure.add_gridspec(1, 3)
    axes = figure.add_subplot(grid[0, 0])
    sigma = np.hypot(ctf.sigma[:, 0], ctf.sigma[:, 1]) / 2
    plot_per_tilt(axes, tilt, ctf.defocus, sigma, colour=theme.first, label="defocus")
    borrowed = np.array(list(ctf.borrowed), int)
    axes.plot(
        tilt[borrowed], ctf.defocus[borrowed], "s", color=theme.mark, markersize=6, fillstyle="none", label="borrowed"
    )
    widen(axes, 1000)
    plain_ticks(axes)
    finish(axes, theme, "Defocus", "tilt, °", "Å", legend=len(borrowed) > 0)
    mark_excluded(axes, tilt, excluded, theme)
    axes = figure.add_subplot(grid[0, 1])
    plot_per_tilt(axes, tilt, ctf.defocus_u - ctf.defocus_v, None, colour=theme.second, label="astigmatism")
    widen(axes, 300)
    finish(axes, theme, "Astigmatism", "tilt, °", "Å")
    axes = figure.add_subplot(grid[0, 2])
    plot_per_tilt(axes, tilt, ctf.resolution, None, colour=theme.third, label="rings to")
    widen(axes, 5)
    finish(axes, theme, "Rings to", "tilt, °", "Å")
    return figure
