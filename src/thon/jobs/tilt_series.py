"""Assemble tilt series from the micrographs of their tilts, as an `.mdoc` or the names of the movies say.

Images are put in the order of their tilts and stay where they are; --stack also writes one file of them. Of two images
at one tilt the later counts. What the mdoc names and is not there is said.
"""

from __future__ import annotations

import glob
import math
from pathlib import Path
from typing import Annotated

import numpy as np
from annotated_types import Ge, Gt

from thon.base.errors import InputError, ThonError
from thon.base.options import Options, Unit
from thon.data.ctf import TiltCtf
from thon.data.geometry import TiltGeometry
from thon.data.micrograph import CtfMicrograph, Micrograph
from thon.data.movie import TiltPlace
from thon.data.tilt_series import ImageRef, TiltSeries
from thon.formats.mdoc_series import MOVIE_SUFFIXES, read_mdoc_series
from thon.formats.movie_names import parse_movie_name
from thon.formats.mrc import MrcWriter
from thon.formats.tilt_images import TiltImages
from thon.formats.tlt import describe_angles, write_angles
from thon.job.context import Context
from thon.job.plan import Plan, Resources
from thon.job.spec import each

CTF_COLUMNS = ("defocus_u", "defocus_v", "angle", "phase_shift")


class TiltSeriesOptions(Options):
    fewest: Annotated[int, Ge(3), Unit("1")] = 3
    """Fewer images than this are no tilt series."""

    same_tilt: Annotated[float, Gt(0), Unit("degrees")] = 0.2
    """Images closer than this are taken as one tilt that was recorded again."""

    exclude: tuple[Annotated[int, Ge(0)], ...] = ()
    """Images to leave out, counted from 0 in the order of their acquisition, such as 0,5,38-40."""

    stack: bool = False
    """Also write the images as one stack with its angles, NAME.st and NAME.tlt."""


def plan_tilt_series(micrographs: tuple[Micrograph, ...], options: TiltSeriesOptions, resources: Resources) -> Plan:
    """What assembling takes: nothing but the stack, if it is asked for."""
    rows, columns = micrographs[0].image_shape
    tilts = sorted(_place(one).tilt for one in micrographs)
    return Plan(
        understood=(f"{len(micrographs)} images of {columns} × {rows} px at {micrographs[0].pixel_size:g} Å",),
        geometry=(f"tilts {tilts[0]:.1f}° to {tilts[-1]:.1f}°",),
        memory=200_000_000 + 8 * rows * columns,
        disk=100_000 + (4 * rows * columns * len(micrographs) if options.stack else 0),
        seconds=1.0,
    )


@each(title="Assemble tilt series", stage="tomography", group="series", plan=plan_tilt_series)
def tilt_series(micrographs: tuple[Micrograph, ...], options: TiltSeriesOptions, context: Context) -> TiltSeries:
    ordered = sorted(micrographs, key=lambda one: (_place(one).order, one.name))
    _check_alike(ordered)
    latest = _latest(ordered, options, context)
    if len(latest) < options.fewest:
        raise InputError(
            f"too few images for the tilt series '{context.item}'",
            got=len(latest),
            expected=f"{options.fewest} or more",
        )
    _say_missing(ordered, context)
    by_tilt = sorted(latest, key=lambda one: _place(one).tilt)
    series = _series(context.item, by_tilt, _excluded(ordered, by_tilt, options))
    for note in describe_angles(series.geometry.tilt):
        context.warn(note)
    context.log(
        f"{len(series)} images, {series.geometry.tilt[0]:g}° to {series.geometry.tilt[-1]:g}°, "
        f"{np.nansum(series.exposure):.4g} e/Å² in all."
    )
    if options.stack:
        _write_stack(series, context)
    return series


def _place(micrograph: Micrograph) -> TiltPlace:
    if micrograph.tilt is None:
        raise InputError("belongs to no tilt series", path=micrograph.path)
    return micrograph.tilt


def _check_alike(micrographs: list[Micrograph]) -> None:
    """One size and one pixel size, within what rounding does to it."""
    first = micrographs[0]
    for other in micrographs[1:]:
        if other.image_shape != first.image_shape or not math.isclose(other.pixel_size, first.pixel_size, rel_tol=1e-3):
            raise InputError(
                "images of one tilt series differ in size",
                path=other.path,
                got=f"{other.image_shape} at {other.pixel_size:g} Å",
                expected=f"{first.image_shape} at {first.pixel_size:g} Å, as {first.name}",
            )


def _latest(ordered: list[Micrograph], options: TiltSeriesOptions, context: Context) -> list[Micrograph]:
    """Of images at one tilt, the one that was taken last."""
    kept: list[Micrograph] = []
    for one in ordered:
        again = [k for k in kept if abs(_place(k).tilt - _place(one).tilt) < options.same_tilt]
        for earlier in again:
            kept.remove(earlier)
            context.warn(f"{_place(one).tilt:g}° was recorded again: {one.name} counts, {earlier.name} does not.")
        kept.append(one)
    return kept


