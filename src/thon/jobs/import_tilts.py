"""Import tilt series: stacks of images with their angles, or `.mdoc` files.

Angles come from --angles, else from the `.mdoc`, else from the stack's extended header, else from --alignment. Images
are put in the order of their tilt angles; those that cannot take part are listed with the reason, nothing is copied.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Gt
from jaxtyping import Float, Int

from thon.base.errors import InputError
from thon.base.options import Options, Unit
from thon.data.geometry import TiltGeometry
from thon.data.optics import Optics
from thon.data.tilt_series import ImageRef, TiltSeries
from thon.formats.alignments import read_alignment
from thon.formats.image_stack import ImageStack
from thon.formats.images import open_images
from thon.formats.tlt import describe_angles, read_angles
from thon.job.context import Context
from thon.job.spec import each
from thon.jobs.tilt_sources import TiltSource, read_source

FEWEST = 3
"""Fewer images than this are no tilt series."""


class ImportTiltsOptions(Options):
    angles: Path | None = None
    """Tilt angles, a line for each image of the stack (.tlt, .rawtlt)."""

    pixel_size: Annotated[float | None, Gt(0), Unit("Å")] = None
    """Pixel size of the images; that of the mdoc or the header unless given."""

    tilt_axis: Annotated[float | None, Ge(-360), Unit("degrees")] = None
    """Tilt axis, anticlockwise from +y; that of the mdoc unless given. Where nobody says, the alignment searches it."""

    dose: Annotated[float | None, Ge(0), Unit("e/Å²")] = None
    """Exposure of each image; that of the mdoc or the header unless given."""

    order: Literal["recorded", "stack", "ascending", "descending", "symmetric"] = "recorded"
    """How the images were taken: as recorded in the mdoc (else as in the stack), as in the stack, by angle, or
    symmetric: from zero outwards, the positive angle first."""

    voltage: Annotated[float | None, Gt(0), Unit("kV")] = None
    """Acceleration voltage; that of the mdoc or the header unless given."""

    exclude: tuple[Annotated[int, Ge(0)], ...] = ()
    """Images to leave out, counted from 0 in the stack, such as 0,5,38-40."""

    alignment: Path | None = None
    """An alignment to start from: .xf, .aln, Warp's .xml, RELION's .star, or IMOD's folder."""

    movies: Path | None = None
    """Folder with the images or movies that an mdoc names, somewhere below; the mdoc's own unless given."""

    name: str | None = None
    """Name of the series; that of the file unless given."""


@each(title="Import tilt series", stage="import")
def import_tilts(source: Path, options: ImportTiltsOptions, context: Context) -> TiltSeries:
    found = read_source(source, options.movies)
    for file in dict.fromkeys(found.files):
        context.uses(file)
    count = len(found.images)
    if count < FEWEST:
        raise InputError("too few images for a tilt series", path=source, got=count, expected=f"{FEWEST} or more")
    for note in found.notes:
        context.log(note)
    pixel_size = _pixel_size(found, options, source)
    geometry, excluded = _geometry(found, options, pixel_size, source, context)
    order = _order(found, options, geometry.tilt)
    exposure = np.full(count, options.dose) if options.dose is not None else found.exposure
    exposure = np.full(count, np.nan) if exposure is None else exposure
    excluded |= _excluded_by_hand(options, count)
    excluded |= _unusable(found, set(excluded), context)
    by_tilt = np.lexsort((order, geometry.tilt))
    series = TiltSeries(
        name=options.name or context.item,
        images=tuple(found.images[k] for k in by_tilt),
        image_shape=found.image_shape,
        pixel_size=pixel_size,
        geometry=geometry.select(by_tilt),
        order=order[by_tilt],
        exposure=exposure[by_tilt],
        prior_exposure=_prior(exposure, order)[by_tilt],
        movies=tuple(found.movies[k] for k in by_tilt) if found.movies else (),
        optics=Optics(voltage=options.voltage or found.voltage),
        tilt_axis=_stated_axis(found, options, geometry),
        excluded={new: excluded[int(old)] for new, old in enumerate(by_tilt) if int(old) in excluded},
    )
    _tell(series, geometry.tilt, source, context)
    return series


def _pixel_size(found: TiltSource, options: ImportTiltsOptions, source: Path) -> float:
    if options.pixel_size is not None:
        return options.pixel_size
    if found.pixel_size is None or found.pixel_size <= 0 or found.pixel_size == 1:
        raise InputError(
            "the pixel size is not known",
            path=source,
            got="none" if found.pixel_size is None else f"{found.pixel_size:g} Å, which programs write for unknown",
            mend="give it with --pixel-size, in Å",
        )
    return found.pixel_size


