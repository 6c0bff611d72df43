"""Ewald's sphere in reconstruction: two waves where they belong, against images made with the exact curvature.

An object of 90 Å seen by electrons of 2 kV at 4.7 Å is as thick for them as one of 320 Å for 300 kV at 2.5 Å. On 500
such images relion_reconstruct 3.1.3 --ewald --mask_diameter 100 reaches a mean FSC with the truth (0 to 4.9 Å) of
0.984 with the curvature that ours takes without --reverse-curvature, 0.937 with the other, and 0.983 with neither.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.algorithms.aberrated_phantom import Microscope, balls_volume, optics_group, simulate_aberrated
from tests.algorithms.likelihood_phantom import Simulated, phantom
from thon.algorithms.likelihood.ewald import ball_correlation, separate_waves
from thon.algorithms.likelihood.expectation import Poses
from thon.algorithms.likelihood.images import BlockImages
from thon.algorithms.likelihood.known_poses import KnownPoses
from thon.algorithms.likelihood.noise import first_noise
from thon.algorithms.likelihood.pixels import FourierPixels
from thon.algorithms.reconstruct_particles import ReconstructParticlesOptions, reconstruct_with_poses
from thon.base.errors import InputError
from thon.data.optics import Optics
from thon.data.particles import ParticleCtf
from thon.ops.fsc import fourier_shell_correlation
from thon.ops.particle_ctf import particle_ctf

BOX, PIXEL, DIAMETER, WIDTH = 48, 2.2, 90.0, 0.7
GROUP = optics_group(BOX, PIXEL, optics=Optics(2.0, 0.0, 0.1))
BALLS = phantom(3, balls=30, radius=18.0)


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    return balls_volume(BALLS, WIDTH, BOX)


def simulate(curvature: int) -> Simulated:
    microscope = Microscope(GROUP, curvature, width=WIDTH, defocus=(1500.0, 3500.0))
    return simulate_aberrated(BALLS, microscope, 300, noise=0.1)


def agreement(data: Simulated, truth: np.ndarray, curvature: int) -> tuple[float, float]:
    """Mean FSC of a map with the truth in fine shells, and the map's greys over the truth's."""
    extent, particles = BOX * PIXEL, data.particles
    model = first_noise(particles, data, extent, BOX // 2, DIAMETER)
    poses = Poses.start(particles)
    known = KnownPoses(particles, data, poses, model, extent, BOX // 2, DIAMETER, curvature=curvature)
    sums = known.sum(np.zeros(len(particles), np.int64))[0]
    found = sums.of_class(0, np.eye(3)[None]).reconstruct(BOX)
    curve = fourier_shell_correlation(found, torch.from_numpy(truth), PIXEL).correlation
    return float(curve[12:22].mean()), float(np.polyfit(truth.ravel(), found.numpy().ravel(), 1)[0])


def test_the_right_curvature_is_better_than_none_and_the_wrong_one_worse(truth: np.ndarray):
    data = simulate(-1)
    flat, right, wrong = (agreement(data, truth, curvature) for curvature in (0, -1, 1))
    assert right[0] > flat[0] + 0.005
    assert wrong[0] < flat[0] - 0.05
    assert right[1] > flat[1] + 0.02 > wrong[1] + 0.05


def test_a_mirrored_set_wants_the_other_curvature(truth: np.ndarray):
    data = simulate(1)
    right, wrong = (agreement(data, truth, curvature) for curvature in (1, -1))
    assert right[0] > wrong[0] + 0.06


def test_what_options_mean():
    assert ReconstructParticlesOptions().curvature == 0
    assert ReconstructParticlesOptions(ewald=True).curvature == -1
    assert ReconstructParticlesOptions(ewald=True, reverse_curvature=True).curvature == 1
    with pytest.raises(ValueError, match="needs the CTF"):
        ReconstructParticlesOptions(ewald=True, ctf=False)
    with pytest.raises(ValueError, match="for ewald"):
        ReconstructParticlesOptions(reverse_curvature=True)


class TestWaves:
    ctf = ParticleCtf(*(np.array([v, v + 1]) for v in (2000.0, 1800.0, 30.0, 10.0, 20.0, 0.9)))

    def images(self, pixels: FourierPixels) -> BlockImages:
        generator = torch.Generator().manual_seed(0)
        spectra = torch.randn(2, 2, len(pixels.index), generator=generator)
        return BlockImages(spectra, spectra, torch.full((2, len(pixels.index)), 0.5), torch.zeros(2, 10))

    def waves(self, diameter: float, curvature: int = 1) -> tuple[FourierPixels, BlockImages, tuple]:
        pixels = FourierPixels.of(GROUP, BOX * PIXEL, 20)
        images = self.images(pixels)
        found = separate_waves(images, self.ctf, GROUP, pixels, diameter=diameter, curvature=curvature)
        return pixels, images, found

    def test_of_a_thin_object_they_make_the_flat_sphere(self) -> None:
        pixels, images, (one, other) = self.waves(0.01)
        transfer = particle_ctf(torch.from_numpy(pixels.true_frequency), self.ctf, GROUP).float()
        torch.testing.assert_close(one.values + other.values, images.summed * transfer[:, None], atol=1e-5, rtol=1e-5)
        expected = images.weights * transfer.square()
        torch.testing.assert_close(one.weights + other.weights, expected, atol=1e-4, rtol=1e-4)

    def test_of_a_thick_object_each_weighs_a_quarter(self) -> None:
        pixels, images, (one, other) = self.waves(1e6)
        s2 = torch.from_numpy(np.square(pixels.true_frequency).sum(1))
        fall = torch.from_numpy(self.ctf.scale)[:, None] * torch.exp(
            -torch.from_numpy(self.ctf.b_factor)[:, None] * s2 / 4
        )
        expected = (images.weights * fall.square() / 4).float()
        fine = torch.from_numpy(pixels.shell > 3)
        torch.testing.assert_close(one.weights[:, fine], expected[:, fine], atol=1e-4, rtol=1e-3)
        torch.testing.assert_close(other.weights[:, fine], one.weights[:, fine], atol=1e-6, rtol=1e-5)

    def test_they_lie_on_either_side_of_the_plane(self) -> None:
        pixels, _, (one, other) = self.waves(100.0)
        np.testing.assert_allclose(one.places[1:], pixels.places.T)
        np.testing.assert_allclose(one.places[0], -other.places[0])
        wavelength = 12.2642597 / np.sqrt(2000 * (1 + 0.9784756e-6 * 2000))
        expected = -wavelength * np.square(pixels.places).sum(1) / (2 * BOX * PIXEL)
        np.testing.assert_allclose(one.places[0], expected)
        _, _, (mirrored, _) = self.waves(100.0, -1)
        np.testing.assert_allclose(mirrored.places[0], other.places[0])

    def test_balls_are_alike_as_far_as_their_transform_says(self) -> None:
        axis = np.linspace(-50, 50, 20001)
        cut = np.pi * (50**2 - axis**2)  # area of the ball's section
        for distance in (0.0, 1e-4, 0.004, 0.013, 0.03):
            expected = (cut * np.cos(2 * np.pi * axis * distance)).sum() / cut.sum()
            assert ball_correlation(np.array([distance]), 100.0)[0] == pytest.approx(expected, abs=2e-5)


@pytest.mark.parametrize("changes", [{"ctf": None}, {"premultiplied": True}])
def test_images_without_both_waves_are_refused(changes: dict[str, object]):
    microscope = Microscope(GROUP, width=WIDTH, defocus=(1500.0, 3500.0))
    data = simulate_aberrated(BALLS, microscope, 4)
    particles = data.particles
    if "ctf" in changes:
        particles = replace(particles, ctf=None)
    else:
        particles = replace(particles, optics=(replace(GROUP, premultiplied=True),))
    with pytest.raises(InputError, match="Ewald's sphere cannot be told"):
        reconstruct_with_poses(particles, data, ReconstructParticlesOptions(ewald=True))
