"""What every page is made of: its shell, its figures in both colour schemes, and its warnings. Nothing is fetched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files

from thon.formats.report.markup import data_uri, tag

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
"""The browser itself refuses every address outside the page."""


@dataclass(frozen=True)
class Picture:
    """A drawn figure, encoded for the page in both colour schemes.

    Args:
        name: Stem of the PNG's name.
        light: WebP bytes.
        dark: WebP bytes; the same as `light` where the picture has no colours of a scheme.
        shape: (rows, columns), px.
        text: What it shows, in words.
    """

    name: str
    light: bytes
    dark: bytes
    shape: tuple[int, int]
    text: str


def document(title: str, parts: Sequence[str], script: str = "") -> str:
    """A whole page as text.

    Args:
        title: In the window's frame, as text.
        parts: HTML from top to bottom; empty ones are left out.
        script: Name of a file with a script of ours.
    """
    head = "".join(
        (
            '<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            '<meta name="generator" content="thon">',
            tag("title", escape(f"{title} – thon report")),
            tag("style", _asset("page.css")),
        )
    )
    body = tag("main", "\n".join(part for part in parts if part))
    if script:
        body += tag("script", _asset(script))
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n{body}\n</body></html>\n'


def figure(picture: Picture | None, label: str, caption: str) -> str:
    """A picture that scrolls by itself on narrow screens, with a caption; nothing where there is no picture."""
    if picture is None:
        return ""
    rows, columns = picture.shape
    image = f'<img src="{data_uri(picture.light)}" width="{columns}" height="{rows}" alt="{escape(picture.text)}">'
    if picture.dark != picture.light:
        # Paper is white: what is printed stays light.
        media = "screen and (prefers-color-scheme: dark)"
        image = (
            f'<picture><source media="{media}" srcset="{data_uri(picture.dark)}" type="image/webp">{image}</picture>'
        )
    scroll = tag("div", image, class_="scroll", tabindex=0, role="region", aria_label=label)
    return tag("figure", scroll + tag("figcaption", escape(caption)), id=f"figure-{picture.name}")


def warning_list(sentences: Sequence[str]) -> str:
    """Warnings in a frame of their own; nothing where there are none."""
    if not sentences:
        return ""
    title = tag("h2", "One warning" if len(sentences) == 1 else f"{len(sentences)} warnings")
    listed = tag("ul", "".join(tag("li", escape(sentence)) for sentence in sentences))
    return tag("div", title + listed, class_="warnings", role="note", aria_label="Warnings")


def _asset(name: str) -> str:
    return files("thon.formats.report").joinpath(name).read_text("utf-8")
