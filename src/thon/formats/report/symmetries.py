"""How well a map agrees with itself when it is turned by the rotations of point groups."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from thon.formats.report.job_page import ReportFigure
from thon.formats.report.style import Theme, finish, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_symmetries(names: Sequence[str], mean: Sequence[float], lowest: Sequence[float], theme: Theme) -> Figure:
    """Mean and lowest correlation over the rotations of each point group.

    Args:
        names: Of the groups.
        mean: Mean correlation, −1 to 1.
        lowest: The lowest.
        theme: Colours.
    """
    figure = new_figure(10.0, 3.4, theme)
    axes: Any = figure.add_subplot()
    place = np.arange(len(names))
    axes.bar(place - 0.2, mean, 0.38, color=theme.first, label="mean")
    axes.bar(place + 0.2, lowest, 0.38, color=theme.second, label="lowest")
    axes.set_xticks(place, names)
    axes.set_xlim(-0.6, max(len(names) - 0.4, 3.4))
    axes.set_ylim(min(0.0, *lowest), 1.02)
    finish(axes, theme, "Correlation of the map with itself", "point group", "correlation", legend=True)
    return figure


def symmetries_figure(names: Sequence[str], mean: Sequence[float], lowest: Sequence[float]) -> ReportFigure:
    """The same in a report; arguments as of `draw_symmetries`."""
    told = "; ".join(f"{name} {m:.2f}, lowest {low:.2f}" for name, m, low in zip(names, mean, lowest, strict=True))
    return ReportFigure(
        name="symmetries",
        title="Point groups",
        draw=partial(draw_symmetries, names, mean, lowest),
        text=f"Bars of the mean and lowest correlation over the rotations of each point group: {told}",
        caption="A map that has a symmetry agrees with itself turned by each of its rotations, the worst among them.",
    )
