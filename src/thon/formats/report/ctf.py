"""A fitted CTF: the spectrum, half measured and half model, and the radial curves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
from jaxtyping import Shaped

from thon.data.ctf import Ctf, CtfFit
from thon.formats.png import shrink
from thon.formats.report.style import TEXT, Theme, finish, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIDE = 320
"""Side of the spectrum as it is drawn, px: fine enough for the rings, coarse enough to average the noise."""


def draw_ctf(fit: CtfFit, diagnostic: Shaped[np.ndarray, "rows columns"], theme: Theme) -> Figure:
    """The spectrum and the curves.

    Args:
        fit: What was found.
        diagnostic: Spectrum with the origin in the centre, left half measured and right half model.
        theme: Colours.
    """
    figure = new_figure(10.0, 4.4, theme)
    grid = figure.add_gridspec(1, 2, width_ratios=(1, 1.25))
    axes = figure.add_subplot(grid[0, 0])
    shown = shrink(diagnostic, SIDE)
    low, high = np.percentile(shown, (2, 99))
    axes.imshow(shown, cmap="gray", vmin=low, vmax=high, origin="lower")
    axes.set_xticks([])
    axes.set_yticks([])
    ctf, sigma = fit.ctf, fit.sigma
    first, second = (f"{value:.0f} ± {error:.0f}" for value, error in zip(_both(ctf), _both(sigma), strict=True))
    title = f"{first} / {second} Å at {ctf.angle:.1f}°"
    axes.set_title(title, fontsize=TEXT, color=theme.ink, loc="left", fontweight="bold", pad=8)
    axes = figure.add_subplot(grid[0, 1])
    _draw_curves(axes, fit, theme)
    return figure


def _both(ctf: Ctf) -> tuple[float, float]:
    return ctf.defocus_u, ctf.defocus_v


def _draw_curves(axes: Axes, fit: CtfFit, theme: Theme) -> None:
    """Measured and modelled power and their correlation, against the spacing."""
    curves = fit.curves
    if curves is not None:
        frequency = curves.frequency
        axes.plot(frequency, np.clip(curves.measured, -0.5, 1.5), color=theme.faint, linewidth=0.9, label="measured")
        axes.plot(frequency, curves.model, color=theme.first, linewidth=1.1, label="model")
        axes.plot(frequency, curves.correlation, color=theme.second, linewidth=1.3, label="agreement")
        axes.set_ylim(-0.5, 1.5)
        axes.set_xlim(0, float(frequency[-1]))
    if np.isfinite(fit.resolution) and fit.resolution > 0:
        axes.axvline(1 / fit.resolution, color=theme.mark, linewidth=1.2, linestyle="--")
    spaced = cast(Any, axes)
    ticks = spaced.get_xticks()
    spaced.set_xticks(ticks, [f"{1 / t:.3g}" if t > 0 else "∞" for t in ticks])
    if curves is not None:
        axes.set_xlim(0, float(curves.frequency[-1]))
    finish(axes, theme, f"Rings to {fit.resolution:.1f} Å", "spacing, Å", "power", legend=True)
