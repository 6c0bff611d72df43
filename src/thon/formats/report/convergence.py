"""How classifications, refinements and first maps came about, iteration by iteration."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from jaxtyping import Bool, Float, Int

from thon.formats.report.job_page import ReportFigure, ReportTable
from thon.formats.report.measures import number
from thon.formats.report.style import Theme, class_colours, finish, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class ClassHistory:
    """What happened in each iteration, or step, of a search for classes.

    Args:
        shares: Of the particles, 0 to 1.
        resolution: Of each class, Å; NaN where there was none.
        probability: Mean share of the best pose.
        changed: Fraction of the particles that changed their class; None where that was not counted.
        finest: Finest detail that was compared, Å.
    """

    shares: Float[np.ndarray, "iterations classes"]
    resolution: Float[np.ndarray, "iterations classes"]
    probability: Float[np.ndarray, "iterations"]
    changed: Float[np.ndarray, "iterations"] | None
    finest: Float[np.ndarray, "iterations"]


@dataclass(frozen=True)
class RefinementHistory:
    """What happened in each iteration of a refinement; pairs are of rotations, degrees, and shifts, Å.

    Args:
        resolution: Å; NaN where there was none.
        finest: Finest detail that was compared, Å.
        steps: Between poses that were tried.
        accuracy: As the references allow.
        changes: Of the poses since the iteration before, root mean square.
        probability: Mean share of the best pose.
        significant: Mean number of poses that matter.
        local: Whether rotations were searched near the last ones only.
    """

    resolution: Float[np.ndarray, "iterations"]
    finest: Float[np.ndarray, "iterations"]
    steps: Float[np.ndarray, "iterations 2"]
    accuracy: Float[np.ndarray, "iterations 2"]
    changes: Float[np.ndarray, "iterations 2"]
    probability: Float[np.ndarray, "iterations"]
    significant: Float[np.ndarray, "iterations"]
    local: Bool[np.ndarray, "iterations"]


def draw_class_history(history: ClassHistory, theme: Theme) -> Figure:
    """Shares of the classes; below them resolution, how sure poses are, and changes of class."""
    iteration, (_, classes) = np.arange(1, len(history.shares) + 1), history.shares.shape
    figure = new_figure(10.0, 6.4 if classes > 1 else 3.3, theme)
    grid = cast(Any, figure).add_gridspec(2 if classes > 1 else 1, 4)
    if classes > 1:
        _draw_shares(figure.add_subplot(grid[0, :]), history.shares, theme)
    _draw_resolutions(figure.add_subplot(grid[-1, :2]), history, theme)
    axes = figure.add_subplot(grid[-1, 2:] if history.changed is None else grid[-1, 2])
    _draw_probability(axes, history.probability, theme)
    if history.changed is not None:
        axes = figure.add_subplot(grid[-1, 3])
        _plot(axes, iteration, 100 * history.changed, theme.first, "")
        axes.set_ylim(0, max(1.0, 105 * float(np.max(history.changed))))
        finish(axes, theme, "Changed their class", "iteration", "% of particles")
    for axes in figure.axes:
        cast(Any, axes).locator_params(axis="x", integer=True)
    return figure


def draw_refinement_history(history: RefinementHistory, theme: Theme) -> Figure:
    """Resolution, steps with accuracy and changes of rotations and shifts, and how sure poses are."""
    iteration = np.arange(1, len(history.resolution) + 1)
    figure = new_figure(10.0, 6.6, theme)
    grid = cast(Any, figure).add_gridspec(2, 8)
    axes = figure.add_subplot(grid[0, :4])
    _plot(axes, iteration, history.resolution, theme.first, "reached")
    _plot(axes, iteration, history.finest, theme.second, "compared to", "--")
    axes.set_ylim(bottom=0)
    finish(axes, theme, "Resolution", "iteration", "Å", legend=True)
    for k, (place, name, unit) in enumerate(((grid[0, 4:], "Rotations", "°"), (grid[1, :4], "Shifts", "Å"))):
        axes = figure.add_subplot(place)
        _plot(axes, iteration, history.changes[:, k], theme.first, "change")
        _plot(axes, iteration, history.steps[:, k], theme.second, "step", "--")
        _plot(axes, iteration, history.accuracy[:, k], theme.third, "accuracy", ":")
        _log_scale(axes)
        finish(axes, theme, name, "iteration", unit, legend=True)
    _draw_probability(figure.add_subplot(grid[1, 4:6]), history.probability, theme)
    axes = figure.add_subplot(grid[1, 6:])
    _plot(axes, iteration, history.significant, theme.first, "")
    _log_scale(axes)
    finish(axes, theme, "Poses that matter", "iteration", "mean number")
    for axes in figure.axes:
        cast(Any, axes).locator_params(axis="x", integer=True)
        _shade(axes, history.local, theme)
    return figure


def class_history_figure(history: ClassHistory) -> ReportFigure:
    """How classes came about, in a report."""
    count, last = len(history.shares), history.resolution[-1]
    finest = f"{np.nanmin(last):.1f} Å" if np.isfinite(last).any() else "not known"
    text = (
        f"Plots over {count} iterations: finest class {finest} at the end, best poses hold "
        f"{100 * history.probability[-1]:.0f} % of the posterior"
    )
    if history.changed is not None:
        text += f", {100 * history.changed[-1]:.1f} % of the particles changed their class in the last iteration"
    return ReportFigure(
        name="convergence",
        title="Convergence",
        draw=partial(draw_class_history, history),
        text=text,
        caption="It has converged when shares and resolution stand still and few particles change their class.",
    )


def refinement_history_figure(history: RefinementHistory) -> ReportFigure:
    """How a refinement converged, in a report."""
    head = ["Iteration", "Resolution, Å", "Compared to, Å", "Rotation step, °", "Accuracy, °", "Change, °",
            "Shift step, Å", "Accuracy, Å", "Change, Å", "Pmax", "Poses", "Search"]  # fmt: skip
    rows = [
        [
            *(str(k + 1), number(history.resolution[k], 2), number(history.finest[k], 2)),
            *(number(pair[k, 0], 2) for pair in (history.steps, history.accuracy, history.changes)),
            *(number(pair[k, 1], 2) for pair in (history.steps, history.accuracy, history.changes)),
            *(number(history.probability[k], 3), number(history.significant[k], 1)),
            "near" if history.local[k] else "all",
        ]
        for k in range(len(history.resolution))
    ]
    return ReportFigure(
        name="convergence",
        title="Convergence",
        draw=partial(draw_refinement_history, history),
        text=f"Plots over {len(rows)} iterations: resolution {rows[-1][1]} Å at the end; in the last iteration poses "
        f"changed by {rows[-1][5]}° and {rows[-1][8]} Å, and best poses hold {100 * history.probability[-1]:.0f} % of "
        "the posterior",
        caption="Steps grow finer until they reach the accuracy that the map allows; it has converged when neither "
        "resolution nor poses change. Shaded: rotations are searched near the last ones only.",
        numbers=ReportTable("Numbers by iteration", head, rows),
    )


def _draw_shares(axes: Axes, shares: Float[np.ndarray, "iterations classes"], theme: Theme) -> None:
    count, order = len(shares), np.argsort(-shares[-1], kind="stable")
    colours = class_colours(shares.shape[1])
    chosen = [colours[k] for k in order]
    if count > 1:
        iteration = np.arange(1, count + 1)
        axes.stackplot(iteration, shares[:, order].T, colors=chosen, edgecolor=theme.paper, linewidth=0.3)
        axes.set_xlim(1, count)
        axes.set_ylim(0, 1)
        finish(axes, theme, "Shares of the classes, the largest below", "iteration", "share")
    else:
        cast(Any, axes).bar([str(k + 1) for k in order], shares[0, order], color=chosen)
        finish(axes, theme, "Shares of the classes", "class", "share")


def _draw_resolutions(axes: Axes, history: ClassHistory, theme: Theme) -> None:
    resolution, iteration = history.resolution, np.arange(1, len(history.shares) + 1)
    shown = np.where(np.isfinite(resolution), resolution, np.inf)
    best = np.where(np.isfinite(shown.min(1)), shown.min(1), np.nan)
    middle = np.where(np.isfinite(np.median(shown, 1)), np.median(shown, 1), np.nan)
    _plot(axes, iteration, best, theme.first, "finest")
    if resolution.shape[1] > 1:
        _plot(axes, iteration, middle, theme.second, "median")
    _plot(axes, iteration, history.finest, theme.faint, "compared to", "--")
    axes.set_ylim(bottom=0)
    finish(axes, theme, "Resolution", "iteration", "Å", legend=True)


def _draw_probability(axes: Axes, probability: Float[np.ndarray, "iterations"], theme: Theme) -> None:
    _plot(axes, np.arange(1, len(probability) + 1), probability, theme.first, "")
    axes.set_ylim(0, 1.02)
    finish(axes, theme, "Best pose (Pmax)", "iteration", "mean share")


def _log_scale(axes: Axes) -> None:
    """Ticks at 1, 2 and 5 times the powers of ten, as plain numbers."""
    axes.set_yscale("log")
    ticker = cast(Any, importlib.import_module("matplotlib.ticker"))
    axis = cast(Any, axes).yaxis
    axis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_locator(ticker.NullLocator())


def _plot(
    axes: Axes,
    iteration: Int[np.ndarray, "n"],
    value: Float[np.ndarray, "n"],
    colour: str,
    label: str,
    style: str = "-",
) -> None:
    marker = "o" if len(iteration) < 40 else ""
    axes.plot(iteration, value, style, color=colour, marker=marker, markersize=3, linewidth=1.5, label=label or None)


def _shade(axes: Axes, local: Bool[np.ndarray, "iterations"], theme: Theme) -> None:
    """Iterations whose rotations were searched near the last ones."""
    for k in np.flatnonzero(local):
        axes.axvspan(k + 0.5, k + 1.5, color=theme.grid, alpha=0.6, linewidth=0, zorder=0.2)
