"""RELION's list of coordinate files, `autopick.star`: which file holds the picks of which micrograph."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from thon.base.errors import FormatError, InputError
from thon.data.maps import Picks
from thon.data.micrograph import Micrograph
from thon.formats.relion_coordinates import find_coordinates, write_coordinates
from thon.formats.relion_table import find_named, relative_name
from thon.formats.star import StarBlock, read_star, write_star
from thon.formats.text import PathLike

_MICROGRAPH, _FILE = "rlnMicrographName", "rlnMicrographCoordinates"


def write_coordinate_list(path: PathLike, picks: Sequence[Picks], *, relative_to: PathLike) -> None:
    """Write the picks of several micrographs, a star file for each in `Picks` beside the list.

    Args:
        path: The list to write.
        picks: Those of each micrograph.
        relative_to: RELION's project folder, from which file names are counted.

    Raises:
        InputError: There are none, or two micrographs have one name.
    """
    if not picks:
        raise InputError("there are no picks to write", path=path)
    folder = Path(path).parent / "Picks"
    folder.mkdir(exist_ok=True)
    files = [folder / f"{one.micrograph.name}_{Path(path).stem}.star" for one in picks]
    if len(set(files)) < len(files):
        raise InputError("two micrographs have one name", path=path)
    for file, one in zip(files, picks, strict=True):
        write_coordinates(file, one)
    columns = {
        _MICROGRAPH: [relative_name(one.micrograph.path, relative_to) for one in picks],
        _FILE: [relative_name(file.absolute(), relative_to) for file in files],
    }
    write_star(path, {"coordinate_files": StarBlock({}, columns)})


def coordinate_files(path: PathLike) -> dict[str, Path]:
    """The coordinate file of each micrograph that a list names, by the micrograph's name without folder and ending.

    Raises:
        InputError: There is no such file, or one that it names is missing.
        FormatError: It is no list.
    """
    path = Path(path)
    block = next((block for block in read_star(path).values() if _FILE in block.columns), StarBlock())
    if _MICROGRAPH not in block.columns:
        raise FormatError("lists no coordinate files", path=path, expected=f"{_MICROGRAPH} and {_FILE}")
    names = zip(block.columns[_MICROGRAPH], block.columns[_FILE], strict=True)
    return {PurePosixPath(name).stem: find_named(path, file) for name, file in names}


def locate_coordinates(source: Path, micrograph: Micrograph) -> Path:
    """The coordinate file of a micrograph: in a folder, named by RELION's list, or the file itself.

    Raises:
        InputError: There is none of that micrograph.
    """
    if source.is_dir():
        return find_coordinates(source, micrograph.name)
    if source.suffix.lower() != ".star" or not _is_list(source):
        return source
    files = coordinate_files(source)
    found = files.get(PurePosixPath(micrograph.path).stem) or files.get(micrograph.name)
    if found is None:
        raise InputError(f"lists no coordinates of {micrograph.name}", path=source, got=", ".join(list(files)[:5]))
    return found


def _is_list(path: Path) -> bool:
    return any(_FILE in block.columns for block in read_star(path).values())
