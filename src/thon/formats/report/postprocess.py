"""Figures of two half maps: their FSC with and without the mask, and the Guinier plot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
from jaxtyping import Float

from thon.data.maps import GuinierPlot, ShellCurves
from thon.formats.report.style import Theme, finish, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


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


def draw_guinier(plot: GuinierPlot, b_factor: float, theme: Theme) -> Figure:
    """Logarithm of the amplitudes against the square of the frequency, before and after, and the fitted line."""
    figure = new_figure(10.0, 4.0, theme)
    axes = figure.add_subplot()
    seen = plot.frequency2 > 0
    x = plot.frequency2[seen]
    curves = (("map", plot.original, theme.third), ("weighted", plot.weighted, theme.first))
    for label, values, colour in (*curves, ("sharpened", plot.sharpened, theme.ink)):
        axes.plot(x, _visible(values[seen]), color=colour, linewidth=1.6, label=label)
    if np.isfinite(plot.slope):
        line = plot.intercept + plot.slope * x
        axes.plot(x, line, "--", color=theme.second, linewidth=1.4, label=f"B-factor {4 * plot.slope:.0f} Å²")
    finish(axes, theme, f"Guinier plot, sharpened by {b_factor:.0f} Å²", "1/d², Å⁻²", "ln of amplitude", legend=True)
    return figure


def resolution_axis(axes: Axes, last: float) -> None:
    """Ticks of an axis of frequency that also say the resolution."""
    axes.set_xlim(0, last)
    ticks = [tick for tick in axes.get_xticks() if 0 <= tick <= last * 1.001]
    cast(Any, axes).set_xticks(ticks, [f"{tick:g}\n{1 / tick:.3g} Å" if tick > 0 else "0" for tick in ticks])


def _visible(values: Float[np.ndarray, "shells"]) -> Float[np.ndarray, "shells"]:
    """Shells that the weighting left empty are not drawn."""
    return np.where(values > -60, values, np.nan)
