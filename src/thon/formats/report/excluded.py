"""Thumbnails of the images that take no part."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import numpy as np

from thon.formats.png import robust_range, shrink, to_gray
from thon.formats.report.content import ReportContent
from thon.formats.report.measures import number
from thon.formats.report.style import TEXT, Theme, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = 5


def draw_excluded(content: ReportContent, theme: Theme) -> Figure | None:
    """Each excluded image with its tilt and the reason, in the grey values of the kept ones so that dark looks dark."""
    series, images = content.series, content.raw if content.raw is not None else content.aligned
    if series is None or images is None or not series.excluded:
        return None
    excluded = sorted(series.excluded)
    columns = min(max(len(excluded), 3), COLUMNS)
    rows = -(-len(excluded) // columns)
    shape = images.shape[1] / images.shape[2]
    figure = new_figure(10.0, rows * (9.25 / columns * min(shape, 2) + 0.75) + 0.1, theme)
    limits = _common_range(images[series.kept])
    for k, index in enumerate(excluded):
        axes = figure.add_subplot(rows, columns, k + 1)
        axes.imshow(to_gray(shrink(images[index], 320), limits), cmap="gray", vmin=0, vmax=255, origin="lower")
        axes.set_xticks([])
        axes.set_yticks([])
        for spine in axes.spines.values():
            spine.set_color(theme.faint)
        reason = "\n".join(textwrap.wrap(series.excluded[index], 130 // columns)[:3])
        axes.set_title(f"{index + 1}: {number(series.geometry.tilt[index], 1)}°", fontsize=TEXT, color=theme.ink)
        axes.set_xlabel(reason.replace("$", r"\$"), fontsize=TEXT - 1, color=theme.ink)
    return figure


def describe_excluded(content: ReportContent) -> str:
    """What the thumbnails show, in words."""
    if content.series is None:
        return ""
    tilt = content.series.geometry.tilt
    listed = ", ".join(f"{number(tilt[k], 1)}° ({reason})" for k, reason in sorted(content.series.excluded.items()))
    return f"Thumbnails of the excluded images: {listed}"


def _common_range(images: np.ndarray) -> tuple[float, float] | None:
    """Black below the kept images, white above them."""
    if not len(images):
        return None
    ranges = np.array([robust_range(image[::4, ::4]) for image in images])
    low, high = float(ranges[:, 0].min()), float(ranges[:, 1].max())
    return (low, high) if high > low else None
