"""Import two half maps: one is named and the other found, as their names differ in half1 and half2.

The map of all particles, which lies beside RELION's halves, may be named as well. Nothing is copied; the map itself is
the mean of the halves.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
from annotated_types import Gt

from thon.base.errors import InputError
from thon.base.options import Options, Unit
from thon.data.maps import HalfMaps
from thon.data.volume import Volume
from thon.formats.maps import half_map_files, read_map, require_same_box, write_map
from thon.job.context import Context
from thon.job.spec import each
from thon.ops.symmetry import symmetry_name


class ImportHalvesOptions(Options):
    voxel_size: Annotated[float | None, Unit("Å"), Gt(0)] = None
    """Voxel size; that of the file unless given."""

    symmetry: str = "C1"
    """Point group of the map."""

    diameter: Annotated[float | None, Unit("Å"), Gt(0)] = None
    """Of the particle."""


def expand_halves(path: Path, options: Options) -> dict[str, dict[str, tuple[Path, ...]]]:
    """The two halves that one file stands for.

    Raises:
        InputError: The other one is not there.
    """
    first, second = half_map_files(path)
    return {first.stem.replace("half1", "").replace("__", "_").strip("_") or "map": {"half": (first, second)}}


@each(title="Import half maps", stage="import", expand=expand_halves)
def import_halves(half: tuple[Path, ...], options: ImportHalvesOptions, context: Context) -> HalfMaps:
    if len(half) != 2:
        raise InputError("a map has two halves", got=f"{len(half)} files", expected="two")
    (first, stored), (second, _) = (read_map(file) for file in half)
    require_same_box(second, first.shape, "the second half map", half[1])
    if np.array_equal(first, second):
        raise InputError("the two half maps are the same", path=half[1], expected="maps from different particles")
    size = options.voxel_size or stored
    z, y, x = first.shape
    one, two = (Volume(str(file), (z, y, x), size) for file in half)
    context.log(f"{x} × {y} × {z} voxels of {size:g} Å.")
    mean = write_map(context.output(f"{context.item}.mrc", title="Map"), (first + second) / 2, size)
    symmetry = symmetry_name(options.symmetry)
    return HalfMaps(volume=mean, first=one, second=two, symmetry=symmetry, diameter=options.diameter)
