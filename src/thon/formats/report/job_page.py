"""The report of a job on particles or maps: what it found in numbers, then its figures, each with how to read it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

from thon.formats.report.content import ChangedOption
from thon.formats.report.document import Picture, document, figure, warning_list
from thon.formats.report.markup import definitions, section, table, tag
from thon.formats.report.style import Theme
from thon.formats.report.tables import option_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class ReportTable:
    """The numbers behind a figure; the first column names the row.

    Args:
        caption: What it holds.
        head: Names of the columns, with units.
        rows: Text.
    """

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class ReportFigure:
    """A figure of a report, not drawn yet.

    Args:
        name: Stem of its PNG's name.
        title: Heading over it.
        draw: Draws it in the colours of a theme: a figure, or pixels that have none of a theme.
        text: What it shows, in words and with its numbers, for who does not see it.
        caption: How to read it.
        photo: WebP quality where it is mostly grey noise.
        numbers: Table below it.
    """

    name: str
    title: str
    draw: Callable[[Theme], Figure | UInt8[np.ndarray, "rows columns *colour"]]
    text: str
    caption: str
    photo: int | None = None
    numbers: ReportTable | None = None


@dataclass(frozen=True)
class JobReport:
    """What is known about one item of a job.

    Args:
        title: Of the page.
        figures: From top to bottom.
        numbers: Those that a person looks for first, with units, by name.
        warnings: Sentences about what may be wrong.
        options: Options that differ from their defaults.
        versions: Versions by program.
        prefix: Of the names of the PNGs.
    """

    title: str
    figures: Sequence[ReportFigure]
    numbers: Mapping[str, str] = field(default_factory=dict[str, str])
    warnings: Sequence[str] = ()
    options: Sequence[ChangedOption] = ()
    versions: Mapping[str, str] = field(default_factory=dict[str, str])
    prefix: str = ""


def render_job_page(report: JobReport, pictures: Mapping[str, Picture]) -> str:
    """The whole page as text, with nothing outside it.

    Args:
        report: What is known.
        pictures: The figures by name.
    """
    calm = "" if report.warnings else tag("p", "No warnings.", class_="calm")
    top = tag("h1", escape(report.title)) + warning_list(report.warnings) + calm
    parts = [
        tag("header", top + definitions(dict(report.numbers), "numbers")),
        *(_section(shown, pictures[shown.name]) for shown in report.figures),
        section("options", "Options", option_table(report.options)),
        section("versions", "Versions", definitions(dict(report.versions), "facts")),
    ]
    return document(report.title, parts)


def _section(shown: ReportFigure, picture: Picture) -> str:
    content = figure(picture, shown.title, shown.caption)
    if shown.numbers is not None:
        rows = table(shown.numbers.head, shown.numbers.rows, shown.numbers.caption, numeric=True)
        content += tag("details", tag("summary", escape(shown.numbers.caption)) + rows)
    return section(shown.name, shown.title, content)
