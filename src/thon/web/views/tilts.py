"""Tilt series: their images as a film, aligned or as they were taken, and how the alignment and the CTF came out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Le
from fastapi import APIRouter, Query, Response
from jaxtyping import Float
from PIL import Image

from thon.data.alignment import AlignedTiltSeries, AlignmentDiagnostics
from thon.data.tilt_series import TiltSeries
from thon.formats.report.measures import local_rms, residual_length, root_mean_square
from thon.web.faults import AbsentError
from thon.web.views.cache import Cache
from thon.web.views.open_files import opened, stamp_of
from thon.web.views.pictures import PICTURE, AskedContrast, Tone, mean_blocks, picture, to_eight_bits
from thon.web.views.records import ITEM, FoundItem, Item, Source, plain, present
from thon.web.views.table_columns import tilt_columns

router = APIRouter()

Size = Annotated[int, Query(description="Longest side, px"), Ge(64), Le(1024)]

_small: Cache[np.ndarray] = Cache(48 << 20, lambda image: image.nbytes)


@router.get(f"{ITEM}/tilts")
def tilts(found: FoundItem, source: Source = "") -> dict[str, Any]:
    """What is known of each tilt, what was excluded and why, and the numbers of the whole series."""
    series = series_of(found, source)
    diagnostics = series.diagnostics if isinstance(series, AlignedTiltSeries) else None
    columns = _columns(series) | ({} if diagnostics is None else _quality(diagnostics))
    return plain(
        {
            "name": series.name,
            "columns": {name: values for name, values in columns.items() if np.isfinite(values).any()},
            "excluded": series.excluded,
            "aligned": bool(np.abs(series.geometry.shift).any()),
            "facts": _facts(series, diagnostics),
            "warnings": [] if diagnostics is None else list(diagnostics.warnings),
            "axis_search": None
            if diagnostics is None or not len(diagnostics.axis_angle)
            else {"angle": diagnostics.axis_angle, "score": diagnostics.axis_score},
            "thickness": None
            if diagnostics is None or diagnostics.profile is None
            else {name: getattr(diagnostics.profile, name) for name in ("z", "signal", "lower", "upper")},
            "points": None if diagnostics is None or diagnostics.residual is None else _residuals(diagnostics),
        },
        digits=6,
    )


@router.get(f"{ITEM}/tilts/{{index}}.{{kind}}", response_class=Response, responses=PICTURE)
def tilt_image(
    found: FoundItem,
    index: Annotated[int, Ge(0)],
    kind: str,
    contrast: AskedContrast,
    source: Source = "",
    aligned: bool = True,
    size: Size = 512,
) -> Response:
    """One image of a series, small; aligned, the tilt axis is upright and the shift undone."""
    series = series_of(found, source)
    if index >= len(series):
        raise AbsentError("there is no such tilt", got=index, expected=f"0 to {len(series) - 1}")
    image, factor = _shrunk(series, index, size)
    if aligned:
        image = straightened(image, series, index, series.pixel_size * factor)
    return picture(to_eight_bits(image[::-1], Tone.of(image).limits(contrast)), kind)


def series_of(found: Item, source: str) -> TiltSeries:
    """The tilt series that a source names.

    Raises:
        AbsentError: It is none.
    """
    value = found.part(source)
    if not isinstance(value, TiltSeries):
        raise AbsentError(f"{source or 'this record'} is no tilt series", got=type(value).__name__)
    return value


def straightened(
    image: Float[np.ndarray, "rows columns"], series: TiltSeries, index: int, pixel_size: float
) -> Float[np.ndarray, "rows columns"]:
    """An image with its tilt axis upright and the specimen's centre in the middle; what lies outside is its median.

    Args:
        image: Of the series, rows from the bottom up, whatever its pixel size.
        series: The series.
        index: Of the image.
        pixel_size: Of `image`, Å.
    """
    geometry = series.geometry
    phi, scale = np.deg2rad(geometry.rotation[index]), geometry.magnification[index]
    rows, columns = image.shape
    shift = geometry.shift[index] / pixel_size
    sine, cosine = scale * np.sin(phi), scale * np.cos(phi)
    # Where the point (v, u) of the straight image lies in the recorded one, as `thon.data.geometry` has it. The half
    # pixels are Pillow's, whose coordinates count from the corner of a pixel.
    v0, u0 = rows // 2 + 0.5, columns // 2 + 0.5
    x0 = columns // 2 + 0.5 + shift[1] - cosine * u0 + sine * v0
    y0 = rows // 2 + 0.5 + shift[0] - sine * u0 - cosine * v0
    affine = (cosine, -sine, x0, sine, cosine, y0)
    turned = Image.fromarray(image).transform(
        (columns, rows), Image.Transform.AFFINE, affine, Image.Resampling.BILINEAR, fillcolor=float(np.median(image))
    )
    return np.asarray(turned)


def _shrunk(series: TiltSeries, index: int, size: int) -> tuple[Float[np.ndarray, "rows columns"], int]:
    reference = series.images[index]
    path = present(Path(reference.path))
    file = opened(path)
    if reference.section >= len(file):
        raise AbsentError("the stack has no such image", path=path, got=reference.section)
    factor = max(1, round(max(file.shape[1:]) / size))
    key = (stamp_of(path), reference.section, factor)
    return _small.get(key, lambda: mean_blocks(np.nan_to_num(file[reference.section]), factor)), factor


def _columns(series: TiltSeries) -> dict[str, Float[np.ndarray, "tilts"]]:
    """The numbers of a table of the tilts, and those that only a plot wants."""
    table = tilt_columns(series)
    columns = {name: values.astype(float) for name, values in table.items() if name not in ("number", "excluded")}
    if series.geometry.local is not None:
        columns["local"] = local_rms(series)
    if series.ctf is not None:
        columns["defocus_sigma"] = series.ctf.sigma[:, 0]
    return columns


def _quality(found: AlignmentDiagnostics) -> dict[str, Float[np.ndarray, "tilts"]]:
    sigma = found.sigma
    columns = {
        "correlation": found.correlation,
        "shift_sigma": np.hypot(sigma.shift[:, 0], sigma.shift[:, 1]),
        "axis_sigma": sigma.rotation,
        "tilt_sigma": sigma.tilt,
    }
    if found.residual is not None:
        columns["residual"] = root_mean_square(residual_length(found.residual), 0)
    return columns


def _residuals(found: AlignmentDiagnostics) -> dict[str, Any]:
    """Root mean square residual of each feature over the tilts, with its place (x, y) in the untilted image, Å."""
    points, residual = found.points, found.residual
    if points is None or residual is None:
        return {}
    return {
        "x": points[:, 2],
        "y": points[:, 1],
        "z": points[:, 0],
        "rms": root_mean_square(residual_length(residual), 1),
    }


def _facts(series: TiltSeries, found: AlignmentDiagnostics | None) -> list[tuple[str, float, str]]:
    """Name, value and unit of what people ask about a series."""
    known: list[tuple[str, float, str]] = [
        ("Images", float(len(series)), ""),
        ("Excluded", float(len(series.excluded)), ""),
        ("Pixel size", series.pixel_size, "Å"),
        ("Tilt axis", float(np.median(series.geometry.rotation)), "°"),
    ]
    if found is not None:
        residual = np.array([]) if found.residual is None else residual_length(found.residual).ravel()
        residual = residual[np.isfinite(residual)]
        known += [
            ("Confidence", found.confidence, ""),
            ("Residual, RMS", float(np.sqrt(np.mean(residual**2))) if len(residual) else float("nan"), "Å"),
            ("Thickness", found.profile.thickness if found.profile else float("nan"), "Å"),
        ]
    if series.hand is not None:
        known.append(("Hand", float(series.hand), ""))
    return [one for one in known if np.isfinite(one[1])]
