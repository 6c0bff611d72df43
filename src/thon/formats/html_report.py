"""Reports: one HTML page that needs nothing else, and its figures as PNGs beside it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np

from thon.formats.atomic import atomic_path
from thon.formats.png import encode_webp, write_png
from thon.formats.report.axis import describe_axis, draw_axis
from thon.formats.report.content import ReportContent
from thon.formats.report.document import Picture
from thon.formats.report.excluded import describe_excluded, draw_excluded
from thon.formats.report.fsc import describe_fsc, draw_fsc
from thon.formats.report.job_page import JobReport, ReportFigure, render_job_page
from thon.formats.report.local import describe_local, draw_local
from thon.formats.report.page import render_page
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
    """Write the report of a tilt series: the page, and next to it `slices.png` and so on for what there is to show.

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
        written.append(path.with_name(f"{name}.png"))
        pictures[name] = _encode(name, light, dark, drawing.describe(content), drawing.photo, written[-1])
    _write_page(path, render_page(content, pictures))
    return written


def write_job_report(path: str | Path, report: JobReport) -> dict[str, Path]:
    """Write the report of a job on particles or maps: the page, and each figure as a PNG beside it.

    Args:
        path: Of the page.
        report: What is known.

    Returns:
        Paths of the PNGs by the names of the figures.

    Raises:
        StoreError: If the folder is missing or cannot be written to.
    """
    path = Path(path)
    written = {one.name: path.with_name(f"{report.prefix}{one.name}.png") for one in report.figures}
    pictures = {one.name: _draw(one, written[one.name]) for one in report.figures}
    _write_page(path, render_job_page(report, pictures))
    return written


def _draw(shown: ReportFigure, png: Path) -> Picture:
    light = shown.draw(LIGHT)
    if not isinstance(light, np.ndarray):
        return _encode(shown.name, light, cast("Figure", shown.draw(DARK)), shown.text, shown.photo, png)
    write_png(png, light)
    encoded = encode_webp(light, shown.photo)
    return Picture(shown.name, encoded, encoded, (light.shape[0], light.shape[1]), shown.text)


def _encode(name: str, light: Figure, dark: Figure, text: str, photo: int | None, png: Path) -> Picture:
    """A figure for the page, and its PNG."""
    shown = pixels(light)
    reuse_layout(dark, light)
    write_png(png, shown)
    return Picture(
        name=name,
        light=encode_webp(shown, photo),
        dark=encode_webp(pixels(dark), photo),
        shape=(shown.shape[0], shown.shape[1]),
        text=text,
    )


def _write_page(path: Path, page: str) -> None:
    with atomic_path(path) as temporary:
        Path(temporary).write_text(page, "utf-8")
