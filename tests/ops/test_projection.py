"""Lay-out and projector against the geometry itself: blobs whose place in every image is known by formula."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from jaxtyping import Float

from thon.data.geometry import LocalField, TiltGeometry
from thon.ops.projection import SlabProjector, coverage, lay_out

PIXEL = 7.3
TILTS = 7
IMAGE = (171, 193)
DEPTH, WIDTH, ROWS, COLUMNS = 45, 121, 131, 141
CENTRE = 11.0
POINTS = np.array([[80.0, -120.0, 150.0], [-90.0, 200.0, -110.0], [30.0, 40.0, 60.0], [-20.0, -300.0, 10.0]])


def awkward_geometry(*, local: bool = True) -> TiltGeometry:
    """Every parameter differs from zero and from tilt to tilt."""
    random = np.random.default_rng(7)
    field = LocalField(random.normal(size=(TILTS, 5, 6, 2)) * 8, (350.0, 420.0))
    return TiltGeometry(
        tilt=np.linspace(-56, 47, TILTS),
        shift=random.normal(size=(TILTS, 2)) * 25,
        rotation=84 + random.normal(size=TILTS),
        x_tilt=6 + random.normal(size=TILTS),
        magnification=1 + 0.01 * random.normal(size=TILTS),
        local=field if local else None,
    )


def projector(geometry: TiltGeometry) -> SlabProjector:
    return SlabProjector.from_geometry(geometry, PIXEL, DEPTH, WIDTH, ROWS, z_centre=CENTRE, columns=COLUMNS)


def raw_images(geometry: TiltGeometry, point: Float[np.ndarray, "3"], sigma: float = 2.0) -> torch.Tensor:
    """A blob where the geometry says that the point falls."""
    place = geometry.project(point[None])[:, 0] / PIXEL + [n // 2 for n in IMAGE]
    row, column = (np.arange(n, dtype=np.float64) for n in IMAGE)
    along, across = (place[:, 0, None] - row) ** 2, (place[:, 1, None] - column) ** 2
    return torch.from_numpy(np.exp(-(along[:, :, None] + across[:, None, :]) / (2 * sigma**2)))


def voxel_of(point: Float[np.ndarray, "3"]) -> Float[np.ndarray, "3"]:
    """Index (z, x, y) of a specimen point in the volume."""
    z, y, x = point
    return np.array([(z - CENTRE) / PIXEL + DEPTH // 2, x / PIXEL + WIDTH // 2, y / PIXEL + ROWS // 2])


def blob_volume(point: Float[np.ndarray, "3"], sigma: float = 2.0) -> torch.Tensor:
    axes = [torch.arange(n).double() - c for n, c in zip((DEPTH, WIDTH, ROWS), voxel_of(point), strict=True)]
    parts = [torch.exp(-(axis**2) / (2 * sigma**2)) for axis in axes]
    return torch.einsum("z,x,y->zxy", *parts)


def centres(stack: torch.Tensor) -> torch.Tensor:
    """Centre of mass of what exceeds a tenth of the maximum, per entry."""
    peaks = stack.flatten(1).max(1).values
    mass = (stack - 0.1 * peaks.reshape(-1, *[1] * (stack.ndim - 1))).clamp(min=0)
    total = mass.flatten(1).sum(1)
    found: list[torch.Tensor] = []
    for axis in range(1, stack.ndim):
        others = [a for a in range(1, stack.ndim) if a != axis]
        found.append((mass.sum(others) @ torch.arange(stack.shape[axis]).double()) / total)
    return torch.stack(found, -1)


@pytest.mark.parametrize("point", POINTS)
def test_projected_blobs_fall_where_the_laid_out_images_have_them(point: Float[np.ndarray, "3"]):
    geometry = awkward_geometry()
    slab = projector(geometry)
    images = lay_out(
        raw_images(geometry, point), geometry, PIXEL, slab.image_rows, slab.columns, row_start=slab.image_row_start
    )
    projected = slab.forward(blob_volume(point))
    assert images.shape == projected.shape == (TILTS, COLUMNS, slab.image_rows)
    # Both hold the whole blob, and it is not in the middle.
    assert projected.flatten(1).max(1).values.min() > 2
    assert (centres(images) - torch.tensor([COLUMNS // 2, slab.image_rows // 2])).abs().max() > 3
    assert (centres(images) - centres(projected)).abs().max() < 0.02


@pytest.mark.parametrize("point", POINTS)
def test_backprojection_puts_blobs_at_their_voxel(point: Float[np.ndarray, "3"]):
    geometry = awkward_geometry()
    slab = projector(geometry)
    images = lay_out(
        raw_images(geometry, point), geometry, PIXEL, slab.image_rows, slab.columns, row_start=slab.image_row_start
    )
    volume = slab.adjoint(images)
    assert volume.max() > 0.9 * TILTS
    near = tuple(slice(max(0, round(c) - 3), round(c) + 4) for c in voxel_of(point))
    found = centres((volume[near] - 0.5 * TILTS).clamp(min=0)[None])[0].numpy() + [s.start for s in near]
    # The missing wedge blurs along z; along x and y the place is sharp.
    assert np.abs(found - voxel_of(point))[1:].max() < 0.1
    assert np.abs(found - voxel_of(point))[0] < 0.3


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_forward_and_adjoint_are_transposes(dtype: torch.dtype):
    slab = projector(awkward_geometry())
    volume = torch.rand(DEPTH, WIDTH, ROWS).to(dtype)
    images = torch.rand(TILTS, COLUMNS, slab.image_rows).to(dtype)
    left = (slab.forward(volume).double() * images).sum()
    right = (volume.double() * slab.adjoint(images)).sum()
    assert abs(left - right) / left < (1e-6 if dtype == torch.float32 else 1e-13)


def test_the_halo_loses_nothing_of_a_tall_volume():
    slab = projector(awkward_geometry())
    assert slab.rows_halo > 0
    volume = torch.zeros(DEPTH, WIDTH, ROWS, dtype=torch.float64)
    volume[[0, 0, -1, -1], 50:70, [0, -1, 0, -1]] = 1
    images = slab.forward(volume)
    torch.testing.assert_close(images.sum((1, 2)), volume.sum().expand(TILTS))


def test_a_volume_without_x_tilt_needs_no_halo():
    slab = SlabProjector.from_geometry(TiltGeometry.nominal(np.linspace(-60, 60, 5), 84.0), PIXEL, 20, 30, 41)
    assert (slab.rows_halo, slab.image_rows, slab.image_row_start, slab.columns) == (0, 41, -20, 30)


def test_slabs_and_parts_of_the_layout_are_parts_of_the_whole():
    geometry = awkward_geometry()
    whole, images = projector(geometry), torch.randn(TILTS, *IMAGE)
    start, stop = 37, 90
    part = whole.slab(start, stop)
    layouts = [
        lay_out(images, geometry, PIXEL, p.image_rows, p.columns, row_start=p.image_row_start) for p in (whole, part)
    ]
    torch.testing.assert_close(layouts[1], layouts[0][:, :, start : start + part.image_rows], atol=1e-4, rtol=0)
    full = whole.adjoint(layouts[0])[:, :, start:stop]
    torch.testing.assert_close(part.adjoint(layouts[1]), full, atol=1e-3, rtol=0)


def test_selected_tilts_are_those_tilts():
    slab = projector(awkward_geometry())
    volume = torch.rand(DEPTH, WIDTH, ROWS)
    everything = slab.forward(volume)
    assert torch.equal(slab.select([4, 1]).forward(volume), everything[[4, 1]])
    assert torch.equal(slab.select(slice(0, None, 2)).forward(volume), everything[::2])
    odd = np.arange(TILTS) % 2 == 1
    assert torch.equal(slab.select(odd).forward(volume), everything[1::2])


def test_binned_voxels_are_laid_out_at_their_own_size():
    geometry = awkward_geometry(local=False)
    images = raw_images(geometry, POINTS[2], sigma=4.0)
    fine = lay_out(images, geometry, PIXEL, 101, 111)
    coarse = lay_out(images, geometry, PIXEL, 51, 57, voxel_size=2 * PIXEL)
    found = (centres(coarse) - torch.tensor([57 // 2, 51 // 2])) * 2
    assert (found - (centres(fine) - torch.tensor([111 // 2, 101 // 2]))).abs().max() < 0.02


def test_outside_the_images_is_their_mean_and_coverage_says_so():
    geometry = awkward_geometry()
    images = torch.randn(TILTS, *IMAGE) + torch.arange(TILTS)[:, None, None]
    laid_out = lay_out(images, geometry, PIXEL, 250, 240)
    covered = coverage(IMAGE, geometry, PIXEL, 250, 240)
    assert covered.shape == laid_out.shape
    assert 0.3 < covered.mean() < 0.9
    for k in range(TILTS):
        outside = laid_out[k][covered[k] == 0]
        torch.testing.assert_close(outside, images[k].mean().expand_as(outside), atol=1e-5, rtol=0)


def test_lay_out_is_differentiable_in_the_images():
    geometry = awkward_geometry()
    images = torch.randn(TILTS, 9, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda i: lay_out(i, geometry, 60.0, 7, 6), images)


def test_wrong_shapes_are_refused():
    geometry = awkward_geometry()
    slab = projector(geometry)
    with pytest.raises(ValueError, match="volume"):
        slab.forward(torch.zeros(DEPTH, ROWS, WIDTH))
    with pytest.raises(ValueError, match="images"):
        slab.adjoint(torch.zeros(TILTS, COLUMNS, ROWS))
    with pytest.raises(ValueError, match="rows"):
        slab.slab(10, ROWS + 1)
    with pytest.raises(ValueError, match="x-tilts"):
        SlabProjector.from_geometry(TiltGeometry(np.zeros(1), np.zeros((1, 2)), np.zeros(1), x_tilt=90), 1, 2, 2, 2)
    with pytest.raises(ValueError, match="tilts"):
        lay_out(torch.zeros(3, 20, 20), geometry, PIXEL, 10, 10)
