"""A tilt series as a linear operator: the images of a slab of volume, and its transpose, the back-projection.

Everything about an image that is not a straight ray is absorbed when it is laid out (`lay_out`): axis rotation, shift,
magnification, the local field, and what an x-tilt does within the image. Laid out, voxel (z, y, x) falls at

    column  u' = x cos θ + z sin θ / cos β        row  y − z tan β

(from the centres) so that a line of voxels along y has constant weights. Layouts are `[tilts, columns, rows]` and
`[z, x, y]`, in voxels, with y contiguous; index n // 2 is the centre.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from thon import kernels
from thon.data.geometry import TiltGeometry


@dataclass(frozen=True)
class SlabProjector:
    """Forward projection and back-projection of one slab, without weights.

    Args:
        paths: (tilts, 2, 3), affine map of voxel indices (z, x, 1) to the laid-out column and to the offset along y
            from the image's first row, px.
        depth: Extent of the volume along z, voxels.
        width: Extent along x, voxels.
        rows: Extent along y, voxels.
        columns: Columns of the laid-out images, px.
        rows_halo: Rows that the images have beyond the volume at either end, px: an x-tilt reaches that far.
        row_start: Position along y of the volume's first row from the specimen's centre, voxels.
    """

    paths: Float[torch.Tensor, "tilts 2 3"]
    depth: int
    width: int
    rows: int
    columns: int
    rows_halo: int = 0
    row_start: int = 0

    @classmethod
    def from_geometry(
        cls,
        geometry: TiltGeometry,
        voxel_size: float,
        depth: int,
        width: int,
        rows: int,
        *,
        z_centre: float = 0.0,
        columns: int | None = None,
    ) -> SlabProjector:
        """The projector of a volume centred on (z_centre, 0, 0).

        Args:
            geometry: Where points fall in the images; only `tilt` and `x_tilt` bend the paths.
            voxel_size: Å.
            depth: Extent along z, voxels.
            width: Extent along x, voxels.
            rows: Extent along y, voxels.
            z_centre: Height of voxel depth // 2, Å.
            columns: Columns of the laid-out images; `width` if not given.

        Raises:
            ValueError: An x-tilt of 90° or more has no layout.
        """
        columns = width if columns is None else columns
        theta, beta = np.deg2rad(geometry.tilt), np.deg2rad(geometry.x_tilt)
        if (np.cos(beta) < 1e-3).any():
            raise ValueError(f"x-tilts must stay within ±89.9°, got up to {np.abs(geometry.x_tilt).max():g}°")
        slopes = np.zeros((len(geometry), 2, 3))
        slopes[:, 0, 0], slopes[:, 0, 1] = np.sin(theta) / np.cos(beta), np.cos(theta)
        slopes[:, 1, 0] = -np.tan(beta)
        first = np.array([z_centre / voxel_size - depth // 2, -(width // 2)])
        reach = [np.abs(slopes[:, 1, 0] * (first[0] + z)).max(initial=0) for z in (0, depth - 1)]
        halo = math.ceil(max(reach) - 1e-9)
        slopes[:, :, 2] = slopes[:, :, :2] @ first + (columns // 2, halo)
        return cls(torch.from_numpy(slopes), depth, width, rows, columns, halo, -(rows // 2))

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def image_rows(self) -> int:
        """Rows of the laid-out images: those of the volume and the halo at both ends."""
        return self.rows + 2 * self.rows_halo

    @property
    def image_row_start(self) -> int:
        """Position along y of the images' first row from the specimen's centre, voxels."""
        return self.row_start - self.rows_halo

    def forward(self, volume: Float[torch.Tensor, "depth width rows"]) -> Float[torch.Tensor, "tilts columns rows_in"]:
        """Sums of the volume `[z, x, y]` along the rays of each image, in voxels."""
        if tuple(volume.shape) != (self.depth, self.width, self.rows):
            raise ValueError(f"volume is {tuple(volume.shape)}, expected {(self.depth, self.width, self.rows)}")
        return kernels.project(volume, self.paths.to(volume.device), self.columns, rows=self.image_rows)

    def adjoint(self, images: Float[torch.Tensor, "tilts columns rows_in"]) -> Float[torch.Tensor, "depth width rows"]:
        """Sum of the laid-out images in each voxel, `[z, x, y]`: the exact transpose of `forward`."""
        if tuple(images.shape) != (len(self), self.columns, self.image_rows):
            raise ValueError(f"images are {tuple(images.shape)}, expected {(len(self), self.columns, self.image_rows)}")
        return kernels.backproject(images, self.paths.to(images.device), (self.depth, self.width), rows=self.rows)

    def select(self, index: Int[np.ndarray, "kept"] | Bool[np.ndarray, "tilts"] | list[int] | slice) -> SlabProjector:
        """The projector of some of the tilts, in the order given."""
        return replace(self, paths=self.paths[index if isinstance(index, slice) else torch.as_tensor(index)])

    def slab(self, y_start: int, y_stop: int) -> SlabProjector:
        """The projector of the volume's rows [y_start, y_stop), for work that streams along y."""
        if not 0 <= y_start < y_stop <= self.rows:
            raise ValueError(f"rows [{y_start}, {y_stop}) do not lie in [0, {self.rows})")
        return replace(self, rows=y_stop - y_start, row_start=self.row_start + y_start)


