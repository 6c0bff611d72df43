"""Figures of two half maps: their FSC with and without the mask, and the Guinier plot."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from jaxtyping import Float

from thon.data.maps import GuinierPlot, ShellCurves
from thon.formats.report.content import FscCurve
from thon.formats.report.job_page import ReportFigure, ReportTable
from thon.formats.report.measures import number
from thon.formats.report.style import Theme, finish, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


_CURVES = ("unmasked", "masked", "randomised", "corrected")


def draw_half_fsc(
    curves: ShellCurves, resolution: float, theme: Theme, *, randomised_from: float = float("nan")
) -> Figure:
    """The curves there are, the usual threshold, and where the best of them crosses it.

    Args:
        curves: FSCs.
        resolution: Å; NaN where there is none.
        theme: Colours.
        randomised_from: Resolution from which phases were randomised, Å.
    """
    figure = new_figure(10.0, 4.2, theme)
    axes = figure.add_subplot()
    axes.axhline(0, color=theme.faint, linewidth=0.8)
    axes.axhline(0.143, color=theme.faint, linewidth=1.1, linestyle="--")
    axes.axhline(0.5, color=theme.grid, linewidth=1.1, linestyle="--")
    shown = (
        ("unmasked", curves.unmasked, theme.third, "-"),
        ("masked", curves.masked, theme.first, "-"),
        ("randomised", curves.randomised, theme.second, ":"),
        ("corrected", curves.corrected, theme.ink, "-"),
    )
    for label, values, colour, style in shown:
        if values is not None:
            width = 2.2 if label == "corrected" else 1.5
            axes.plot(curves.frequency, values, style, color=colour, linewidth=width, label=label)
    if np.isfinite(resolution):
        axes.plot([1 / resolution], [0.143], "o", color=theme.mark, markersize=7, label=f"0.143 at {resolution:.2f} Å")
    if np.isfinite(randomised_from):
        axes.axvline(1 / randomised_from, color=theme.grid, linewidth=1.2)
    lowest = min(float(np.nanmin(values)) for _, values, _, _ in shown if values is not None)
    axes.set_ylim(min(-0.1, max(lowest - 0.05, -1.0)), 1.03)
    resolution_axis(axes, float(curves.frequency[-1]))
    title = "Fourier shell correlation" if np.isfinite(resolution) else "Fourier shell correlation: no resolution"
    finish(axes, theme, title, "spatial frequency, 1/Å", "FSC", legend=True)
    return figure


def draw_guinier(plot: GuinierPlot, b_factor: float | None, theme: Theme) -> Figure:
    """Logarithm of the amplitudes against the square of the frequency, before and after, and the line that was fitted.

    Args:
        plot: The amplitudes.
        b_factor: That the map was sharpened by, Å²; None where it was not.
        theme: Colours.
    """
    figure = new_figure(10.0, 4.0, theme)
    axes = figure.add_subplot()
    seen = plot.frequency2 > 0
    x = plot.frequency2[seen]
    curves = [("map", plot.original, theme.third), ("weighted", plot.weighted, theme.first)]
    if b_factor is not None:
        curves.append(("sharpened", plot.sharpened, theme.ink))
    for label, values, colour in curves:
        axes.plot(x, _visible(values[seen]), color=colour, linewidth=1.6, label=label)
    if np.isfinite(plot.slope):
        line = plot.intercept + plot.slope * x
        label = f"fit: {number(4 * plot.slope, 0)} Å²"
        low, high = axes.get_ylim()
        axes.plot(x, line, "--", color=theme.second, linewidth=1.4, label=label)
        axes.set_ylim(low, high)
    done = "not sharpened" if b_factor is None else f"sharpened by {number(b_factor, 0)} Å²"
    finish(axes, theme, f"Guinier plot, {done}", "1/d², Å⁻²", "ln of amplitude", legend=True)
    return figure


def fsc_figure(curves: ShellCurves, resolution: float, *, randomised_from: float = float("nan")) -> ReportFigure:
    """FSCs in a report; arguments as of `draw_half_fsc`."""
    known = {name: values for name in _CURVES if (values := getattr(curves, name)) is not None}
    crossings = {name: FscCurve(curves.frequency, values).resolution() for name, values in known.items()}
    told = [f"{name} at {found:.2f} Å" if found else f"{name} nowhere" for name, found in crossings.items()]
    head = ["Resolution, Å", "Frequency, 1/Å", *known]
    rows = [
        [number(1 / frequency, 2), number(frequency, 4), *(number(values[k], 3) for values in known.values())]
        for k, frequency in enumerate(curves.frequency)
        if frequency > 0
    ]
    reached = f"The resolution is {resolution:.2f} Å. " if np.isfinite(resolution) else "There is no resolution. "
    return ReportFigure(
        name="fsc",
        title="Fourier shell correlation",
        draw=partial(draw_half_fsc, curves, resolution, randomised_from=randomised_from),
        text=f"Curves of two half maps against spatial frequency. {reached}They fall below 0.143: {', '.join(told)}",
        caption="Of maps from independent halves of the particles. Randomised: with random phases beyond the vertical "
        "line, which shows what the mask itself correlates; corrected: what is left when that is taken off. The "
        "resolution is where the best curve there is first falls below 0.143.",
        numbers=ReportTable("Numbers of the shells", head, rows),
    )


def guinier_figure(plot: GuinierPlot, b_factor: float | None, sharpening: str) -> ReportFigure:
    """The Guinier plot in a report.

    Args:
        plot: The amplitudes.
        b_factor: That the map was sharpened by, Å²; None where it was not.
        sharpening: A sentence about that, with the reason where it was not.
    """
    fit = ""
    if np.isfinite(plot.slope):
        found = number(4 * plot.slope, 0)
        fit = f"The fitted line has a B-factor of {found} Å² and correlates by {plot.correlation:.3f}. "
    return ReportFigure(
        name="guinier",
        title="Guinier plot",
        draw=partial(draw_guinier, plot, b_factor),
        text=f"Logarithm of the amplitudes of each shell against the square of its frequency. {fit}{sharpening}",
        caption=f"{fit}{sharpening} The map is weighted by what its halves have in common, then sharpened; sharpened "
        "well, amplitudes are about level from 10 Å on.",
    )


def resolution_axis(axes: Axes, last: float) -> None:
    """Ticks of an axis of frequency that also say the resolution."""
    axes.set_xlim(0, last)
    ticks = [tick for tick in axes.get_xticks() if 0 <= tick <= last * 1.001]
    cast(Any, axes).set_xticks(ticks, [f"{tick:g}\n{1 / tick:.3g} Å" if tick > 0 else "0" for tick in ticks])


def _visible(values: Float[np.ndarray, "shells"]) -> Float[np.ndarray, "shells"]:
    """Shells that the weighting left empty are not drawn."""
    return np.where(values > -60, values, np.nan)