def _geometry(
    found: TiltSource, options: ImportTiltsOptions, pixel_size: float, source: Path, context: Context
) -> tuple[TiltGeometry, dict[int, str]]:
    """Geometry of each image in the stack's order, and what an alignment leaves out."""
    count = len(found.images)
    tilt = found.tilt if options.angles is None else read_angles(options.angles, count)
    if options.alignment is not None:
        if options.tilt_axis is not None:
            raise InputError("--tilt-axis and --alignment contradict each other", mend="give one of them")
        aligned = read_alignment(options.alignment, found.image_shape, pixel_size, tilt=tilt, count=count)
        for note in aligned.notes:
            context.log(note)
        return aligned.geometry, {k: f"{options.alignment.name}: {why}" for k, why in aligned.excluded.items()}
    if tilt is None:
        raise InputError(
            "the tilt angles are not known",
            path=source,
            got="none in the header, and no .mdoc beside it",
            mend="give them with --angles FILE.tlt, or give the .mdoc",
        )
    rotation = options.tilt_axis if options.tilt_axis is not None else found.rotation
    if rotation is None:
        context.log("Nobody says where the tilt axis is: the alignment will search it. --tilt-axis gives it.")
    return TiltGeometry.nominal(tilt, rotation or 0.0), {}


def _stated_axis(found: TiltSource, options: ImportTiltsOptions, geometry: TiltGeometry) -> float | None:
    """Tilt axis as somebody stated it, None where nobody did."""
    if options.alignment is not None:
        return float(geometry.rotation.mean())
    return options.tilt_axis if options.tilt_axis is not None else found.rotation


def _order(
    found: TiltSource, options: ImportTiltsOptions, tilt: Float[np.ndarray, "tilts"]
) -> Int[np.ndarray, "tilts"]:
    """Acquisition order of each image."""
    if options.order == "recorded" and found.order is not None:
        return found.order
    if options.order in ("recorded", "stack"):
        return np.arange(len(tilt))
    keys = {"ascending": (tilt,), "descending": (-tilt,), "symmetric": (-tilt, np.abs(np.round(tilt, 1)))}
    order = np.empty(len(tilt), np.int64)
    order[np.lexsort(keys[options.order])] = np.arange(len(tilt))
    return order


def _prior(exposure: Float[np.ndarray, "tilts"], order: Int[np.ndarray, "tilts"]) -> Float[np.ndarray, "tilts"]:
    """Exposure before each image."""
    in_time = np.argsort(order, kind="stable")
    prior = np.empty(len(order))
    prior[in_time] = np.cumsum(exposure[in_time]) - exposure[in_time]
    return prior


def _excluded_by_hand(options: ImportTiltsOptions, count: int) -> dict[int, str]:
    beyond = [k for k in options.exclude if k >= count]
    if beyond:
        raise InputError("--exclude names images that do not exist", got=beyond, expected=f"0 to {count - 1}")
    return dict.fromkeys(options.exclude, "by hand")


def _unusable(found: TiltSource, known: set[int], context: Context) -> dict[int, str]:
    """Reasons for the images that hold nothing: NaN or infinite pixels, or one value throughout."""
    reasons: dict[int, str] = {}
    opened: tuple[str, ImageStack] | None = None
    for k, image in enumerate(found.images):
        opened = _open(image, opened)
        why = _nothing_in(opened[1].image(image.section))
        if why and k not in known:
            reasons[k] = why
            context.warn(f"Image {k} ({Path(image.path).name}, section {image.section}) is left out: {why}.")
        context.progress(k + 1, len(found.images), "looking at the images")
    if opened is not None:
        opened[1].close()
    kept = len(found.images) - len(reasons) - len(known)
    if kept < FEWEST:
        raise InputError(
            "too few usable images",
            path=found.images[0].path,
            got=f"{kept} of {len(found.images)}; {'; '.join(sorted(set(reasons.values()))) or 'the others excluded'}",
            expected=f"{FEWEST} or more",
        )
    return reasons


def _open(image: ImageRef, opened: tuple[str, ImageStack] | None) -> tuple[str, ImageStack]:
    """The file of an image, open already where the image before was in it."""
    if opened is not None and opened[0] == image.path:
        return opened
    if opened is not None:
        opened[1].close()
    return image.path, open_images(image.path)


def _nothing_in(image: np.ndarray) -> str:
    if image.dtype.kind == "f":
        bad = image.size - int(np.isfinite(image).sum())
        if bad:
            return f"{bad} pixels are NaN or infinite"
    return f"constant, {image.flat[0]:g} throughout" if image.min() == image.max() else ""


def _tell(series: TiltSeries, in_stack: Float[np.ndarray, "tilts"], source: Path, context: Context) -> None:
    """Say what the series is, and what is odd about it."""
    tilt, rotation = series.geometry.tilt, series.geometry.rotation
    rows, columns = series.image_shape
    context.log(
        f"{len(series)} images of {columns} × {rows} px at {series.pixel_size:g} Å, {len(series.excluded)} left out."
    )
    context.log(f"Tilt {tilt[0]:g}° to {tilt[-1]:g}°, axis {np.median(rotation):g}° from +y.")
    if np.isfinite(series.exposure).all():
        context.log(f"{np.median(series.exposure):.3g} e/Å² per image, {series.exposure.sum():.4g} e/Å² in all.")
    if (np.diff(in_stack) < 0).any():
        context.log(
            f"{source.name} is not in the order of its tilt angles; the series is, and keeps each image's index."
        )
    for note in describe_angles(tilt):
        context.warn(note)
