"""Picks over their micrograph, and how their number depends on the threshold."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from jaxtyping import Bool, Float

from thon.formats.png import to_gray
from thon.formats.report.job_page import ReportFigure
from thon.formats.report.slices import draw_scale_bar
from thon.formats.report.style import TEXT, Theme, finish, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class PickPicture:
    """What is drawn of a micrograph's picks.

    Args:
        image: The binned micrograph.
        pixel_size: Of it, Å.
        coordinates: (y, x) of the picks, px of it.
        diameter: Of each pick, Å.
        avoided: Where nothing was picked for foil.
        candidates: Scores of all maxima.
        threshold: Score from which they are picks.
    """

    image: Float[np.ndarray, "rows columns"]
    pixel_size: float
    coordinates: Float[np.ndarray, "n 2"]
    diameter: Float[np.ndarray, "n"]
    avoided: Bool[np.ndarray, "rows columns"]
    candidates: Float[np.ndarray, "m"]
    threshold: float


def draw_picks(found: PickPicture, theme: Theme) -> Figure:
    """The micrograph with a circle around each pick; beside it the scores, and the number of picks by threshold."""
    rows, columns = found.image.shape
    figure = new_figure(10.0, min(8.0, 0.6 + 6.2 * rows / columns), theme)
    grid = figure.add_gridspec(2, 2, width_ratios=(2, 1))
    _draw_micrograph(figure.add_subplot(grid[:, 0]), found, theme)
    scores = np.sort(found.candidates)[::-1]
    first = figure.add_subplot(grid[0, 1])
    if len(scores):
        first.hist(scores, bins=min(60, 5 + len(scores) // 8), color=theme.first)
    finish(first, theme, "Maxima", "score", "number")
    second = figure.add_subplot(grid[1, 1])
    second.plot(scores, np.arange(1, len(scores) + 1), color=theme.first, linewidth=1.6)
    finish(second, theme, "Picks by threshold", "threshold", "picks")
    for axes in (first, second):
        if np.isfinite(found.threshold):
            axes.axvline(found.threshold, color=theme.second, linewidth=1.4, linestyle="--")
    return figure


def picks_figure(found: PickPicture, notes: Sequence[str] = ()) -> ReportFigure:
    """Picks in a report, with sentences on how they came about."""
    rows, columns = (n * found.pixel_size / 1e4 for n in found.image.shape)
    threshold = f", threshold {found.threshold:.3g}" if np.isfinite(found.threshold) else ""
    foil = f"; {100 * found.avoided.mean():.0f} % of the micrograph is left out as foil" if found.avoided.any() else ""
    return ReportFigure(
        name="picks",
        title="Picks",
        draw=partial(draw_picks, found),
        text=f"Micrograph of {columns:.2f} × {rows:.2f} µm with a circle around each of {len(found.coordinates)} "
        f"picks{foil}; histogram of the scores of {len(found.candidates)} maxima{threshold}, and the number of picks "
        "by threshold",
        caption="Scores of particles and of background make two humps, and the threshold (dashed) belongs between "
        f"them. What is coloured was left out: foil and its edges. {' '.join(notes)}".rstrip(),
        photo=75,
    )


def _draw_micrograph(axes: Axes, found: PickPicture, theme: Theme) -> None:
    rows, columns = found.image.shape
    shown = np.repeat(to_gray(found.image)[..., None], 3, -1)
    shown[found.avoided] = (0.55 * shown[found.avoided] + 0.45 * np.array([213, 94, 0])).astype(np.uint8)
    axes.imshow(shown, origin="lower", extent=(-0.5, columns - 0.5, -0.5, rows - 0.5))
    _draw_circles(axes, found, theme)
    draw_scale_bar(axes, columns * found.pixel_size, columns, rows)
    axes.set_axis_off()
    title = f"{len(found.coordinates)} picks"
    axes.set_title(title, fontsize=TEXT + 1, color=theme.ink, loc="left", fontweight="bold", pad=5)


def _draw_circles(axes: Axes, found: PickPicture, theme: Theme) -> None:
    module = cast(Any, importlib.import_module("matplotlib.collections"))
    size, none = found.diameter / found.pixel_size, np.zeros(len(found.diameter))
    circles = module.EllipseCollection(
        *(size, size, none),
        units="xy",
        offsets=found.coordinates[:, ::-1],
        offset_transform=cast(Any, axes).transData,
        facecolors="none",
        edgecolors=theme.third,
        linewidths=0.9,
    )
    axes.add_collection(circles, autolim=False)
