"""Slices through a tomogram in a file, as a report shows them."""

from __future__ import annotations

import numpy as np

from thon.data.volume import Volume
from thon.formats.mrc import open_mrc
from thon.formats.report.content import CentralSlices


def read_central_slices(
    volume: Volume, *, sections_along_y: bool = False, mirrored: bool = False, thick: int = 5
) -> CentralSlices:
    """Read three central slices of an MRC volume.

    Args:
        volume: The volume.
        sections_along_y: The file's axes are y, z, x instead of z, y, x.
        mirrored: z runs the other way in the file.
        thick: Sections that are averaged for each slice.
    """
    with open_mrc(volume.path) as file:

        def mean(axis: int) -> np.ndarray:
            middle, half = file.shape[axis] // 2, min(thick, file.shape[axis]) // 2
            index = [slice(None)] * 3
            index[axis] = slice(max(middle - half, 0), middle + half + 1)
            return file[index[0], index[1], index[2]].astype(np.float32).mean(axis)

        if sections_along_y:
            xy, xz, yz = mean(1), mean(0), mean(2).T
        else:
            xy, xz, yz = mean(0), mean(1), mean(2)
    if mirrored:
        xz, yz = xz[::-1], yz[::-1]
    return CentralSlices(xy, xz, yz, volume.voxel_size)
