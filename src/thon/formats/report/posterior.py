"""How sure the poses of particles are."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int

from thon.formats.report.job_page import ReportFigure
from thon.formats.report.style import Theme, finish, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_sharpness(probability: Float[np.ndarray, "n"], significant: Int[np.ndarray, "n"], theme: Theme) -> Figure:
    """The share of the best pose in each particle's posterior, and how many poses matter.

    Args:
        probability: Share of the best pose, 0 to 1.
        significant: Number of poses that matter.
        theme: Colours.
    """
    figure = new_figure(10.0, 3.4, theme)
    left = figure.add_subplot(1, 2, 1)
    left.hist(np.clip(probability, 0, 1), bins=40, range=(0, 1), color=theme.first)
    mean = float(probability.mean()) if len(probability) else 0.0
    left.axvline(mean, color=theme.second, linewidth=1.5, linestyle="--", label=f"mean {mean:.2f}")
    left.set_xlim(0, 1)
    finish(left, theme, "Best pose (Pmax)", "share of the posterior", "particles", legend=True)
    _draw_counts(figure.add_subplot(1, 2, 2), np.maximum(significant, 1), theme)
    return figure


def _draw_counts(axes: Any, counts: Int[np.ndarray, "n"], theme: Theme) -> None:
    top = max(10.0, float(counts.max(initial=1)))
    axes.hist(counts, bins=np.geomspace(1, 1.05 * top, 41), color=theme.first)
    middle = float(np.median(counts)) if len(counts) else 1.0
    axes.axvline(middle, color=theme.second, linewidth=1.5, linestyle="--", label=f"median {middle:.0f}")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:.0f}")
    axes.set_xlim(1, 1.05 * top)
    finish(axes, theme, "Poses that matter", "poses of a particle", "particles", legend=True)


def posterior_figure(probability: Float[np.ndarray, "n"], significant: Int[np.ndarray, "n"]) -> ReportFigure:
    """The same in a report; arguments as of `draw_sharpness`."""
    text = f"Histograms of {len(probability):,} particles: share of the best pose in the posterior"
    if len(probability):
        text += (
            f", mean {probability.mean():.2f}, median {np.median(probability):.2f}; number of poses that matter, "
            f"median {np.median(significant):.0f}"
        )
    return ReportFigure(
        name="posterior",
        title="How sure poses are",
        draw=partial(draw_sharpness, probability, significant),
        text=text,
        caption="Near 1 a particle's pose is certain; near 0 many poses explain it equally well. At fine steps and low "
        "signal, values of a few per cent are usual.",
    )
