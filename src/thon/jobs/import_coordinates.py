"""Import coordinates of particles that a person or another program picked, as RELION, EMAN or a table lists them.

--coordinates is the file of one micrograph, or a folder with one for each: NAME.star, NAME_picks.star, .box or .csv.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
from annotated_types import Gt

from thon.base.errors import InputError
from thon.base.options import Options, Unit
from thon.data.maps import Picks
from thon.data.micrograph import CtfMicrograph, Micrograph
from thon.formats.relion_coordinate_list import locate_coordinates
from thon.formats.relion_coordinates import read_coordinates
from thon.job.context import Context
from thon.job.spec import each


class ImportCoordinatesOptions(Options):
    diameter: Annotated[float, Unit("Å"), Gt(0)] = 250.0
    """Longest extent of the particle."""

    flip_y: bool = False
    """The file counts y from the other edge of the micrograph."""


@each(title="Import coordinates", stage="particles")
def import_coordinates(
    micrograph: Micrograph, coordinates: Path, options: ImportCoordinatesOptions, context: Context
) -> Picks:
    path = locate_coordinates(coordinates, micrograph)
    context.uses(path)
    picks = read_coordinates(path, CtfMicrograph.of(micrograph), options.diameter)
    shape = np.array(micrograph.image_shape)
    place = picks.coordinates
    if options.flip_y:
        place = np.stack([shape[0] - place[:, 0], place[:, 1]], -1)
    outside = (place < 0) | (place > shape)
    if outside.any():
        raise InputError(
            "coordinates lie outside of the micrograph",
            path=path,
            got=f"{int(outside.any(1).sum())} of {len(place)}, up to {place[:, ::-1].max(0).tolist()}",
            expected=f"within {shape[1]} × {shape[0]} px",
            mend="check that they belong to this micrograph, in its pixels",
        )
    context.log(f"{len(place)} particles from {path.name}.")
    return Picks(picks.micrograph, place, picks.score, picks.diameter, picks.class_number, picks.psi)
