"""The report of a tilt series: one HTML page that needs nothing else, and its figures as PNGs beside it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from thon.formats.atomic import atomic_path
from thon.formats.png import encode_webp, write_png
from thon.formats.report.axis import describe_axis, draw_axis
from thon.formats.report.content import ReportContent
from thon.formats.report.excluded import describe_excluded, draw_excluded
from thon.formats.report.fsc import describe_fsc, draw_fsc
from thon.formats.report.local import describe_local, draw_local
from thon.formats.report.page import Picture, render_page
from thon.formats.report.residuals import describe_residuals, draw_residuals
from thon.formats.report.shifts import describe_shifts, draw_shifts
from thon.formats.report.slices import describe_slices, draw_slices
from thon.formats.report.style import DARK, LIGHT, Theme, pixels, reuse_layout
from thon.formats.report.thickness import describe_thickness, draw_thickness

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Drawing(NamedTuple):
    """How a figure is drawn and described; `photo` is the WebP quality where it is mostly grey noise."""

    draw: Callable[[ReportContent, Theme], Figure | None]
    describe: Callable[[ReportContent], str]
    photo: int | None = None


DRAWINGS = {
    "slices": Drawing(draw_slices, describe_slices, photo=85),
    "shifts": Drawing(draw_shifts, describe_shifts),
    "axis": Drawing(draw_axis, describe_axis),
    "residuals": Drawing(draw_residuals, describe_residuals, photo=90),
    "local": Drawing(draw_local, describe_local),
    "thickness": Drawing(draw_thickness, describe_thickness),
    "fsc": Drawing(draw_fsc, describe_fsc),
    "excluded": Drawing(draw_excluded, describe_excluded, photo=90),
}
"""By the stem of the PNG's name."""


def write_report(path: str | Path, content: ReportContent) -> list[Path]:
    """Write the report: the page, and next to it `slices.png`, `shifts.png` and so on for what there is to show.

    The page holds its figures in both colour schemes; the PNGs are the light ones. Each file appears whole.

    Args:
        path: Of the page.
        content: What is known about the series; what is absent is left out.

    Returns:
        Paths of the PNGs that were written.

    Raises:
        StoreError: If the folder is missing or cannot be written to.
    """
    path = Path(path)
    pictures: dict[str, Picture] = {}
    written: list[Path] = []
    for name, drawing in DRAWINGS.items():
        light, dark = drawing.draw(content, LIGHT), drawing.draw(content, DARK)
        if light is None or dark is None:
            continue
        shown = pixels(light)
        reuse_layout(dark, light)
        pictures[name] = Picture(
            name=name,
            light=encode_webp(shown, drawing.photo),
            dark=encode_webp(pixels(dark), drawing.photo),
            shape=(shown.shape[0], shown.shape[1]),
            text=drawing.describe(content),
        )
        written.append(path.with_name(f"{name}.png"))
        write_png(written[-1], shown)
    page = render_page(content, pictures)
    with atomic_path(path) as temporary:
        Path(temporary).write_text(page, "utf-8")
    return written
