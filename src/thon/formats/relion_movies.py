"""RELION's `movies.star`: the movies of a session and their optics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from thon.base.errors import FormatError, InputError
from thon.data.movie import Movie
from thon.data.optics import Optics
from thon.formats.relion_optics import OpticsGroup, find_group, optics_table, read_optics
from thon.formats.relion_table import relative_name
from thon.formats.star import StarBlock, read_star, write_star
from thon.formats.text import PathLike


@dataclass(frozen=True)
class ListedMovie:
    """A movie as `movies.star` knows it; its frames and their size are in the movie itself.

    Args:
        path: File as named in the star file.
        pixel_size: Of a frame, Å; None where not given.
        optics: Microscope.
        group: Name of its optics group.
        columns: The row as it stands in the file, for what the house does not know.
    """

    path: str
    pixel_size: float | None = None
    optics: Optics = field(default_factory=Optics)
    group: str = ""
    columns: dict[str, str] = field(default_factory=dict[str, str])


def read_movies(path: PathLike) -> tuple[ListedMovie, ...]:
    """Read a `movies.star`.

    Raises:
        InputError: If there is no such file.
        FormatError: If it lists no movies, or one of an optics group that is not there.
    """
    path = Path(path)
    blocks = read_star(path)
    block = blocks.get("movies") or list(blocks.values())[-1]
    if "rlnMicrographMovieName" not in block.columns or not len(block):
        raise FormatError("lists no movies", path=path, expected="a loop with rlnMicrographMovieName")
    groups = read_optics(path, blocks.get("optics", StarBlock()))
    movies: list[ListedMovie] = []
    for row in block.rows():
        group = find_group(path, groups, row)
        movies.append(ListedMovie(row["rlnMicrographMovieName"], group.frame_pixel_size, group.optics, group.name, row))
    return tuple(movies)


def write_movies(path: PathLike, movies: Sequence[Movie], *, relative_to: PathLike = ".") -> None:
    """Write a `movies.star`.

    Args:
        path: File to write.
        movies: What it lists.
        relative_to: RELION's project folder, from which file names are counted.

    Raises:
        InputError: If there are no movies.
    """
    if not movies:
        raise InputError("there are no movies to write", path=path)
    optics, numbers = optics_table([OpticsGroup(movie.optics, movie.pixel_size) for movie in movies])
    names = [relative_name(movie.path, relative_to) for movie in movies]
    columns = {"rlnMicrographMovieName": names, "rlnOpticsGroup": numbers}
    write_star(path, {"optics": optics, "movies": StarBlock({}, columns)})
