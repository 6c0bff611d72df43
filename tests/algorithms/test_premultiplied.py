"""Images that were multiplied by their CTFs tell the same as those that were not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.algorithms.aberrated_phantom import Microscope, balls_volume, optics_group, simulate_aberrated
from tests.algorithms.likelihood_phantom import Simulated, phantom
from thon.algorithms.likelihood.averages import FirstAverages
from thon.algorithms.likelihood.expectation import Expectation, Expected, Poses, make_blocks
from thon.algorithms.likelihood.known_poses import KnownPoses
from thon.algorithms.likelihood.noise import first_noise, update_noise
from thon.algorithms.likelihood.poses import RotationGrid, ShiftGrid
from thon.algorithms.likelihood.references import to_spectrum
from thon.algorithms.likelihood.search import References, SearchPlan
from thon.ops.fsc import fourier_shell_correlation
from thon.ops.particle_ctf import particle_ctf, true_frequency

BOX, PIXEL, WIDTH, DIAMETER = 48, 3.0, 0.9, 80.0
EVEN = (0.2, 40.0, 0.0, -30.0, 1500.0)


def fsc(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return fourier_shell_correlation(torch.from_numpy(one), torch.from_numpy(other), PIXEL).correlation.numpy()


def premultiplied(data: Simulated) -> Simulated:
    """Multiplied over the whole spectrum, as extraction does it."""
    (group,), ctf = data.particles.optics, data.particles.ctf
    assert ctf is not None
    s = torch.fft.fftfreq(BOX, PIXEL, dtype=torch.float64)
    recorded = torch.stack(torch.meshgrid(s, s[: BOX // 2 + 1].abs(), indexing="ij"), -1)
    transfer = particle_ctf(true_frequency(recorded, group), ctf, group).numpy()
    images = np.fft.irfft2(np.fft.rfft2(data.images) * transfer).astype(np.float32)
    particles = replace(data.particles, optics=(replace(group, premultiplied=True),))
    return replace(data, particles=particles, images=images)


def simulate(noise: float, signal: float = 1.0) -> tuple[Simulated, Simulated]:
    """Particles, and the same multiplied by their CTFs."""
    group, ball = optics_group(BOX, PIXEL, even_zernike=EVEN), phantom()
    microscope = Microscope(group, width=WIDTH)
    plain = simulate_aberrated(replace(ball, weights=ball.weights * signal), microscope, 300, noise=noise, seed=5)
    return plain, premultiplied(plain)


@pytest.fixture(scope="module")
def pair() -> tuple[Simulated, Simulated]:
    return simulate(1.0)


def reconstruct(data: Simulated) -> np.ndarray:
    extent, poses = BOX * PIXEL, Poses.start(data.particles)
    model = first_noise(data.particles, data, extent, BOX // 2, DIAMETER)
    known = KnownPoses(data.particles, data, poses, model, extent, BOX // 2, DIAMETER)
    sums = known.sum(np.zeros(len(data.particles), np.int64))[0]
    return sums.of_class(0, np.eye(3)[None]).reconstruct(BOX).numpy()


def test_known_poses_give_the_same_map(pair: tuple[Simulated, Simulated]):
    plain, multiplied = (reconstruct(data) for data in pair)
    assert fsc(plain, multiplied)[: BOX // 2].min() > 0.999
    forgotten = replace(pair[1].particles, optics=pair[0].particles.optics)
    assert fsc(plain, reconstruct(replace(pair[1], particles=forgotten)))[1:12].mean() < 0.95


def test_noise_is_that_of_images_before_they_were_multiplied():
    """Also in shells in which the CTF leaves next to nothing, and the mask brings noise from others."""
    plain, multiplied = (
        first_noise(data.particles, data, BOX * PIXEL, BOX // 2, DIAMETER).noise[0] for data in simulate(1.0, 0.0)
    )
    np.testing.assert_allclose(multiplied[4:] / plain[4:], 1, atol=0.05)
    assert np.abs(multiplied[1:4] / plain[1:4] - 1).max() < 0.15


def expect(data: Simulated, width: float) -> tuple[Expectation, Expected]:
    """One step of a search from scratch with the true map."""
    volume = balls_volume(phantom(), width, BOX)
    grid = RotationGrid(3, np.eye(3)[None], np.eye(3))
    plan = SearchPlan(grid=grid, shifts=ShiftGrid(0.5, 3.0), first=2, shells=(8, 12, 14))
    model = first_noise(data.particles, data, BOX * PIXEL, BOX // 2, DIAMETER)
    references = References(to_spectrum(torch.from_numpy(volume)[None], BOX // 2), torch.zeros(1))
    step = Expectation(data.particles, data, [references], plan, model, BOX * PIXEL, 14, DIAMETER)
    blocks = make_blocks(data.particles, np.zeros(len(data.particles), np.int64), 64)
    return step, step.run(Poses.start(replace(data.particles, rotation=None, shift=None)), blocks)


def test_a_search_finds_the_same_poses_noise_and_map():
    microscope = Microscope(optics_group(BOX, PIXEL), width=1.6)
    plain = simulate_aberrated(phantom(), microscope, 64, noise=1.0, seed=5)
    found, noise, norm, maps = [], [], [], []
    for data in (plain, premultiplied(plain)):
        step, one = expect(data, 1.6)
        trace = np.einsum("nij,nij->n", one.poses.rotation, data.rotation)
        found.append(np.median(np.degrees(np.arccos(np.clip((trace - 1) / 2, -1, 1)))))
        new = update_noise(step.model, data.particles, one, BOX * PIXEL, 14)
        noise.append(new.noise[0])
        norm.append(new.norm.std())
        maps.append(one.sums[0].of_class(0, np.eye(3)[None]).reconstruct(BOX).numpy())
    assert found[0] < 4
    assert found[1] < 5
    np.testing.assert_allclose(noise[1][9:], noise[0][9:], rtol=0.1)
    assert norm[1] < 1.4 * norm[0] < 0.05
    assert fsc(*maps)[1:8].min() > 0.98


def test_first_averages_are_the_same(pair: tuple[Simulated, Simulated]):
    averages = [
        FirstAverages(
            data.particles, data, first_noise(data.particles, data, BOX * PIXEL, BOX // 2, DIAMETER), BOX, PIXEL,
            DIAMETER, 16,
        ).make(3, seed=1)
        for data in pair
    ]  # fmt: skip
    for one, other in zip(*averages, strict=True):
        assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.99
