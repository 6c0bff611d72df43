"""How particles moved between classes from iteration to iteration."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from jaxtyping import Float, Int

from thon.formats.report.job_page import ReportFigure, ReportTable
from thon.formats.report.measures import number
from thon.formats.report.style import TEXT, Theme, class_colours, finish, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BAR = 0.055
"""Half of the width of a bar, in distances between iterations."""
_GAP = 0.15
"""Of the height, shared by the gaps between classes."""
_LEAST = 0.001
"""Share of the particles below which a band is not drawn."""
_NAMED = 0.02
"""Share of the particles from which a class has its number beside it."""


def draw_class_flow(members: Int[np.ndarray, "shown n"], iterations: Sequence[int], count: int, theme: Theme) -> Figure:
    """A bar for each iteration, of its classes by their sizes in the end, and bands of the particles between them.

    Args:
        members: Class of each particle after some iterations, from 0; −1 where it was not looked at yet.
        iterations: Their numbers.
        count: Number of classes.
        theme: Colours.
    """
    sizes = _sizes(members, count)
    # Those that were not looked at yet lie on top.
    order = np.append(np.argsort(-sizes[-1, :count], kind="stable"), count)
    gap = _GAP / max(count, 8)
    foot = np.zeros_like(sizes)
    foot[:, order] = np.cumsum(sizes[:, order], 1) - sizes[:, order] + gap * np.arange(count + 1)
    colours = [*class_colours(count), cast(Any, importlib.import_module("matplotlib.colors")).to_rgba(theme.faint)]
    figure = new_figure(10.0, 5.4, theme)
    axes = figure.add_subplot()
    for k in range(len(members) - 1):
        _draw_bands(axes, k, members[k : k + 2], foot[k : k + 2], order, colours)
    _draw_bars(axes, foot, sizes, colours)
    for side, column, align in (("left", 0, "right"), ("right", len(members) - 1, "left")):
        place = column - 2 * _BAR if side == "left" else column + 2 * _BAR
        for k in np.flatnonzero(sizes[column, :count] >= _NAMED):
            middle = foot[column, k] + sizes[column, k] / 2
            axes.text(place, middle, str(k + 1), ha=align, va="center", fontsize=TEXT - 1, color=theme.ink)
    finish(axes, theme, "Particles between classes", "iteration", "")
    axes.grid(False)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    cast(Any, axes).set_xticks(range(len(iterations)), [str(one) for one in iterations])
    axes.set_xlim(-0.3, len(members) - 0.7)
    axes.set_ylim(0, float((foot + sizes).max()) * 1.01)
    return figure


def flow_figure(members: Int[np.ndarray, "shown n"], iterations: Sequence[int], count: int) -> ReportFigure:
    """The same in a report; arguments as of `draw_class_flow`."""
    stayed = float((members[-1] == members[-2]).mean())
    rows = [
        [str(k + 1), *(number(100 * share, 1) for share in sizes)]
        for k, sizes in enumerate(_sizes(members, count)[:, :count].T)
    ]
    return ReportFigure(
        name="flow",
        title="Class flow",
        draw=partial(draw_class_flow, members, iterations, count),
        text=f"Bands of particles between {count} classes at iterations {', '.join(map(str, iterations))}; between the "
        f"last two of these {100 * stayed:.0f} % of the particles stayed in their class",
        caption="Bars are classes by their size in the end, with their numbers beside them; bands are the particles "
        "that went from one to another. Grey: not looked at yet.",
        numbers=ReportTable(
            "Share of each class in per cent, by iteration", ["Class", *(str(one) for one in iterations)], rows
        ),
    )


def _sizes(members: Int[np.ndarray, "shown n"], count: int) -> Float[np.ndarray, "shown classes"]:
    """Share of each class; the last is that of the particles that were not looked at yet."""
    owners = np.where(members < 0, count, members)
    return np.stack([np.bincount(one, minlength=count + 1) for one in owners]) / members.shape[1]


def _draw_bands(
    axes: Axes,
    column: int,
    members: Int[np.ndarray, "2 n"],
    foot: Float[np.ndarray, "2 classes"],
    order: Int[np.ndarray, "classes"],
    colours: Sequence[tuple[float, float, float, float]],
) -> None:
    """The particles that went from each class to each, stacked at both ends in the order of the classes."""
    count = len(order) - 1
    before, after = np.where(members < 0, count, members)
    pairs = np.bincount(before * (count + 1) + after, minlength=(count + 1) ** 2)
    share = pairs.reshape(count + 1, count + 1) / members.shape[1]
    start, end = foot[0].copy(), foot[1].copy()
    t = np.linspace(0, 1, 24)
    x, bend = column + _BAR + t * (1 - 2 * _BAR), t * t * (3 - 2 * t)
    shapes: list[Float[np.ndarray, "corners 2"]] = []
    filled: list[tuple[float, float, float, float]] = []
    for source in order:
        for target in order[share[source, order] > 0]:
            width = share[source, target]
            low = start[source] + (end[target] - start[source]) * bend
            start[source] += width
            end[target] += width
            if width >= _LEAST:
                edge = np.stack([np.append(x, x[::-1]), np.append(low, (low + width)[::-1])], -1)
                shapes.append(edge)
                filled.append(colours[source])
    module = cast(Any, importlib.import_module("matplotlib.collections"))
    axes.add_collection(module.PolyCollection(shapes, facecolors=filled, alpha=0.42, linewidths=0), autolim=False)


def _draw_bars(
    axes: Axes,
    foot: Float[np.ndarray, "shown classes"],
    sizes: Float[np.ndarray, "shown classes"],
    colours: Sequence[tuple[float, float, float, float]],
) -> None:
    for k, colour in enumerate(colours):
        axes.bar(np.arange(len(foot)), sizes[:, k], 2 * _BAR, bottom=foot[:, k], color=colour)
