"""The numbers behind the plots."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import cast

import numpy as np

from thon.data.tilt_series import TiltSeries
from thon.formats.report.content import ChangedOption, ReportContent
from thon.formats.report.markup import table, tag
from thon.formats.report.measures import local_rms, number, overall_rms, residual_length, root_mean_square, with_sigma


def key_numbers(content: ReportContent) -> dict[str, str]:
    """The few numbers that a person looks for first, with units."""
    return {**_series_numbers(content), **_alignment_numbers(content), **_tomogram_numbers(content)}


def _series_numbers(content: ReportContent) -> dict[str, str]:
    series = content.series
    if series is None:
        return {}
    rows, columns = series.image_shape
    found = {
        "Images used": f"{len(series.kept)} of {len(series)}",
        "Image": f"{columns} × {rows} px of {series.pixel_size:g} Å",
    }
    if len(series.kept):
        kept = series.geometry.select(series.kept)
        found["Tilts"] = f"{number(kept.tilt.min(), 1)} to {number(kept.tilt.max(), 1)}°"
        found["Tilt axis"] = f"{number(float(kept.rotation.mean()), 2)}°"
        if content.diagnostics is not None:
            sigma = float(np.mean(content.diagnostics.sigma.rotation[series.kept]))
            found["Tilt axis"] = with_sigma(float(kept.rotation.mean()), sigma, 2) + "°"
    total = series.prior_exposure + series.exposure
    if np.isfinite(total).any():
        found["Total exposure"] = f"{number(float(np.nanmax(total)), 1)} e/Å²"
    return found


def _alignment_numbers(content: ReportContent) -> dict[str, str]:
    series, diagnostics = content.series, content.diagnostics
    if series is None or diagnostics is None:
        return {}
    found: dict[str, str] = {}
    sigma = diagnostics.sigma.shift[series.kept]
    if np.nan_to_num(sigma).any():
        typical = float(np.nanmedian(sigma))
        found["Uncertainty of shifts"] = f"{number(typical, 2)} Å ({number(typical / series.pixel_size, 2)} px)"
    if np.isfinite(diagnostics.correlation).any():
        found["Median correlation"] = number(float(np.nanmedian(diagnostics.correlation)), 2)
    if diagnostics.residual is not None and np.isfinite(diagnostics.residual).any():
        length = residual_length(diagnostics.residual)
        for name, value in (("Median residual", np.nanmedian(length)), ("RMS residual", overall_rms(length))):
            found[name] = f"{number(float(value), 2)} Å ({number(float(value) / series.pixel_size, 2)} px)"
    if diagnostics.profile is not None:
        found["Sample thickness"] = f"{number(diagnostics.profile.thickness / 10, 1)} nm"
    return found


def _tomogram_numbers(content: ReportContent) -> dict[str, str]:
    found: dict[str, str] = {}
    if content.tomogram is not None:
        z, y, x = content.tomogram.volume.shape
        found["Tomogram, x × y × z"] = f"{x} × {y} × {z} voxels"
        found["Voxel"] = f"{content.tomogram.volume.voxel_size:g} Å"
        if content.tomogram.method:
            found["Reconstruction"] = content.tomogram.method
    if content.fsc is not None:
        resolution = content.fsc.resolution()
        if resolution is not None:
            found["FSC of halves 0.143 at"] = f"{number(resolution, 1)} Å"
    if content.stage_seconds:
        found["Time"] = duration(sum(content.stage_seconds.values()))
    return found


def duration(seconds: float) -> str:
    """A time that a person can read."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds >= 1 else f"{1000 * seconds:.0f} ms"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def tilt_table(content: ReportContent) -> str:
    """Every number of every tilt."""
    series, diagnostics = content.series, content.diagnostics
    if series is None:
        return ""
    head = ["Image", "Tilt, °", "Shift y, Å", "Shift x, Å", "Axis, °", "x-tilt, °", "Magnification"]
    columns = [_geometry_columns(content, series, k) for k in range(len(series))]
    if series.geometry.local is not None:
        rms = local_rms(series)
        _add(head, columns, "Local RMS, Å", [number(value, 2) for value in rms])
    if diagnostics is not None:
        _add(head, columns, "Correlation", [number(value, 3) for value in diagnostics.correlation])
        if diagnostics.residual is not None:
            rms = root_mean_square(residual_length(diagnostics.residual), 0)
            _add(head, columns, "Residual RMS, Å", [number(value, 2) for value in rms])
    if np.isfinite(series.prior_exposure).any():
        _add(head, columns, "Exposure before, e/Å²", [number(value, 2) for value in series.prior_exposure])
    _add(head, columns, "Taken as", [str(order + 1) for order in series.order])
    if series.excluded:
        _add(head, columns, "Excluded", [series.excluded.get(k, "") for k in range(len(series))])
    return table(head, columns, f"Numbers per tilt, ± one standard deviation ({len(series)} images)", numeric=True)


