"""Import movies: EER, TIFF or MRC, one by one, by folder, or as an `.mdoc` names them.

What the file, the `.mdoc` and EPU's `.xml` say is gathered; nothing is copied. Movies of tilt series keep their series,
tilt and acquisition order. An exposure that nobody states is asked for, never guessed.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from annotated_types import Ge, Gt, Lt

from thon.base.errors import InputError, ThonError
from thon.base.options import Options, Unit
from thon.data.movie import Movie, TiltPlace
from thon.data.optics import Optics
from thon.formats.movie_file import MovieFile, open_movie
from thon.formats.movie_names import parse_movie_name
from thon.job.context import Context
from thon.job.spec import each
from thon.jobs.movie_sources import Found, Said, find_session, movie_stem, said_beside, said_by_name

ASKED = 20
"""So many movies are looked at before the exposure is asked for."""

IMPLAUSIBLE = 5.0
"""Two statements of a pixel size that differ by more than this factor are about different images."""


class ImportMoviesOptions(Options):
    pixel_size: Annotated[float | None, Gt(0), Unit("Å")] = None
    """Pixel size of the frames as stored (of the sensor's pixels for EER); that of the mdoc or the file unless
    given."""

    dose: Annotated[float | None, Gt(0), Unit("e/Å²")] = None
    """Exposure of each movie; that of the mdoc or the file unless given."""

    frame_dose: Annotated[float | None, Gt(0), Unit("e/Å²")] = None
    """Exposure of each frame as stored (of a raw frame for EER), in place of --dose."""

    unknown_dose: bool = False
    """Go on without an exposure where nobody says it; frames are then not dose-weighted."""

    prior_dose: Annotated[float, Ge(0), Unit("e/Å²")] = 0.0
    """Exposure of the specimen before the first movie of it."""

    voltage: Annotated[float | None, Gt(0), Unit("kV")] = None
    """Acceleration voltage; that of the mdoc or the file unless given, else 300."""

    cs: Annotated[float, Ge(0), Unit("mm")] = 2.7
    """Spherical aberration."""

    amplitude_contrast: Annotated[float, Ge(0), Lt(1), Unit("1")] = 0.1
    """Fraction of amplitude contrast."""

    tilt_axis: Annotated[float | None, Ge(-360), Unit("degrees")] = None
    """Tilt axis of tilt series, anticlockwise from +y; that of the mdoc unless given."""


def expand_movies(path: Path, options: ImportMoviesOptions) -> Found:
    """The movies that a file or folder stands for.

    Raises:
        InputError: If neither they nor the options say an exposure: it is asked for once, before anything is done.
    """
    found = find_session(path)
    if not (options.dose or options.frame_dose or options.unknown_dose):
        _ask_for_dose(found)
    return found


def _ask_for_dose(found: Found) -> None:
    """Ask, unless one of the first movies has an exposure, or what says it may yet come."""
    silent: list[Path] = []
    for ports in itertools.islice(found.values(), ASKED):
        movie, beside = ports["movie"][0], ports.get("metadata", ())
        says = _says_exposure(movie, *beside)
        if says:
            return
        silent += [movie] if says is not None else []
    if silent:
        raise InputError(
            "nobody says the exposure of the movies",
            path=silent[0],
            mend="give it with --dose (of a movie) or --frame-dose; --unknown-dose goes on without dose weights",
        )


def _says_exposure(movie: Path, metadata: Path | None = None) -> bool | None:
    """Whether a movie or what stands beside it says the exposure; None where nobody can know yet."""
    if movie.suffix.lower() == ".mdoc" or (metadata is None and parse_movie_name(movie).program == "EPU"):
        return None  # what EPU writes about a movie may come after it
    try:
        if metadata is not None and said_beside(metadata, movie.name).exposure:
            return True
        with open_movie(movie) as file:
            return file.exposure_hint is not None and bool(file.exposure_hint.dose)
    except ThonError:  # still being written, or broken: the import tells
        return None


@each(title="Import movies", stage="import", expand=expand_movies)
def import_movies(movie: Path, options: ImportMoviesOptions, context: Context, metadata: Path | None = None) -> Movie:
    if metadata is None and movie.suffix.lower() == ".mdoc":
        find_session(movie)  # raises what is wrong with it
    said = said_beside(metadata, movie.name) if metadata is not None else said_by_name(movie)
    with open_movie(movie) as file:
        pixel_size = _pixel_size(file, said, options, movie)
        promised = file.exposure_hint.frames if file.exposure_hint else None
        found = Movie(
            name=context.item,
            path=str(movie),
            frames=file.frames,
            image_shape=file.physical_shape,
            pixel_size=pixel_size,
            exposure=_exposure(file, said, options, pixel_size),
            prior_exposure=_prior(file, said, options, pixel_size),
            optics=Optics(options.voltage or said.voltage or 300.0, options.cs, options.amplitude_contrast),
            tilt=_tilt(said, options, context.item.removesuffix(movie_stem(movie.name))),
        )
    if found.tilt is None or found.tilt.order == 0:
        for note in said.notes:
            context.log(note)
    _tell(found, promised, context)
    return found


def _pixel_size(file: MovieFile, said: Said, options: ImportMoviesOptions, path: Path) -> float:
    if options.pixel_size is not None:
        return options.pixel_size
    # Programs that do not know the pixel size write 1 Å into MRC headers.
    stored = file.pixel_size if file.pixel_size != 1 else None
    found = said.pixel_size or stored
    if found is None:
        raise InputError("the pixel size is not known", path=path, mend="give it with --pixel-size, in Å")
    if said.pixel_size and stored and not 1 / IMPLAUSIBLE < said.pixel_size / stored < IMPLAUSIBLE:
        raise InputError(
            "the pixel sizes contradict each other",
            path=path,
            got=f"{stored:g} Å in the file, {said.pixel_size:g} Å beside it",
            mend="give the right one with --pixel-size, in Å",
        )
    return found


def _exposure(file: MovieFile, said: Said, options: ImportMoviesOptions, pixel_size: float) -> float:
    """By the options, else the mdoc or EPU, else what an EER says that each pixel of its camera received."""
    if options.frame_dose is not None:
        return options.frame_dose * file.frames
    hint = file.exposure_hint
    counted = hint.dose / pixel_size**2 if hint is not None and hint.dose else float("nan")
    return options.dose or said.exposure or counted


def _prior(file: MovieFile, said: Said, options: ImportMoviesOptions, pixel_size: float) -> float:
    """Exposure before the movie: as the mdoc counts it, unless the user's doses replace the mdoc's."""
    tilt = said.tilt
    if tilt is None:
        return options.prior_dose
    if options.dose is not None or options.frame_dose is not None:
        return options.prior_dose + tilt.order * _exposure(file, said, options, pixel_size)
    return options.prior_dose + (said.prior_exposure if said.prior_exposure is not None else float("nan"))


def _tilt(said: Said, options: ImportMoviesOptions, prefix: str) -> TiltPlace | None:
    """The place in a tilt series, the series named with what is in front of the movie's own name in the item's."""
    if said.tilt is None:
        return None
    axis = said.tilt.axis if options.tilt_axis is None else options.tilt_axis
    return replace(said.tilt, series=f"{prefix}{said.tilt.series}", axis=axis)


def _tell(found: Movie, promised: int | None, context: Context) -> None:
    rows, columns = found.image_shape
    context.log(f"{found.frames} frames of {columns} × {rows} px at {found.pixel_size:g} Å, {found.exposure:.3g} e/Å².")
    if found.exposure != found.exposure:
        context.warn("Nobody says the exposure: frames will not be dose-weighted. Give it with --dose or --frame-dose.")
    if promised is not None and promised != found.frames:
        context.warn(f"The camera says it took {promised} frames, the file holds {found.frames}.")
