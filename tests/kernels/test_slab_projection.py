"""The projector pair: transposes of each other, equal to the reference, the same bits for any number of threads."""

from __future__ import annotations

import pytest
import torch

from thon import kernels
from thon.kernels import slab_projection


def ray_paths(
    tilts: int, depth: int, width: int, columns: int, *, shear: tuple[float, float] = (0.0, 0.0), rows_halo: float = 0.0
) -> torch.Tensor:
    """Paths about a point off the volume's middle, over a range of tilts that is not symmetric."""
    angle = torch.linspace(-63, 51, tilts, dtype=torch.float64).deg2rad()
    paths = torch.zeros(tilts, 2, 3, dtype=torch.float64)
    paths[:, 0, 0], paths[:, 0, 1] = angle.sin(), angle.cos()
    paths[:, 0, 2] = columns // 2 + 0.37 - paths[:, 0, :2] @ torch.tensor([depth // 2, width // 2 - 1.0]).double()
    paths[:, 1, 0], paths[:, 1, 1] = shear[0] * torch.linspace(0.8, 1.2, tilts), shear[1]
    paths[:, 1, 2] = rows_halo - shear[0] * (depth // 2)
    return paths


cases = pytest.mark.parametrize(
    ("shear", "rows_halo"), [((0.0, 0.0), 0.0), ((0.0, 0.0), 3.0), ((0.21, 0.0), 4.3), ((-0.13, 0.05), 2.6)]
)
dtypes = pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-5), (torch.float64, 1e-12)])


@cases
@dtypes
def test_cpu_kernels_agree_with_the_reference(
    shear: tuple[float, float], rows_halo: float, dtype: torch.dtype, tolerance: float
):
    tilts, depth, width, rows, columns, image_rows = 5, 37, 45, 71, 41, 79
    paths = ray_paths(tilts, depth, width, columns, shear=shear, rows_halo=rows_halo)
    images, volume = torch.randn(tilts, columns, image_rows).to(dtype), torch.randn(depth, width, rows).to(dtype)
    back = kernels.backproject(images, paths, (depth, width), rows=rows)
    truth = slab_projection.backproject_reference(images, paths, depth, width, rows)
    assert truth.abs().max() > 1
    torch.testing.assert_close(back, truth, atol=tolerance * float(truth.abs().max()), rtol=0)
    forth = kernels.project(volume, paths, columns, rows=image_rows)
    truth = slab_projection.project_reference(volume, paths, columns, image_rows)
    assert truth.abs().max() > 1
    torch.testing.assert_close(forth, truth, atol=tolerance * float(truth.abs().max()), rtol=0)


@cases
@dtypes
def test_each_is_the_transpose_of_the_other(
    shear: tuple[float, float], rows_halo: float, dtype: torch.dtype, tolerance: float
):
    tilts, depth, width, rows, columns, image_rows = 7, 67, 83, 131, 97, 140
    paths = ray_paths(tilts, depth, width, columns, shear=shear, rows_halo=rows_halo)
    # Away from zero mean, so that the product is large and the relative error means something.
    volume, images = torch.rand(depth, width, rows).to(dtype), torch.rand(tilts, columns, image_rows).to(dtype)
    forth = kernels.project(volume, paths, columns, rows=image_rows)
    back = kernels.backproject(images, paths, (depth, width), rows=rows)
    left = (forth.double() * images.double()).sum()
    right = (volume.double() * back.double()).sum()
    assert left > 1e5
    assert abs(left - right) / left < (1e-6 if dtype == torch.float32 else 1e-14)


@cases
def test_bits_do_not_depend_on_the_number_of_threads(shear: tuple[float, float], rows_halo: float):
    paths = ray_paths(6, 70, 40, 33, shear=shear, rows_halo=rows_halo)
    images, volume = torch.randn(6, 33, 100), torch.randn(70, 40, 90)
    threads = torch.get_num_threads()
    found: list[tuple[torch.Tensor, torch.Tensor]] = []
    try:
        for n in (1, 2, 5):
            torch.set_num_threads(n)
            found.append((kernels.backproject(images, paths, (70, 40), rows=90), kernels.project(volume, paths, 33)))
    finally:
        torch.set_num_threads(threads)
    for back, forth in found[1:]:
        assert torch.equal(back, found[0][0])
        assert torch.equal(forth, found[0][1])


def test_an_untilted_image_is_smeared_along_z_and_summed_back():
    paths = torch.zeros(1, 2, 3, dtype=torch.float64)
    paths[0, 0, 1] = 1
    image = torch.arange(15.0).reshape(1, 3, 5)
    volume = kernels.backproject(image, paths, (4, 3))
    assert torch.equal(volume, image.expand(4, 3, 5))
    assert torch.equal(kernels.project(volume, paths, 3), 4 * image)


def test_what_misses_the_images_is_zero():
    paths = ray_paths(3, 9, 11, 12)
    paths[:, 0, 2] += 1e9
    assert not kernels.backproject(torch.ones(3, 12, 7), paths, (9, 11)).any()
    assert not kernels.project(torch.ones(9, 11, 7), paths, 12).any()
    paths = ray_paths(3, 9, 11, 12, rows_halo=-1e9)
    assert not kernels.backproject(torch.ones(3, 12, 7), paths, (9, 11)).any()
    assert not kernels.project(torch.ones(9, 11, 7), paths, 12).any()


def test_inputs_are_kept_and_strided_ones_understood():
    paths = ray_paths(4, 9, 11, 12)
    images = torch.randn(4, 7, 12).transpose(1, 2)
    before = images.clone()
    back = kernels.backproject(images, paths, (9, 11))
    assert torch.equal(images, before)
    assert torch.equal(back, kernels.backproject(images.contiguous(), paths, (9, 11)))


@cases
def test_gradients(shear: tuple[float, float], rows_halo: float):
    paths = ray_paths(3, 4, 5, 6, shear=shear, rows_halo=rows_halo)
    images = torch.randn(3, 6, 7, dtype=torch.float64, requires_grad=True)
    volume = torch.randn(4, 5, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda i: kernels.backproject(i, paths, (4, 5), rows=8), images)
    assert torch.autograd.gradcheck(lambda v: kernels.project(v, paths, 6, rows=7), volume)


def test_operators_are_registered_correctly():
    paths = ray_paths(3, 4, 5, 6, shear=(0.1, 0.0))
    images = torch.randn(3, 6, 7, dtype=torch.float64, requires_grad=True)
    volume = torch.randn(4, 5, 8, dtype=torch.float64, requires_grad=True)
    torch.library.opcheck(torch.ops.thon.backproject.default, (images, paths, 4, 5, 8))
    torch.library.opcheck(torch.ops.thon.project.default, (volume, paths, 6, 7))


def test_wrong_input_is_refused():
    paths = ray_paths(3, 4, 5, 6)
    with pytest.raises(ValueError, match="rank 3"):
        kernels.backproject(torch.ones(6, 7), paths, (4, 5))
    with pytest.raises(ValueError, match="float32 or float64"):
        kernels.project(torch.ones(4, 5, 6, dtype=torch.int32), paths, 6)
    with pytest.raises(ValueError, match="2 images"):
        kernels.backproject(torch.ones(2, 6, 7), paths, (4, 5))
    with pytest.raises(ValueError, match="paths"):
        kernels.project(torch.ones(4, 5, 6), paths[:, 0], 6)
    with pytest.raises(ValueError, match="detach"):
        kernels.project(torch.ones(4, 5, 6), paths.clone().requires_grad_(), 6)
    with pytest.raises(ValueError, match="positive"):
        kernels.project(torch.ones(4, 5, 6), paths, 0)
