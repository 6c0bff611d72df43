"""Which voxels are reconstructed, and from which pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from thon.algorithms.reconstruction.options import ReconstructOptions
from thon.base.errors import InputError
from thon.data.alignment import ThicknessProfile
from thon.data.geometry import TiltGeometry
from thon.ops.projection import SlabProjector

_DEFAULT_THICKNESS = 3000.0
_GRAIN = 16  # largest denominator of the bin that images are cropped by; the resampling does the rest


@dataclass(frozen=True)
class ReconstructionGrid:
    """Everything about the volume and the images that follows from options and geometry.

    Args:
        geometry: With tilt offset and pitch.
        pixel_size: Of the raw images, Å.
        voxel_size: Å.
        depth: Of the output along z, voxels.
        rows: Along y, voxels.
        width: Along x, voxels.
        extra: Planes solved in addition above and below.
        z_centre: Height of the volume's centre, Å.
        padded: (rows, columns) to which raw images are padded, px.
        cropped: (rows, columns) after their crop in Fourier space, px.
        cropped_pixel: Pixel size after that, Å.
    """

    geometry: TiltGeometry
    pixel_size: float
    voxel_size: float
    depth: int
    rows: int
    width: int
    extra: int
    z_centre: float
    padded: tuple[int, int]
    cropped: tuple[int, int]
    cropped_pixel: float

    @property
    def shape(self) -> tuple[int, int, int]:
        """(z, y, x) of the output, voxels."""
        return self.depth, self.rows, self.width

    @property
    def origin(self) -> tuple[float, float, float]:
        """Specimen position (z, y, x) of voxel n // 2, Å."""
        return self.z_centre, 0.0, 0.0

    def projector(self, index: np.ndarray | None = None) -> SlabProjector:
        """The projector pair of the volume that is solved for, extra planes included."""
        whole = SlabProjector.from_geometry(
            self.geometry, self.voxel_size, self.depth + 2 * self.extra, self.width, self.rows, z_centre=self.z_centre
        )
        return whole if index is None else whole.select(index)


def reconstruction_grid(
    image_shape: tuple[int, int],
    geometry: TiltGeometry,
    pixel_size: float,
    options: ReconstructOptions,
    profile: ThicknessProfile | None = None,
) -> ReconstructionGrid:
    """Find the grid of a reconstruction.

    Args:
        image_shape: (rows, columns) of the raw images, px.
        geometry: As aligned.
        pixel_size: Å.
        options: Bin, extent, offsets.
        profile: Measured thickness, used where the options give none.

    Raises:
        InputError: Pixel size, angles or extents cannot be right.
    """
    _check(image_shape, geometry, pixel_size, options)
    binned = options.bin_for(pixel_size)
    voxel = binned * pixel_size
    thickness, middle = _thickness(options, pixel_size, profile)
    along, across = (n * pixel_size for n in image_shape)
    if abs(math.sin(math.radians(float(np.median(geometry.rotation))))) > math.sqrt(0.5):
        along, across = across, along  # the tilt axis runs along the images' rows
    rows, width = _voxels(options.length or along, voxel), _voxels(options.width or across, voxel)
    depth = _voxels(thickness, voxel)
    padded, cropped = _crop(image_shape, binned)
    return ReconstructionGrid(
        geometry=replace(geometry, tilt=geometry.tilt + options.tilt_offset, x_tilt=geometry.x_tilt + options.pitch),
        pixel_size=pixel_size,
        voxel_size=voxel,
        depth=depth,
        rows=rows,
        width=width,
        extra=math.ceil(options.iterations.extension * depth) if options.iterative else 0,
        z_centre=options.z_shift + middle,
        padded=padded,
        cropped=cropped,
        cropped_pixel=pixel_size * padded[0] / cropped[0],
    )


def _voxels(extent: float, voxel: float) -> int:
    """Voxels in an extent; an even number, as what reads volumes likes best, unless there is but one."""
    return max(1, 2 * round(extent / voxel / 2))


def _thickness(options: ReconstructOptions, pixel_size: float, profile: ThicknessProfile | None) -> tuple[float, float]:
    """Thickness and height of its middle, Å."""
    if options.thickness is not None:
        return options.thickness, 0.0
    if options.thickness_px is not None:
        return options.thickness_px * pixel_size, 0.0
    if profile is not None:
        return profile.thickness * (1 + 2 * options.margin), (profile.lower + profile.upper) / 2
    return _DEFAULT_THICKNESS, 0.0


def _crop(shape: tuple[int, int], bin_: float) -> tuple[tuple[int, int], tuple[int, int]]:
    """Sizes before and after a crop by the same, exact, factor along both axes, no coarser than the bin."""
    factor = Fraction(bin_).limit_denominator(_GRAIN)
    if factor > bin_:  # rounding must not lose resolution
        factor = Fraction(math.floor(bin_ * _GRAIN), _GRAIN)
    step, new = factor.numerator, factor.denominator
    units = [-(-n // step) for n in shape]
    return (units[0] * step, units[1] * step), (units[0] * new, units[1] * new)


def _check(
    image_shape: tuple[int, int], geometry: TiltGeometry, pixel_size: float, options: ReconstructOptions
) -> None:
    if not (math.isfinite(pixel_size) and pixel_size > 0):
        raise InputError("the pixel size is not a length", got=pixel_size, expected="a number of Å above 0")
    if len(geometry) == 0:
        raise InputError("there are no tilts to reconstruct from")
    tilt = geometry.tilt + options.tilt_offset
    if not np.isfinite(tilt).all() or np.abs(tilt).max() > 89:
        raise InputError(
            "a tilt, with its offset, is not between −89° and 89°",
            got=f"{np.nanmin(tilt):g}° to {np.nanmax(tilt):g}°",
            mend="check the angles and the tilt offset, or leave the image out",
        )
    binned = options.bin_for(pixel_size)
    if min(image_shape) / binned < 8:
        raise InputError("the bin leaves images of less than 8 pixels", got=f"{image_shape} px at bin {binned:g}")
