"""Which movies a file or a folder stands for, and what is said about each besides its own bytes."""

from __future__ import annotations

import glob
import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from thon.base.errors import InputError, ThonError
from thon.data.movie import TiltPlace
from thon.formats.epu_xml import read_epu_xml
from thon.formats.mdoc_series import MOVIE_SUFFIXES, MdocSeries, find_movies, read_mdoc_series
from thon.formats.movie_names import parse_movie_name
from thon.job.places import Folders, free_name

Found = dict[str, dict[str, tuple[Path, ...]]]
"""For each item, the files of each port."""


@dataclass(frozen=True)
class Said:
    """What an `.mdoc` or a file name says about a movie; None where it says nothing.

    Args:
        tilt: Place in a tilt series.
        exposure: Of the whole movie, e/Å².
        prior_exposure: Before it, e/Å².
        pixel_size: Å.
        voltage: kV.
        notes: How that was understood.
    """

    tilt: TiltPlace | None = None
    exposure: float | None = None
    prior_exposure: float | None = None
    pixel_size: float | None = None
    voltage: float | None = None
    notes: tuple[str, ...] = ()


def movie_stem(name: str) -> str:
    """A movie's name without the ending of its format."""
    lower = name.lower()
    suffix = max((s for s in MOVIE_SUFFIXES if lower.endswith(s)), key=len, default="")
    return name[: len(name) - len(suffix)]


def find_session(path: Path) -> Found:
    """The movies that a path stands for: itself, those that an `.mdoc` names, or all below a folder.

    A movie that an mdoc names belongs to that tilt series; the names of folders inside the folder become part of the
    series' and the items' names. Where there are mdocs, a movie whose name is that of a tilt waits until one of them
    names it. An mdoc that cannot be read stands for itself, so that its fault is told.

    Raises:
        InputError: If the movies that an mdoc names are missing.
    """
    if path.is_dir():
        return _in_folder(path)
    if path.suffix.lower() == ".mdoc":
        series = read_mdoc_series(path)
        files = find_movies(series.movies, path.parent)
        return {movie_stem(name): _ports(Path(files[name]), path) for name in series.movies}
    return {movie_stem(path.name): _ports(path, None)}


def said_beside(path: Path, movie: str) -> Said:
    """What a file beside a movie says of it: EPU's `.xml`, an `.mdoc` of the movie alone or one of its tilt series.

    Raises:
        InputError: If it is about other movies.
        FormatError: If it cannot be understood.
    """
    if path.suffix.lower() == ".xml":
        found = read_epu_xml(path)
        return Said(exposure=found.exposure, pixel_size=found.pixel_size, voltage=found.voltage)
    return _said_by_mdoc(path, movie)


def _said_by_mdoc(path: Path, movie: str) -> Said:
    """What an mdoc says about one movie.

    Raises:
        InputError: If it does not name the movie.
        FormatError: If it cannot be understood.
    """
    series = _read(path, path.stat().st_mtime_ns)
    if path.name == f"{movie}.mdoc":
        exposure = float(series.exposure[0])
        return Said(None, _known(exposure), None, series.pixel_size, series.voltage, series.notes)
    stems = [movie_stem(name) for name in series.movies]
    if movie_stem(movie) not in stems:
        raise InputError("the mdoc does not name this movie", path=path, got=movie)
    # Of several images that name one movie, the one taken last counts.
    k = max((k for k, stem in enumerate(stems) if stem == movie_stem(movie)), key=lambda k: series.order[k])
    tilt = TiltPlace(
        series=_series_name(path),
        tilt=float(series.tilt[k]),
        order=int(series.order[k]),
        axis=series.rotation,
        source=str(path),
    )
    exposure, prior = _known(float(series.exposure[k])), _known(float(series.prior_exposure[k]))
    return Said(tilt, exposure, prior, series.pixel_size, series.voltage, series.notes)


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def said_by_name(movie: Path) -> Said:
    """What the file's name says: SerialEM's and Tomography's names have series, order and tilt."""
    name = parse_movie_name(movie)
    if name.tilt is None or name.series is None:
        return Said()
    # Programs count from 0 or from 1: the series' first movie tells, and it is there before the others.
    others = (parse_movie_name(file) for file in movie.parent.glob(f"{glob.escape(name.series)}*"))
    numbers = [one.order for one in others if one.series == name.series and one.order is not None]
    order = 0 if name.order is None else name.order - min(numbers, default=name.order)
    return Said(TiltPlace(series=name.series, tilt=name.tilt, order=order))


