"""Maps in files: read as numbers fit to compute with, written with what their record needs to say."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from jaxtyping import Float

from thon.base.errors import InputError
from thon.data.volume import Volume
from thon.formats.images import open_images
from thon.formats.mrc import write_mrc

_HALF = re.compile(r"(?P<before>.*half)(?P<number>[12])(?P<after>(?!\d).*)")


def read_map(source: Volume | str | Path) -> tuple[Float[np.ndarray, "z y x"], float]:
    """A map, (z, y, x), and its voxel size, Å: what the record says, or the file where there is none.

    Raises:
        InputError: It cannot be read, is no volume, or holds NaN or infinity.
    """
    path = Path(source.path) if isinstance(source, Volume) else Path(source)
    with open_images(path) as file:
        values, stored = file.asarray().astype(np.float32), file.pixel_size
    if min(values.shape) < 2:
        raise InputError("is no volume", path=path, got=values.shape)
    if not np.isfinite(values).all():
        bad = int((~np.isfinite(values)).sum())
        raise InputError("the map holds NaN or infinity", path=path, got=f"{bad} voxels", expected="numbers")
    voxel_size = source.voxel_size if isinstance(source, Volume) else stored
    if not voxel_size:
        raise InputError("the voxel size is not known", path=path, mend="write it into the file's header")
    return values, voxel_size


def write_map(path: Path, values: Float[np.ndarray, "z y x"], voxel_size: float) -> Volume:
    """Write a map as MRC, float32, and say what it is."""
    write_mrc(path, np.ascontiguousarray(values, np.float32), voxel_size)
    z, y, x = values.shape
    return Volume(str(path), (z, y, x), voxel_size)


def require_same_box(values: np.ndarray, box: tuple[int, ...], what: str, path: str | Path) -> None:
    """Refuse a mask or a map of another box.

    Raises:
        InputError: The box is another.
    """
    if values.shape != tuple(box):
        raise InputError(
            f"{what} has another box than the map",
            path=path,
            got=" × ".join(map(str, values.shape)),
            expected=" × ".join(map(str, box)),
            mend="crop, pad or resize it with `thon volume`",
        )


def half_map_files(path: Path) -> tuple[Path, Path]:
    """The two half maps that a file belongs to: it is one of them, or RELION's map beside them.

    Names of halves differ in `half1` and `half2`; beside RELION's `run_class001.mrc` are
    `run_half1_class001_unfil.mrc` and its twin.

    Raises:
        InputError: There are no two halves.
    """
    match = _HALF.fullmatch(path.name)
    if match is not None:
        first, second = (path.with_name(f"{match['before']}{n}{match['after']}") for n in (1, 2))
    else:
        start, _, rest = path.stem.rpartition("class")
        first, second = (path.with_name(f"{start}half{n}_class{rest}_unfil{path.suffix}") for n in (1, 2))
    missing = [file.name for file in (first, second) if not file.is_file()]
    if missing:
        raise InputError(
            "the two half maps are not there",
            path=path,
            got=f"no {' and no '.join(missing)}",
            expected="names that differ in half1 and half2",
        )
    return first, second
