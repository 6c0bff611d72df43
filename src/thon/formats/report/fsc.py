"""Fourier shell correlation of the even and odd volumes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np

from thon.formats.report.content import ReportContent
from thon.formats.report.style import Theme, finish, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_fsc(content: ReportContent, theme: Theme) -> Figure | None:
    """The curve with the usual thresholds, and where it crosses 0.143."""
    fsc = content.fsc
    if fsc is None or not np.isfinite(fsc.value).any():
        return None
    figure = new_figure(10.0, 4.0, theme)
    axes = figure.add_subplot()
    axes.axhline(0, color=theme.faint, linewidth=0.8)
    for threshold, style in ((0.5, ":"), (0.143, "--")):
        axes.axhline(threshold, color=theme.faint, linewidth=1.1, linestyle=style, label=f"{threshold:g}")
    axes.plot(fsc.frequency, fsc.value, color=theme.first, linewidth=1.8, label="even and odd")
    resolution = fsc.resolution()
    if resolution is not None:
        label = f"0.143 at {resolution:.1f} Å"
        axes.plot([1 / resolution], [0.143], "o", color=theme.second, markersize=7, label=label)
    last = float(fsc.frequency.max())
    axes.set_xlim(0, last)
    axes.set_ylim(min(-0.1, float(np.nanmin(fsc.value)) - 0.05), 1.03)
    ticks = [tick for tick in axes.get_xticks() if 0 <= tick <= last * 1.001]
    cast(Any, axes).set_xticks(ticks, [f"{tick:g}\n{1 / tick:.3g} Å" if tick > 0 else "0" for tick in ticks])
    finish(axes, theme, "Fourier shell correlation", "spatial frequency, 1/Å", "FSC", legend=True)
    return figure


def describe_fsc(content: ReportContent) -> str:
    """What the plot shows, in words."""
    if content.fsc is None:
        return ""
    resolution = content.fsc.resolution()
    found = "it stays on one side of 0.143" if resolution is None else f"it falls below 0.143 at {resolution:.1f} Å"
    return f"Fourier shell correlation of the even and odd volumes against spatial frequency; {found}"
