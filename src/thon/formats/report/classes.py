"""Pictures of classes: a gallery with what people ask of each, how they changed, and how sure poses are."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from jaxtyping import Float, Int

from thon.data.maps import ParticleClass
from thon.formats.png import to_gray
from thon.formats.report.style import TEXT, Theme, finish, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLUMNS = 8
_SHOWN = 200


def draw_gallery(
    images: Float[np.ndarray, "classes rows columns"],
    classes: Sequence[ParticleClass],
    total: int,
    pixel_size: float,
    theme: Theme,
    *,
    taken: Sequence[int] | None = None,
) -> Figure:
    """Averages, the largest class first, each with number, particles, resolution and score.

    Args:
        images: Averages, or views of maps.
        classes: What is known of each.
        total: Number of particles.
        pixel_size: Of the images, Å.
        theme: Colours.
        taken: Numbers of classes that were taken, from 1: they get a frame, the others are dimmed; None for all.
    """
    order = by_size(classes)[:_SHOWN]
    axes, tiles = _draw_tiles([images[k] for k in order], theme, room=0.17)
    extent = images.shape[-1] * pixel_size
    title = f"{len(classes)} classes, {extent:.0f} Å wide: number, particles, resolution, score"
    axes.set_title(title, fontsize=TEXT, color=theme.ink, loc="left", pad=4)
    for k, (row, column) in zip(order, tiles, strict=True):
        text = cast(Any, axes).text
        text(column + 0.02, row - 0.04, _caption(k, classes[k], total), fontsize=TEXT - 3, color=theme.ink, va="bottom")
        if taken is not None:
            _mark(axes, row, column, theme, taken=k + 1 in taken)
    return axes.figure  # pyright: ignore[reportReturnType]


def draw_montage(images: Float[np.ndarray, "n rows columns"], theme: Theme) -> Figure:
    """Images side by side, each in its own range of greys."""
    return _draw_tiles(list(images), theme, room=0.02)[0].figure  # pyright: ignore[reportReturnType]


def by_size(classes: Sequence[ParticleClass]) -> list[int]:
    """Indices of classes, the largest first; of equal ones the first."""
    return sorted(range(len(classes)), key=lambda k: -classes[k].share)


def draw_class_history(
    shares: Float[np.ndarray, "iterations classes"],
    changed: Float[np.ndarray, "iterations"],
    resolution: Float[np.ndarray, "iterations classes"],
    theme: Theme,
) -> Figure:
    """Shares of the classes, fraction of particles that changed theirs, and resolution, by iteration.

    Args:
        shares: Of the particles.
        changed: Fraction of the particles that changed their class.
        resolution: Of each class, Å.
        theme: Colours.
    """
    iteration = np.arange(1, len(shares) + 1)
    figure = new_figure(10.0, 6.6, theme)
    grid = cast(Any, figure).add_gridspec(2, 2, height_ratios=[1.3, 1])
    flow = figure.add_subplot(grid[0, :])
    order = np.argsort(-shares[-1], kind="stable")
    colours = _colours(shares.shape[1])
    if len(iteration) > 1:
        flow.stackplot(iteration, shares[:, order].T, colors=colours, edgecolor=theme.paper, linewidth=0.3)
        flow.set_xlim(1, len(iteration))
    else:
        flow.bar(np.arange(len(order)) + 1, shares[0, order], color=colours)
    flow.set_ylim(0, 1 if len(iteration) > 1 else None)
    finish(flow, theme, "Shares of the classes", "iteration" if len(iteration) > 1 else "class", "share")
    left = figure.add_subplot(grid[1, 0])
    left.plot(iteration, 100 * changed, color=theme.first, marker="o", markersize=3, linewidth=1.4)
    left.set_ylim(0, max(1.0, 105 * float(np.max(changed))))
    finish(left, theme, "Particles that changed their class", "iteration", "%")
    right = figure.add_subplot(grid[1, 1])
    right.plot(iteration, resolution.min(1), color=theme.first, linewidth=1.6, label="finest")
    right.plot(iteration, np.median(resolution, 1), color=theme.second, linewidth=1.6, label="median")
    right.set_ylim(0, 1.1 * float(np.median(resolution, 1).max()))
    finish(right, theme, "Resolution", "iteration", "Å", legend=True)
    return figure


def draw_sharpness(probability: Float[np.ndarray, "n"], significant: Int[np.ndarray, "n"], theme: Theme) -> Figure:
    """How sure poses are: the share of the best pose in each particle's posterior, and how many poses matter.

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
    finish(left, theme, "Share of the best pose", "share of the posterior", "particles", legend=True)
    right = figure.add_subplot(1, 2, 2)
    counts = np.log10(np.maximum(significant, 1))
    right.hist(counts, bins=40, range=(0, max(1.0, float(counts.max(initial=0)))), color=theme.first)
    finish(right, theme, "Poses that matter", "number, power of ten", "particles")
    return figure


def _caption(k: int, one: ParticleClass, total: int) -> str:
    known = [f"{k + 1}: {round(one.share * total):,}"]
    if np.isfinite(one.resolution):
        known.append(f"{one.resolution:.1f} Å")
    if np.isfinite(one.score):
        known.append(f"{one.score:.2f}")
    return "  ".join(known)


def _draw_tiles(
    images: Sequence[Float[np.ndarray, "rows columns"]], theme: Theme, *, room: float
) -> tuple[Axes, list[tuple[float, float]]]:
    """Images in rows, with room over each as a part of its height, and where the upper left corner of each lies.

    All are drawn as one image: one plot for each would take a second for a few dozen.
    """
    columns = max(1, min(_COLUMNS, len(images)))
    rows = -(-len(images) // columns)
    figure = new_figure(10.0, 0.45 + 9.8 * rows * (1 + room) / columns, theme)
    axes = figure.add_subplot()
    corners = [((1 + room) * (place // columns) + room, float(place % columns)) for place in range(len(images))]
    for image, (row, column) in zip(images, corners, strict=True):
        grey = to_gray(image, _limits(image))[::-1]
        axes.imshow(grey, cmap="gray", vmin=0, vmax=255, extent=(column + 0.01, column + 0.99, row + 0.99, row + 0.01))
    axes.set_xlim(0, columns)
    axes.set_ylim(rows * (1 + room), 0)
    axes.set_axis_off()
    return axes, corners


def _limits(image: Float[np.ndarray, "rows columns"]) -> tuple[float, float]:
    low, high = (float(value) for value in np.percentile(image, (0.5, 99.8)))
    return low, max(high, low + 1e-9)


def _mark(axes: Axes, row: float, column: float, theme: Theme, *, taken: bool) -> None:
    """A frame around what was taken; what was not is dimmed."""
    x, y = [column + 0.01, column + 0.99], [row + 0.01, row + 0.99]
    if taken:
        axes.plot([x[0], x[1], x[1], x[0], x[0]], [y[0], y[0], y[1], y[1], y[0]], color=theme.third, linewidth=2.5)
    else:
        cast(Any, axes).fill_between(x, y[0], y[1], color=theme.paper, alpha=0.6, linewidth=0)


def _colours(count: int) -> list[tuple[float, float, float, float]]:
    wheel = cast(Any, importlib.import_module("matplotlib")).colormaps["turbo"]
    return [wheel(0.08 + 0.84 * ((k * 0.618034) % 1)) for k in range(count)]