def lay_out(
    images: Float[torch.Tensor, "tilts image_rows image_columns"],
    geometry: TiltGeometry,
    pixel_size: float,
    rows: int,
    columns: int,
    *,
    row_start: float | None = None,
    voxel_size: float | None = None,
) -> Float[torch.Tensor, "tilts columns rows"]:
    """Resample raw images once, by cubic B-splines, into the layout that a `SlabProjector` sees.

    Row j is at y = row_start + j and column c at u' = c − columns // 2, voxels. For a projector, take its `image_rows`,
    `columns` and `image_row_start`; fewer rows from a later start give a part of the same layout. Samples that fall
    outside an image take its mean; `coverage` tells where. Images must not hold frequencies beyond the voxels' Nyquist
    frequency: crop them in Fourier space first. Differentiable in the images.

    Args:
        images: Raw images; float32 or float64.
        geometry: Their geometry.
        pixel_size: Å.
        rows: Rows to lay out, px.
        columns: Columns to lay out, px.
        row_start: Position of the first row from the specimen's centre, voxels; −(rows // 2) if not given.
        voxel_size: Å; the pixel size if not given.
    """
    _check_tilts(images, geometry)
    maps, displacement, knots = _layout_maps(
        geometry, images.shape[1:], pixel_size, rows, columns, row_start, voxel_size, images.device
    )
    return kernels.sample_images(images, maps, (columns, rows), displacement=displacement, knots=knots)


def coverage(
    image_shape: tuple[int, int],
    geometry: TiltGeometry,
    pixel_size: float,
    rows: int,
    columns: int,
    *,
    row_start: float | None = None,
    voxel_size: float | None = None,
) -> Float[torch.Tensor, "tilts columns rows"]:
    """One where `lay_out` with the same arguments has image, zero where it filled in the mean."""
    maps, displacement, knots = _layout_maps(
        geometry, image_shape, pixel_size, rows, columns, row_start, voxel_size, torch.device("cpu")
    )
    return kernels.sample_coverage(maps, image_shape, (columns, rows), displacement=displacement, knots=knots)


def _check_tilts(images: torch.Tensor, geometry: TiltGeometry) -> None:
    if images.ndim != 3 or len(images) != len(geometry):
        raise ValueError(f"images are {tuple(images.shape)} but the geometry has {len(geometry)} tilts")


def _layout_maps(
    geometry: TiltGeometry,
    image_shape: tuple[int, ...],
    pixel_size: float,
    rows: int,
    columns: int,
    row_start: float | None,
    voxel_size: float | None,
    device: torch.device,
) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
    """Affine maps of layout (row, column, 1) to raw pixels and to the local field's knots; its displacement in px."""
    voxel_size = pixel_size if voxel_size is None else voxel_size
    start = -(rows // 2) if row_start is None else row_start
    theta, beta, phi = np.deg2rad(geometry.tilt), np.deg2rad(geometry.x_tilt), np.deg2rad(geometry.rotation)
    # (v, u) in Å of layout (row, column, 1).
    plane = np.zeros((len(geometry), 2, 3))
    plane[:, 0, 0] = voxel_size * np.cos(beta)
    plane[:, 1, 0] = voxel_size * np.sin(beta) * np.sin(theta)
    plane[:, 1, 1] = voxel_size
    plane[:, :, 2] = plane[:, :, :2] @ np.array([start, -(columns // 2)], np.float64)
    turn = np.stack([np.cos(phi), np.sin(phi), -np.sin(phi), np.cos(phi)], -1).reshape(-1, 2, 2)
    maps = geometry.magnification[:, None, None] / pixel_size * turn @ plane
    maps[:, :, 2] += geometry.shift / pixel_size + [n // 2 for n in image_shape]
    if geometry.local is None:
        return torch.from_numpy(maps).to(device), None, None
    field = geometry.local
    knots = plane / np.array(field.spacing)[:, None]
    knots[:, :, 2] += (np.array(field.coefficients.shape[1:3]) - 1) / 2
    displacement = torch.from_numpy(field.coefficients / pixel_size).to(device)
    return torch.from_numpy(maps).to(device), displacement, torch.from_numpy(knots).to(device)
