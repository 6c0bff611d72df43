"""Where particles come from: how many from each micrograph, with what scores and at what defocus."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from thon.data.particles import Particles
from thon.formats.report.job_page import ReportFigure
from thon.formats.report.style import Theme, finish, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_origin(particles: Particles, theme: Theme) -> Figure:
    """What is known: particles of each micrograph, histograms of the scores from picking and of the defocus."""
    counts, score, defocus = _per_micrograph(particles), _scores(particles), _defocus(particles)
    histograms = (("Scores from picking", score, "score"), ("Defocus", defocus / 1e4, "µm"))
    known = [panel for panel in histograms if len(panel[1])]
    figure = new_figure(10.0, 3.2, theme)
    columns = len(known) + bool(len(counts))
    if len(counts):
        axes: Any = figure.add_subplot(1, columns, 1)
        axes.stairs(np.sort(counts)[::-1], np.arange(len(counts) + 1) + 0.5, fill=True, color=theme.first)
        axes.set_ylim(bottom=0)
        axes.locator_params(integer=True, nbins=6)
        finish(axes, theme, "Particles by micrograph", "micrographs, the fullest first", "particles")
    for k, (title, values, x) in enumerate(known):
        axes = figure.add_subplot(1, columns, columns - len(known) + k + 1)
        axes.hist(values, bins=min(40, 4 + len(values) // 4), color=theme.first)
        axes.locator_params(axis="x", nbins=6)
        finish(axes, theme, title, x, "particles")
    return figure


def origin_figure(particles: Particles) -> ReportFigure | None:
    """The same in a report; None where nothing is known."""
    counts, score, defocus = _per_micrograph(particles), _scores(particles), _defocus(particles)
    told: list[str] = []
    if len(counts):
        told.append(f"{int(counts.min())} to {int(counts.max())} particles from each of {len(counts)} micrographs")
    if len(score):
        told.append(f"scores {score.min():.3g} to {score.max():.3g}, median {np.median(score):.3g}")
    if len(defocus):
        told.append(f"defocus {defocus.min() / 1e4:.2f} to {defocus.max() / 1e4:.2f} µm")
    if not told:
        return None
    return ReportFigure(
        name="origin",
        title="Particles",
        draw=partial(draw_origin, particles),
        text=f"Plots of {len(particles):,} particles: {'; '.join(told)}",
        caption="As earlier steps left them.",
    )


def _per_micrograph(particles: Particles) -> np.ndarray:
    counts = np.bincount(particles.micrograph[particles.micrograph >= 0], minlength=len(particles.micrographs))
    return counts[counts > 0]


def _scores(particles: Particles) -> np.ndarray:
    return np.zeros(0) if particles.score is None else particles.score[np.isfinite(particles.score)]


def _defocus(particles: Particles) -> np.ndarray:
    ctf = particles.ctf
    return np.zeros(0) if ctf is None else (ctf.defocus_u + ctf.defocus_v) / 2
