"""The page: a header that says how it went, then the figures, each with what it shows in words."""

from __future__ import annotations

import json
import math
from html import escape

from thon.formats.animation import encode_frames
from thon.formats.report import tables
from thon.formats.report.content import ReportContent
from thon.formats.report.document import Picture, document, figure, warning_list
from thon.formats.report.markup import data_uri, definitions, section, tag
from thon.formats.report.measures import length_text, nice_length, number

CAPTIONS = {
    "slices": "All slices are at one scale; y and z point up. Grey values span the median ± 3 standard deviations.",
    "shifts": "Bands are ± one standard deviation; what was held fixed has none and may be left out.",
    "axis": "Left: how well each trial angle explains the images. Right: each image against the reprojection of the "
    "others.",
    "local": "What is left after the rigid alignment, as a smooth field; arrows are enlarged by the same factor.",
    "residuals": "Measured minus predicted positions of the tracked features; arrows are enlarged.",
    "thickness": "Dashed lines are the faces found; the sketch shows how the sample's mid-plane slopes.",
    "excluded": "In the grey values of the images that take part, so that dark images look dark.",
    "fsc": "From two volumes of independent images. The volumes are halves: the whole is somewhat better.",
}

TITLES = {
    "slices": "Tomogram",
    "shifts": "Alignment",
    "axis": "Tilt axis and agreement",
    "local": "Local motion",
    "residuals": "Residuals",
    "thickness": "Sample thickness",
    "excluded": "Excluded images",
    "fsc": "Resolution",
}


def render_page(content: ReportContent, pictures: dict[str, Picture]) -> str:
    """The whole page as text, with nothing outside it.

    Args:
        content: What is known.
        pictures: Figures by name; those that are absent are left out.
    """
    parts = [
        header(content),
        section("tomogram", TITLES["slices"], _figure(pictures, "slices")),
        section("animation", "Aligned series", player(content)),
        section("alignment", TITLES["shifts"], _figure(pictures, "shifts") + _tilts(content)),
        *(section(name, TITLES[name], _figure(pictures, name)) for name in ("axis", "local", "residuals", "thickness")),
        section("excluded", TITLES["excluded"], _figure(pictures, "excluded") + tables.excluded_table(content)),
        section("fsc", TITLES["fsc"], _figure(pictures, "fsc")),
        section("timings", "Time", tables.timing_table(content.stage_seconds, content.limit_share)),
        section("understood", "What was understood from the input", definitions(content.understood, "facts")),
        section("options", "Options", tables.option_table(content.options)),
        section("versions", "Versions", definitions(content.versions, "facts")),
    ]
    return document(content.title, parts, "player.js" if "frames-data" in parts[2] else "")


def header(content: ReportContent) -> str:
    """Name, confidence, warnings and key numbers."""
    top = tag("h1", escape(content.title))
    if content.diagnostics is not None and math.isfinite(content.diagnostics.confidence):
        top += _confidence(content.diagnostics.confidence, content.diagnostics.method)
    top += warning_list(content.all_warnings)
    if not content.all_warnings and content.diagnostics is not None:
        top += tag("p", "No warnings.", class_="calm")
    return tag("header", top + definitions(tables.key_numbers(content), "numbers"))


def player(content: ReportContent) -> str:
    """The aligned images that take part, with a slider and a button; the least tilted one without a script."""
    series, images = content.series, content.aligned
    if series is None or images is None or not len(series.kept):
        return ""
    kept = [int(k) for k in series.kept]
    tilt = [f"{number(series.geometry.tilt[k], 1)}°" for k in kept]
    frames = [data_uri(frame) for frame in encode_frames([images[k] for k in kept])]
    start = min(range(len(kept)), key=lambda k: abs(series.geometry.tilt[kept[k]]))
    rows, columns = images.shape[1:]
    image = (
        f'<img id="frame" src="{frames[start]}" width="{columns}" height="{rows}" alt="Aligned image at {tilt[start]}">'
    )
    overlay = tag("output", tilt[start], id="frame-tilt", for_="frame-slider")
    if content.aligned_pixel_size is not None:
        extent = columns * content.aligned_pixel_size
        length = nice_length(extent)
        bar = tag("span", length_text(length), class_="scale", style=f"width:{100 * length / extent:.2f}%")
        overlay += bar
    slider = (
        f'<input id="frame-slider" type="range" min="0" max="{len(frames) - 1}" value="{start}" '
        f'aria-label="Tilt" aria-valuetext="{tilt[start]}">'
    )
    controls = tag("div", tag("button", "Play", id="frame-play", type="button") + slider, class_="controls")
    data = json.dumps({"frames": frames, "tilts": tilt}, ensure_ascii=True).replace("<", "\\u003c")
    script = tag("script", data, type="application/json", id="frames-data")
    caption = tag(
        "figcaption",
        f"{len(frames)} images after the rigid alignment, each with its own contrast; y points up. Features of the "
        "specimen should glide smoothly along x, perpendicular to the tilt axis, and not jump.",
    )
    return tag("figure", tag("div", image + overlay, class_="stage") + controls + caption, class_="player") + script


def _confidence(value: float, method: str) -> str:
    word = "high" if value >= 0.8 else "moderate" if value >= 0.5 else "low: look at the plots before using this"
    meter = (
        f'<meter min="0" max="1" low="0.5" high="0.8" optimum="1" value="{value:.3f}" aria-label="Confidence"></meter>'
    )
    text = f"Confidence {tag('strong', f'{value:.2f}')} of 1, {word}."
    if method:
        text += f" Aligned by {escape(method)}."
    return tag("p", meter + tag("span", text), class_="confidence")


def _figure(pictures: dict[str, Picture], name: str) -> str:
    return figure(pictures.get(name), TITLES[name], CAPTIONS[name])


def _tilts(content: ReportContent) -> str:
    numbers = tables.tilt_table(content)
    return tag("details", tag("summary", "Numbers per tilt") + numbers) if numbers else ""
