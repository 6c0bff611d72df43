"""A volume in a file."""

from __future__ import annotations

from dataclasses import dataclass

from thon.data.tilt_series import TiltSeries


@dataclass(frozen=True)
class Volume:
    """A reconstructed volume.

    Args:
        path: File, as text.
        shape: (z, y, x), voxels.
        voxel_size: Å.
        origin: Specimen position (z, y, x) of voxel n // 2, Å; not zero for a cropped or shifted slab.
    """

    path: str
    shape: tuple[int, int, int]
    voxel_size: float
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Tomogram:
    """A tomogram of a tilt series and, where made, its two half volumes from independent images.

    Args:
        series: Name of the tilt series.
        volume: Reconstruction from all images.
        even: Reconstruction from the even images (by acquisition order or by frame).
        odd: Reconstruction from the odd ones.
        method: Name of the reconstruction method.
        thickness: Measured sample thickness, Å, if it was measured.
        tilts: The tilt series itself, with its alignment and CTFs.
    """

    series: str
    volume: Volume
    even: Volume | None = None
    odd: Volume | None = None
    method: str = ""
    thickness: float | None = None
    tilts: TiltSeries | None = None
