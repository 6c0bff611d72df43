"""How the figures look: two colour schemes, one type size, no global state of matplotlib."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from jaxtyping import Bool, Float, UInt8

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TEXT = 10.5
"""Size of the text, pt; a figure is 10 inches wide."""

DPI = 150


@dataclass(frozen=True)
class Theme:
    """Colours of a figure. The data colours are Okabe and Ito's, which colour-blind people can tell apart."""

    paper: str
    ink: str
    faint: str
    grid: str
    first: str
    second: str
    third: str
    mark: str


LIGHT = Theme("#ffffff", "#1c2126", "#5d6670", "#e3e6ea", "#0072b2", "#d55e00", "#009e73", "#a8467f")
DARK = Theme("#171b20", "#e8ebee", "#a3acb6", "#333b44", "#56b4e9", "#f0a030", "#2fc79b", "#e08fbf")


def new_figure(width: float, height: float, theme: Theme, *, constrained: bool = True) -> Figure:
    """An empty figure of that size in inches, outside pyplot."""
    # matplotlib takes longer to load than everything else of the command line: only drawing pays for it.
    module = cast(Any, importlib.import_module("matplotlib.figure"))
    layout = "constrained" if constrained else "none"
    figure = cast("Figure", module.Figure(figsize=(width, height), dpi=DPI, facecolor=theme.paper, layout=layout))
    if constrained:
        cast(Any, figure.get_layout_engine()).set(w_pad=0.08, h_pad=0.08, wspace=0.05, hspace=0.06)
    return figure


def pixels(figure: Figure) -> UInt8[np.ndarray, "rows columns 3"]:
    """The figure, drawn."""
    module = cast(Any, importlib.import_module("matplotlib.backends.backend_agg"))
    canvas = module.FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def reuse_layout(figure: Figure, drawn: Figure) -> None:
    """Place a figure's axes as in its drawn twin in other colours: finding the places takes half of the drawing."""
    figure.set_layout_engine("none")
    for axes, twin in zip(figure.axes, drawn.axes, strict=True):
        axes.set_position(twin.get_position(original=True), which="original")


def finish(axes: Axes, theme: Theme, title: str, x: str, y: str, *, legend: bool = False) -> None:
    """Give a plot its title, labels, grid and colours."""
    axes.set_facecolor(theme.paper)
    axes.set_title(title, fontsize=TEXT + 1, color=theme.ink, loc="left", fontweight="bold", pad=8)
    axes.set_xlabel(x, fontsize=TEXT, color=theme.ink)
    axes.set_ylabel(y, fontsize=TEXT, color=theme.ink)
    axes.tick_params(colors=theme.faint, labelsize=TEXT - 0.5, length=3)
    axes.grid(True, color=theme.grid, linewidth=0.8)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(theme.faint)
    if legend and axes.get_legend_handles_labels()[0]:
        add_legend(axes, theme)


def add_legend(axes: Axes, theme: Theme) -> None:
    """A legend in the line of the title, where it hides nothing."""
    entries = len(axes.get_legend_handles_labels()[1])
    axes.legend(
        loc="lower right",
        bbox_to_anchor=(1.0, 1.0),
        borderaxespad=0.25,
        borderpad=0,
        columnspacing=1.2,
        handlelength=1.6,
        ncols=entries,
        frameon=False,
        fontsize=TEXT - 0.5,
        labelcolor=theme.ink,
    )


def class_colours(count: int) -> list[tuple[float, float, float, float]]:
    """A colour for each class; neighbours in number are far apart in colour."""
    wheel = cast(Any, importlib.import_module("matplotlib")).colormaps["turbo"]
    return [wheel(0.08 + 0.84 * ((k * 0.618034) % 1)) for k in range(count)]


def plain_ticks(axes: Axes) -> None:
    """Tick labels without a common offset or power of ten."""
    cast(Any, axes).ticklabel_format(useOffset=False, style="plain")


def widen(axes: Axes, least: float) -> None:
    """Let the y axis span at least that much, so that noise below it does not fill the plot."""
    low, high = axes.get_ylim()
    if high - low < least:
        axes.set_ylim((low + high - least) / 2, (low + high + least) / 2)


def plot_per_tilt(
    axes: Axes,
    tilt: Float[np.ndarray, "tilts"],
    value: Float[np.ndarray, "tilts"],
    sigma: Float[np.ndarray, "tilts"] | None,
    *,
    colour: str,
    label: str,
    marker: str = "o",
) -> None:
    """A value of each kept tilt with a band of ± one standard deviation."""
    if sigma is not None and np.nan_to_num(sigma).any():
        axes.fill_between(tilt, value - sigma, value + sigma, color=colour, alpha=0.28, linewidth=0)
    axes.plot(tilt, value, color=colour, marker=marker, markersize=3.8, linewidth=1.3, label=label)


def mark_excluded(
    axes: Axes, tilt: Float[np.ndarray, "tilts"], excluded: Bool[np.ndarray, "tilts"], theme: Theme
) -> None:
    """A dotted line with a cross at the foot for each excluded tilt."""
    for k, angle in enumerate(tilt[excluded]):
        axes.axvline(angle, color=theme.mark, linewidth=1, linestyle=":", zorder=0.5)
        label = "excluded" if k == 0 else None
        foot = cast(Any, axes).get_xaxis_transform()
        axes.plot(
            [angle], [0.035], "x", color=theme.mark, markersize=6, markeredgewidth=1.6, transform=foot, label=label
        )