def _say_missing(ordered: list[Micrograph], context: Context) -> None:
    """Compare with the mdoc, as it is by now, in both directions."""
    source = _place(ordered[-1]).source
    if source is None:
        return
    try:
        named = read_mdoc_series(source)
    except ThonError as error:
        context.warn(f"The mdoc can no longer be read, so nobody knows whether images are missing: {error.what}.")
        return
    present = {Path(one.movie.path).stem if one.movie else one.name for one in ordered}
    missing = [name for name in named.movies if Path(name).stem not in present]
    if missing:
        context.warn(f"{len(missing)} of {len(named)} images that the mdoc names are not here: {_few(missing)}.")
    unnamed = _unnamed(ordered, {Path(name).stem for name in named.movies})
    if unnamed:
        context.warn(f"{len(unnamed)} movies of the series are left out, for its mdoc lacks them: {_few(unnamed)}.")


def _few(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _unnamed(ordered: list[Micrograph], named: set[str]) -> list[str]:
    """Movies that by their names are tilts of the series, and that the mdoc does not name."""
    movies = [Path(one.movie.path) for one in ordered if one.movie]
    series = {(movie.parent, parse_movie_name(movie).series) for movie in movies}
    beside = [file for folder, name in series if name for file in folder.glob(f"{glob.escape(name)}*")]
    return sorted(
        file.name
        for file in beside
        if file.name.lower().endswith(MOVIE_SUFFIXES)
        and (file.parent, parse_movie_name(file).series) in series
        and file.stem not in named
    )


def _excluded(ordered: list[Micrograph], by_tilt: list[Micrograph], options: TiltSeriesOptions) -> dict[int, str]:
    beyond = [k for k in options.exclude if k >= len(ordered)]
    if beyond:
        raise InputError("--exclude names images that do not exist", got=beyond, expected=f"0 to {len(ordered) - 1}")
    chosen = {ordered[k].name for k in options.exclude}
    return {k: "by hand" for k, one in enumerate(by_tilt) if one.name in chosen}


def _series(name: str, images: list[Micrograph], excluded: dict[int, str]) -> TiltSeries:
    places = [_place(one) for one in images]
    order = np.argsort(np.argsort([place.order for place in places], kind="stable"))
    exposure = np.array([one.exposure for one in images])
    axis = next((place.axis for place in places if place.axis is not None), None)
    halves = [(ImageRef(one.even), ImageRef(one.odd)) for one in images if one.even and one.odd]
    return TiltSeries(
        name=name,
        images=tuple(ImageRef(one.path) for one in images),
        image_shape=images[0].image_shape,
        pixel_size=images[0].pixel_size,
        geometry=TiltGeometry.nominal(np.array([place.tilt for place in places]), axis or 0.0),
        order=order,
        exposure=exposure,
        prior_exposure=_prior(images, exposure, order),
        movies=tuple(one.movie.path for one in images if one.movie) if all(one.movie for one in images) else (),
        optics=images[0].optics,
        excluded=excluded,
        tilt_axis=axis,
        ctf=_ctf(images),
        halves=tuple(halves) if len(halves) == len(images) else (),
    )


def _prior(images: list[Micrograph], exposure: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Exposure before each image, as the import knew it, else summed in the order of acquisition."""
    prior = np.array([one.prior_exposure for one in images])
    if np.isfinite(prior).all():
        return prior
    in_time = np.argsort(order)
    summed = np.empty(len(images))
    summed[in_time] = np.cumsum(exposure[in_time]) - exposure[in_time]
    return summed


def _ctf(images: list[Micrograph]) -> TiltCtf | None:
    """The CTF of each image as it was fitted alone; None where one has none."""
    fits = [one.fit if isinstance(one, CtfMicrograph) else None for one in images]
    found = [fit for fit in fits if fit is not None]
    if len(found) < len(images):
        return None
    values = {name: np.array([getattr(fit.ctf, name) for fit in found]) for name in CTF_COLUMNS}
    return TiltCtf(
        defocus_u=values["defocus_u"],
        defocus_v=values["defocus_v"],
        angle=values["angle"],
        phase_shift=values["phase_shift"],
        sigma=np.array([[getattr(fit.sigma, name) for name in CTF_COLUMNS] for fit in found]),
        score=np.array([fit.score for fit in found]),
        resolution=np.array([fit.resolution for fit in found]),
    )


def _write_stack(series: TiltSeries, context: Context) -> None:
    path = context.output(f"{series.name}.st", title="Stack")
    shape = (len(series), *series.image_shape)
    with TiltImages(series) as images, MrcWriter(path, shape, series.pixel_size, kind="images") as writer:
        for k in range(len(series)):
            writer[k : k + 1] = images[k][None]
            context.progress(k + 1, len(series), "writing the stack")
    write_angles(context.output(f"{series.name}.tlt"), series.geometry.tilt)
