"""Products and sums over poses: compiled and plain versions agree, and both with sums written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from thon import kernels
from thon.kernels.pose_products import (
    cut_slices_reference,
    insert_slices_reference,
    score_poses_reference,
    sum_poses_reference,
)
from thon.ops.rotation import rotation_about, rotation_from_quaternion

SHAPE = (17, 21, 10)


def turns(count: int, seed: int = 0) -> torch.Tensor:
    quaternion = np.random.default_rng(seed).normal(size=(count, 4))
    rotation = rotation_from_quaternion(quaternion / np.linalg.norm(quaternion, axis=1, keepdims=True))
    return torch.from_numpy(np.ascontiguousarray(rotation.transpose(0, 2, 1)[..., 1:], np.float32))


class Case:
    """Two volumes, five images, four shifts, three groups of children with rows."""

    def __init__(self, children: int = 8, pixels: int = 530) -> None:
        generator = torch.Generator().manual_seed(1)
        self.volumes = torch.randn(2, *SHAPE, 2, generator=generator)
        self.places = 6 * torch.rand(2, pixels, generator=generator) - 3
        self.places[1].abs_()
        self.which = torch.tensor([0, 1, 1])
        self.rotations = turns(3 * children).reshape(3, children, 3, 2)
        self.starts = torch.tensor([0, 5, 5, 12])
        self.particles = torch.tensor([0, 0, 2, 2, 4, 1, 1, 1, 3, 3, 4, 4])
        self.shifts = torch.tensor([0, 1, 0, 3, 2, 0, 1, 2, 0, 3, 1, 2])
        self.images, self.masked = (torch.randn(5, 2, pixels + 7, generator=generator) for _ in range(2))
        self.weights = torch.rand(5, pixels + 7, generator=generator)
        self.ramps = torch.randn(4, 2, pixels + 7, generator=generator)

    def poses(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        return self.volumes, self.which, self.rotations, self.starts, self.particles, self.shifts

    def spectra(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        return self.images, self.weights, self.ramps, self.places


def test_compiled_slices_agree_with_the_reference():
    case = Case()
    which, rotations = torch.tensor([0, 1, 1, 0]), turns(4, 3)
    places = case.places * 4  # partly beyond the volume
    found = kernels.cut_slices(case.volumes, which, rotations, places)
    expected = cut_slices_reference(case.volumes, which, rotations, places)
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-5)
    assert (found == 0).any()
    assert (found != 0).any()


def test_slice_through_samples_takes_them_and_their_conjugates():
    volume = torch.randn(1, *SHAPE, 2, generator=torch.Generator().manual_seed(2))
    still = torch.tensor([[[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]])
    places = torch.tensor([[3.0, -2.0, 1.0], [2.0, 4.0, -5.0]])
    found = kernels.cut_slices(volume, torch.tensor([0]), still, places)[0]
    expected = [volume[0, 8, 13, 2], volume[0, 8, 8, 4], volume[0, 8, 9, 5] * torch.tensor([1.0, -1.0])]
    torch.testing.assert_close(found.T, torch.stack(expected))


@pytest.mark.parametrize("children", [1, 2, 5, 8])
def test_scores_are_the_formula(children: int):
    case = Case(children)
    found = kernels.score_poses(*case.poses(), *case.spectra())
    n = case.places.shape[1]
    group = [0] * 5 + [2] * 7
    for row in range(12):
        g, i, t = group[row], case.particles[row], case.shifts[row]
        cut = cut_slices_reference(case.volumes, case.which[g].expand(children), case.rotations[g], case.places)
        p = torch.complex(cut[:, 0], cut[:, 1]).to(torch.complex128)
        y = torch.complex(*case.images[i, :, :n]).to(torch.complex128)
        ramp = torch.complex(*case.ramps[t, :, :n]).to(torch.complex128)
        direct = ((y * ramp).conj() * p).real.sum(1) - (case.weights[i, :n].double() * p.abs().square()).sum(1)
        torch.testing.assert_close(found[row].double(), direct, atol=1e-3, rtol=0)
    torch.testing.assert_close(found, score_poses_reference(*case.poses(), *case.spectra()), atol=1e-3, rtol=0)


def test_sums_agree_with_the_reference():
    case = Case(3)
    posterior = torch.rand(12, 3, generator=torch.Generator().manual_seed(5))
    posterior[posterior < 0.4] = 0
    starts = torch.tensor([0, 10, 200, 530])
    rest = (posterior, case.images, case.masked, case.weights, case.ramps, case.places, starts)
    both = [how(*case.poses(), *rest) for how in (kernels.sum_poses, sum_poses_reference)]
    for found, expected in zip(*both, strict=True):
        torch.testing.assert_close(found, expected, atol=2e-4, rtol=1e-4)
        assert found.abs().max() > 0.1


def test_sums_of_one_pose_are_its_image():
    case = Case(1)
    posterior = torch.zeros(12, 1)
    posterior[3] = 1
    starts = torch.tensor([0, 530])
    sums, weights, _, _ = kernels.sum_poses(
        *case.poses(), posterior, case.images, case.masked, case.weights, case.ramps, case.places, starts
    )
    image, ramp = torch.complex(*case.images[2, :, :530]), torch.complex(*case.ramps[3, :, :530])
    torch.testing.assert_close(torch.complex(sums[0, 0], sums[0, 1]), image * ramp)
    torch.testing.assert_close(weights[0], case.weights[2, :530])
    assert not sums[1:].any()
    assert not weights[1:].any()


def test_inserting_is_the_adjoint_of_cutting():
    case, generator = Case(), torch.Generator().manual_seed(7)
    which, rotations = torch.tensor([0, 1, 1]), turns(3, 9)
    sums = torch.randn(3, 2, 530, generator=generator)
    totals = torch.zeros(2, *SHAPE, 3, dtype=torch.int64)
    kernels.insert_slices(totals, which, rotations, sums, torch.ones(3, 530), case.places)
    values = totals.double() / kernels.QUANTUM
    cut = kernels.cut_slices(case.volumes, which, rotations, case.places)
    forward = (cut.double() * sums).sum()
    back = (case.volumes.double() * values[..., :2]).sum()
    assert abs(forward - back) < 1e-3 * abs(forward)
    assert abs(values[..., 2].sum() - 3 * 530) < 0.01
    plain = torch.zeros_like(totals)
    insert_slices_reference(plain, which, rotations, sums, torch.ones(3, 530), case.places)
    assert (plain - totals).abs().max() < 200  # of 2^24


def test_sums_do_not_depend_on_the_order():
    case, generator = Case(), torch.Generator().manual_seed(8)
    which, rotations = torch.zeros(40, dtype=torch.int64), turns(40, 2)
    sums, weights = torch.randn(40, 2, 530, generator=generator), torch.rand(40, 530, generator=generator)
    forwards, backwards = (torch.zeros(1, *SHAPE, 3, dtype=torch.int64) for _ in range(2))
    kernels.insert_slices(forwards, which, rotations, sums, weights, case.places)
    for part in (slice(25, 40), slice(0, 25)):
        kernels.insert_slices(
            backwards, which[part], rotations[part].flip(0), sums[part].flip(0), weights[part].flip(0), case.places
        )
    assert torch.equal(forwards, backwards)


def test_sums_in_place_need_whole_numbers():
    with pytest.raises(ValueError, match="int64"):
        kernels.insert_slices(
            torch.zeros(1, *SHAPE, 3), torch.tensor([0]), turns(1), torch.zeros(1, 2, 5), torch.zeros(1, 5),
            torch.zeros(2, 5),
        )  # fmt: skip


def test_schemas_and_fakes_hold():
    case = Case(2)
    posterior, starts = torch.rand(12, 2), torch.tensor([0, 530])
    arguments = {
        torch.ops.thon.cut_slices: (case.volumes, case.which, case.rotations[:, 0].contiguous(), case.places),
        torch.ops.thon.score_poses: (*case.poses(), *case.spectra()),
        torch.ops.thon.sum_poses: (
            *case.poses(), posterior, case.images, case.masked, case.weights, case.ramps, case.places, starts
        ),
    }  # fmt: skip
    for operator, values in arguments.items():
        torch.library.opcheck(operator, values, test_utils=("test_schema", "test_faketensor"))


def test_symmetrised_spectrum_of_a_two_fold_is_exact():
    spectrum = torch.randn(13, 13, 7, 3, generator=torch.Generator().manual_seed(3))
    two_fold = torch.from_numpy(np.stack([np.eye(3), rotation_about((1, 0, 0), 180.0)]))
    found = kernels.symmetrise_spectrum(spectrum, two_fold)
    # It takes (z, y, x) to (z, −y, −x), where the conjugate of (−z, y, x) lies; the plane x = 0 has both.
    mate = spectrum.flip(0) * torch.tensor([1.0, -1.0, 1.0])
    z, y, x = torch.meshgrid(*(torch.arange(n) - m for n, m in ((13, 6), (13, 6), (7, 0))), indexing="ij")
    inside = z**2 + y**2 + x**2 <= 36
    torch.testing.assert_close(found[inside & (x > 0)], (spectrum + mate)[inside & (x > 0)], atol=1e-5, rtol=1e-5)
    assert not found[~inside].any()


def test_compiled_symmetry_agrees_with_the_reference():
    from thon.kernels.spectrum_symmetry import symmetrise_spectrum_reference  # noqa: PLC0415

    spectrum = torch.randn(13, 13, 7, 3, generator=torch.Generator().manual_seed(4))
    rotations = torch.stack([torch.eye(3, dtype=torch.float64), torch.from_numpy(rotation_about((1, 2, 3), 77.0))])
    found = kernels.symmetrise_spectrum(spectrum, rotations)
    expected = symmetrise_spectrum_reference(spectrum, rotations)
    inside = found.any(-1)
    torch.testing.assert_close(found[inside], expected[inside], atol=1e-4, rtol=1e-3)
    assert inside.sum() > 300