def _geometry_columns(content: ReportContent, series: TiltSeries, k: int) -> list[str]:
    found, sigma = series.geometry, None if content.diagnostics is None else content.diagnostics.sigma
    nothing = float("nan")
    return [
        str(k + 1),
        with_sigma(found.tilt[k], nothing if sigma is None else sigma.tilt[k], 2),
        with_sigma(found.shift[k, 0], nothing if sigma is None else sigma.shift[k, 0], 2),
        with_sigma(found.shift[k, 1], nothing if sigma is None else sigma.shift[k, 1], 2),
        with_sigma(found.rotation[k], nothing if sigma is None else sigma.rotation[k], 2),
        with_sigma(found.x_tilt[k], nothing if sigma is None else sigma.x_tilt[k], 2),
        with_sigma(found.magnification[k], nothing if sigma is None else sigma.magnification[k], 4),
    ]


def _add(head: list[str], rows: list[list[str]], name: str, values: list[str]) -> None:
    head.append(name)
    for row, value in zip(rows, values, strict=True):
        row.append(value)


def excluded_table(content: ReportContent) -> str:
    """The images that take no part, with the reason."""
    series = content.series
    if series is None:
        return ""
    if not series.excluded:
        return tag("p", "Every image takes part.")
    rows = [
        (str(k + 1), f"{number(series.geometry.tilt[k], 2)}°", reason) for k, reason in sorted(series.excluded.items())
    ]
    return table(("Image", "Tilt", "Reason"), rows, "Images that take no part")


def timing_table(seconds: dict[str, float], limit_share: dict[str, float]) -> str:
    """Time by stage with its share of the whole and, where known, how much of the hardware's limit was reached."""
    if not seconds:
        return ""
    total = sum(seconds.values())
    limited = any(stage in limit_share for stage in seconds)
    head = ["Stage", "Time", "Share of total"] + ["Achieved of the hardware's limit"] * limited
    body = ""
    for stage, value in seconds.items():
        share = value / total if total > 0 else 0.0
        cells = tag("th", escape(stage), scope="row") + tag("td", duration(value)) + tag("td", _bar(share))
        if limited:
            reached = limit_share.get(stage)
            cells += tag("td", "–" if reached is None else _bar(reached))
        body += tag("tr", cells)
    foot = tag("tr", tag("th", "Total", scope="row") + tag("td", duration(total)) + tag("td") * (len(head) - 2))
    top = tag("thead", tag("tr", "".join(tag("th", text, scope="col") for text in head)))
    inside = tag("caption", "Time by stage") + top + tag("tbody", body) + tag("tfoot", foot)
    return tag("div", tag("table", inside), class_="scroll", tabindex=0, role="region", aria_label="Time by stage")


def _bar(share: float) -> str:
    percent = 100 * share
    drawn = tag("span", "", style=f"width:{min(percent, 100):.1f}%")
    return tag("span", drawn, class_="bar", aria_hidden="true") + f" {percent:.0f} %"


def option_table(options: Sequence[ChangedOption] | None) -> str:
    """The options that differ from their defaults; nothing where they are not known."""
    if options is None:
        return ""
    if not options:
        return tag("p", "All options are at their defaults.")
    rows = [
        (option.name, _value(option.value, option.unit), _value(option.default, option.unit), option.help)
        for option in options
    ]
    return table(("Option", "Value", "Default", "Meaning"), rows, "Options that differ from their defaults")


def _value(value: object, unit: str) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    shown = ", ".join(map(str, cast("Sequence[object]", value))) if isinstance(value, tuple | list) else value
    return f"{'none' if shown == '' else shown} {unit}".rstrip()
