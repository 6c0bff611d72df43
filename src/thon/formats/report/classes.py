"""Pictures of classes: galleries of averages and of maps, with what people ask of each."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from jaxtyping import Float

from thon.data.maps import ParticleClass
from thon.formats.png import to_gray
from thon.formats.report.job_page import ReportFigure, ReportTable
from thon.formats.report.measures import number
from thon.formats.report.style import TEXT, Theme, new_figure
from thon.formats.report.volume_views import projections, sections

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLUMNS = 8
_SHOWN = 200
_MAPS = 12


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
    axes, tiles = _draw_tiles([images[k] for k in order], theme, room=0.17, columns=_COLUMNS)
    extent = images.shape[-1] * pixel_size
    title = f"{len(classes)} classes, {extent:.0f} Å wide: number, particles, resolution, score"
    axes.set_title(title, fontsize=TEXT, color=theme.ink, loc="left", pad=4)
    for k, (row, column) in zip(order, tiles, strict=True):
        _write(axes, row, column, _caption(k, classes[k], total), theme, TEXT - 3)
        if taken is not None:
            _mark(axes, row, column, theme, taken=k + 1 in taken)
    return axes.figure  # pyright: ignore[reportReturnType]


def draw_maps(
    maps: Float[np.ndarray, "classes z y x"],
    classes: Sequence[ParticleClass],
    total: int,
    voxel_size: float,
    theme: Theme,
) -> Figure:
    """Maps of classes, the largest first: a row for each, of three central sections and three projections."""
    order = by_size(classes)[:_MAPS]
    images = [image for k in order for image in (*sections(maps[k]), *projections(maps[k]))]
    axes, tiles = _draw_tiles(images, theme, room=0.14, columns=6)
    title = f"{maps.shape[-1] * voxel_size:.0f} Å wide: sections across z, y, x; projections along z, y, x"
    axes.set_title(title, fontsize=TEXT, color=theme.ink, loc="left", pad=4)
    for k, (row, column) in zip(order, tiles[::6], strict=True):
        _write(axes, row, column, _caption(k, classes[k], total), theme, TEXT - 1)
    return axes.figure  # pyright: ignore[reportReturnType]


def gallery_figure(
    images: Float[np.ndarray, "classes rows columns"],
    classes: Sequence[ParticleClass],
    total: int,
    pixel_size: float,
    *,
    taken: Sequence[int] | None = None,
) -> ReportFigure:
    """The gallery of averages in a report; arguments as of `draw_gallery`."""
    framed = "" if taken is None else f" Framed are the {len(taken)} classes that were taken; the others are dimmed."
    what = f"Gallery of {len(classes)} classes, {min(len(classes), _SHOWN)} of them drawn, the largest first. "
    return ReportFigure(
        name="classes",
        title="Classes",
        draw=partial(draw_gallery, images, classes, total, pixel_size, taken=taken),
        text=what + _largest(classes, total) + framed,
        caption="Over each: its number, its particles, its resolution, and from 0 to 1 how good it looks." + framed,
        photo=88,
        numbers=class_table(classes, total, taken),
    )


def maps_figure(
    maps: Float[np.ndarray, "classes z y x"], classes: Sequence[ParticleClass], total: int, voxel_size: float
) -> ReportFigure:
    """The maps of classes in a report; arguments as of `draw_maps`."""
    what = f"Sections and projections of {min(len(classes), _MAPS)} maps, the largest class first. "
    return ReportFigure(
        name="maps",
        title="Maps",
        draw=partial(draw_maps, maps, classes, total, voxel_size),
        text=what + _largest(classes, total),
        caption="A row for each class, with its number, its particles and its resolution; each tile has its own greys.",
        photo=88,
        numbers=class_table(classes, total, None),
    )


def montage_figure(images: Float[np.ndarray, "n rows columns"], name: str, title: str, text: str) -> ReportFigure:
    """Images side by side in a report, each in its own range of greys."""
    return ReportFigure(
        name=name,
        title=title,
        draw=partial(draw_montage, images),
        text=text,
        caption="Each image has its own range of greys; y points up.",
        photo=88,
    )


def draw_montage(images: Float[np.ndarray, "n rows columns"], theme: Theme) -> Figure:
    """Images side by side, each in its own range of greys."""
    return _draw_tiles(list(images), theme, room=0.02, columns=_COLUMNS)[0].figure  # pyright: ignore[reportReturnType]


def by_size(classes: Sequence[ParticleClass]) -> list[int]:
    """Indices of classes, the largest first; of equal ones the first."""
    return sorted(range(len(classes)), key=lambda k: -classes[k].share)


def class_table(classes: Sequence[ParticleClass], total: int, taken: Sequence[int] | None) -> ReportTable:
    """What is known of each class, the largest first."""
    head = ["Class", "Particles", "Share, %", "Resolution, Å", "Score"] + ["Taken"] * (taken is not None)
    rows = [
        [
            *(str(k + 1), f"{round(classes[k].share * total):,}", number(100 * classes[k].share, 1)),
            *(number(classes[k].resolution, 2), number(classes[k].score, 2)),
            *([] if taken is None else ["yes" if k + 1 in taken else ""]),
        ]
        for k in by_size(classes)
    ]
    return ReportTable("Numbers of the classes", head, rows)


def _largest(classes: Sequence[ParticleClass], total: int) -> str:
    """The largest class in words."""
    k = by_size(classes)[0]
    fine = f" at {classes[k].resolution:.1f} Å" if np.isfinite(classes[k].resolution) else ""
    return f"The largest is class {k + 1} with {round(classes[k].share * total):,} of {total:,} particles{fine}."


def _write(axes: Axes, row: float, column: float, text: str, theme: Theme, size: float) -> None:
    cast(Any, axes).text(column + 0.02, row - 0.03, text, fontsize=size, color=theme.ink, va="bottom")


def _caption(k: int, one: ParticleClass, total: int) -> str:
    known = [f"{k + 1}: {round(one.share * total):,}"]
    if np.isfinite(one.resolution):
        known.append(f"{one.resolution:.1f} Å")
    if np.isfinite(one.score):
        known.append(f"{one.score:.2f}")
    return "  ".join(known)


def _draw_tiles(
    images: Sequence[Float[np.ndarray, "rows columns"]], theme: Theme, *, room: float, columns: int
) -> tuple[Axes, list[tuple[float, float]]]:
    """Images in rows, with room over each as a part of its height, and where the upper left corner of each lies.

    All are drawn as one image: one plot for each would take a second for a few dozen.
    """
    columns = max(1, min(columns, len(images)))
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