def _in_folder(folder: Path) -> Found:
    movies, mdocs, beside = _walk(folder)
    tilts: dict[Path, Path | None] = {}
    stacks: set[Path] = set()
    broken: list[Path] = []
    for mdoc in mdocs:
        try:
            series = _read(mdoc, mdoc.stat().st_mtime_ns)
        except (ThonError, OSError):
            broken.append(mdoc)
            continue
        for name in series.movies:
            found = _nearest(movies.get(movie_stem(name), []), mdoc.parent)
            if found is not None:
                tilts[found] = mdoc
        if len(series) > 1 or any(series.movies):
            stacks |= {mdoc.with_suffix(""), mdoc.parent / series.stack}
    others = [file for files in movies.values() for file in files if file not in tilts and file not in stacks]
    single = [file for file in others if not _is_tilt(file.name)]
    if not mdocs:
        tilts = {file: None for file in others if _is_tilt(file.name)}
    there = beside.__contains__
    named = {
        f"{_inside(mdoc or movie, folder)}{movie_stem(movie.name)}": _ports(movie, mdoc, there)
        for movie, mdoc in tilts.items()
    }
    return _named([*single, *broken], named, there)


@lru_cache(maxsize=1 << 16)
def _is_tilt(movie: str) -> bool:
    name = parse_movie_name(movie)
    return name.tilt is not None and name.series is not None


def _inside(file: Path, folder: Path) -> str:
    """What tells the series of a folder's folders apart: their names, for the names of series repeat."""
    return "".join(f"{part}_" for part in file.parent.relative_to(folder).parts)


def _walk(folder: Path) -> tuple[dict[str, list[Path]], list[Path], set[str]]:
    """Movies by the stem of their names, mdocs of tilt series, and what may say something of one movie, below.

    The names alone tell, for a folder has many files and is asked about again and again.
    """
    movies: dict[str, list[Path]] = {}
    mdocs: list[Path] = []
    beside: set[str] = set()
    inside = Folders(folder).inside
    for at, folders, files in os.walk(folder, followlinks=True):
        folders[:] = inside(at, [name for name in folders if not name.startswith(".")])
        for name in sorted(files):
            lower = name.lower()
            if name.startswith("."):
                continue
            if lower.endswith(MOVIE_SUFFIXES) and not is_reference(name):
                movies.setdefault(movie_stem(name), []).append(Path(at, name))
            elif lower.endswith((".mdoc", ".xml")):
                beside.add(f"{at}{os.sep}{name}")
            if lower.endswith(".mdoc") and not lower.endswith((".eer.mdoc", ".tif.mdoc", ".tiff.mdoc")):
                mdocs.append(Path(at, name))
    return movies, mdocs, beside


def is_reference(name: str) -> bool:
    """Whether a file is named as a gain, dark or defect image rather than a movie."""
    words = set(name.rsplit(".", 1)[0].lower().replace("-", "_").split("_"))
    return bool(words & {"gain", "gainref", "gainreference", "countref", "superref", "dark", "defects", "defect"})


def _nearest(files: list[Path], folder: Path) -> Path | None:
    """Of files of one name, the one whose path shares most with a folder."""
    if len(files) < 2:
        return files[0] if files else None
    return max(files, key=lambda file: len(os.path.commonpath([file, folder])))


def _named(files: list[Path], others: Found, is_there: Callable[[str], bool]) -> Found:
    """Items by the file's name, beside others; of several files of one name the oldest has it."""
    found = dict(others)
    by_name: dict[str, list[Path]] = {}
    for file in files:
        by_name.setdefault(movie_stem(file.name), []).append(file)
    for name, alike in by_name.items():
        for file in sorted(alike, key=_age) if len(alike) > 1 else alike:
            found[free_name(name, file.parent.name, found)] = _ports(file, None, is_there)
    return found


def _age(movie: Path) -> tuple[int, Path]:
    try:
        return movie.stat().st_mtime_ns, movie
    except OSError:  # gone meanwhile: whoever opens it will say so
        return 0, movie


def _ports(
    movie: Path, mdoc: Path | None, is_there: Callable[[str], bool] = os.path.isfile
) -> dict[str, tuple[Path, ...]]:
    beside = mdoc or next((Path(path) for path in _beside(str(movie)) if is_there(path)), None)
    return {"movie": (movie,)} | ({} if beside is None else {"metadata": (beside,)})


def _beside(movie: str) -> tuple[str, ...]:
    """Where SerialEM and EPU write about one movie."""
    folder, name = os.path.split(movie)
    stem = movie_stem(name)
    epu = re.sub(r"_(EER|fractions|Fractions)$", "", stem)
    return tuple(f"{folder}{os.sep}{one}" for one in (f"{name}.mdoc", f"{stem}.xml", f"{epu}.xml"))


@lru_cache(maxsize=4096)
def _read(path: Path, modified: int) -> MdocSeries:
    return read_mdoc_series(path)


def _series_name(path: Path) -> str:
    """Name of a tilt series after its mdoc: `TS_01.mrc.mdoc` and `TS_01.mdoc` are TS_01."""
    return path.name.split(".")[0]
