"""The likelihood core against the same sums written out in float64, and against truth by construction."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.algorithms.likelihood_phantom import PIXEL, Simulated, ctf_image, phantom, simulate
from thon.algorithms.likelihood.expectation import Expectation, Expected, NoiseModel, Poses, make_blocks
from thon.algorithms.likelihood.images import BlockOptics, prepare_block, straightening
from thon.algorithms.likelihood.noise import first_noise, update_noise
from thon.algorithms.likelihood.pixels import FourierPixels
from thon.algorithms.likelihood.poses import RotationGrid, ShiftGrid
from thon.algorithms.likelihood.references import particle_mask, to_spectrum
from thon.algorithms.likelihood.search import DenseSlices, References, SearchPlan
from thon.base.errors import InputError
from thon.ops.aberration import coma_phase
from thon.ops.ctf import electron_wavelength
from thon.ops.fsc import fourier_shell_correlation
from thon.ops.rotation import rotation_about
from thon.ops.symmetry import symmetry_rotations

BOX, SHELLS = 32, 12
STILL = np.eye(3)[None]


def plan(**changes: object) -> SearchPlan:
    settings = {
        "grid": RotationGrid(3, STILL, rotation_about((1, 2, 3), 5.0)),
        "shifts": ShiftGrid(0.5, 1.0, (0.1, -0.2)),
        "first": 1,
        "shells": (SHELLS,),
    }
    return SearchPlan(**(settings | changes))  # pyright: ignore[reportArgumentType]


def expectation(data: Simulated, how: SearchPlan, volume: np.ndarray, noise: float = 1.0) -> Expectation:
    spectra = to_spectrum(torch.from_numpy(volume.astype(np.float32))[None], BOX // 2)
    n = len(data.particles)
    model = NoiseModel(np.full((1, BOX // 2), noise), np.ones(2), np.ones(n), 10.0)
    return Expectation(
        data.particles, data, [References(spectra, torch.zeros(1))], how, model, BOX * PIXEL, SHELLS, 100.0
    )


def run(data: Simulated, how: SearchPlan, volume: np.ndarray, **settings: float) -> Expected:
    blocks = make_blocks(data.particles, np.zeros(len(data.particles), int), 4)
    return expectation(data, how, volume, **settings).run(Poses.start(data.particles), blocks)


def slow_scores(data: Simulated, i: int, how: SearchPlan, shells: int, noise: float) -> np.ndarray:
    """Log weights [shifts, rotations] of one particle, by plain sums over whole spectra in float64.

    Projections are those of the phantom itself, not cut from a spectrum.
    """
    ctf = data.particles.ctf
    assert ctf is not None
    mask = particle_mask(BOX, 100.0 / PIXEL, 2).numpy().astype(np.float64)
    centre = np.exp(2j * np.pi * np.add.outer(np.fft.fftfreq(BOX), np.fft.fftfreq(BOX)) * (BOX // 2))
    image = np.fft.fft2(data.images[i] * mask) * centre / BOX
    y, x = np.meshgrid(np.fft.fftfreq(BOX) * BOX, np.fft.fftfreq(BOX) * BOX, indexing="ij")
    inside = np.round(np.hypot(y, x)) < shells
    transfer = ctf_image(
        BOX, float(ctf.defocus_u[i] + ctf.defocus_v[i]) / 2, 300.0, float(ctf.angle[i]), data.particles.optics[0].optics
    )
    ball, grid = phantom(), how.grid
    rotations = grid.matrices(how.first, np.arange(grid.count(how.first)))
    scores = np.empty((len(how.shifts.coarse), len(rotations)))
    for r, rotation in enumerate(rotations):
        model = np.fft.fft2(ball.projection(rotation, np.zeros(2), BOX)) * centre / BOX * transfer
        for t, shift in enumerate(how.shifts.coarse):
            moved = image * np.exp(2j * np.pi * (y * shift[0] + x * shift[1]) / BOX)
            apart = (np.abs(moved - model) ** 2)[inside].sum() / 2  # each pixel and its conjugate
            prior = -(shift @ shift) * PIXEL**2 / (2 * 10.0**2)
            scores[t, r] = -apart / noise + prior
    return scores


def test_posterior_is_that_of_sums_written_out():
    data = simulate(2, BOX, noise=4.0)
    how = plan()
    found = run(data, how, phantom().volume(BOX), noise=16.0)
    for i in range(2):
        weights = np.exp((scores := slow_scores(data, i, how, SHELLS, 16.0)) - scores.max())
        largest = 1 / weights.sum()
        # The phantom's own projections know no interpolation.
        assert abs(found.poses.probability[i] - largest) < 0.1 * largest
        ordered = np.sort(weights.ravel())[::-1].cumsum() / weights.sum()
        smallest = np.searchsorted(ordered, 0.999) + 1
        assert smallest <= found.poses.significant[i] <= 1.4 * smallest + 5
        t, r = np.unravel_index(weights.argmax(), weights.shape)
        np.testing.assert_allclose(found.poses.rotation[i], how.grid.matrices(1, np.array([r]))[0], atol=1e-9)
        np.testing.assert_allclose(found.poses.shift[i], how.shifts.coarse[t] * PIXEL, atol=1e-9)


def test_residual_is_that_of_sums_written_out():
    data, how = simulate(2, BOX, noise=4.0), plan()
    found = run(data, how, phantom().volume(BOX), noise=16.0)
    (statistics,) = found.statistics
    for i in range(2):
        scores = slow_scores(data, i, how, SHELLS, 16.0)
        weights = np.exp(scores - scores.max())
        weights /= weights.sum()
        prior = -np.square(how.shifts.coarse * PIXEL).sum(1) / 200
        # −16 (log weight less prior) is half of what the reference leaves unexplained over the whole plane.
        expected = -(weights * (scores - prior[:, None])).sum() * 16
        half = statistics.residual[i, :SHELLS].sum()
        assert abs(half - expected) < 0.01 * expected + 16 * 0.5 * abs(phantom().volume(BOX).mean())


def test_levels_find_the_pose_that_was_simulated():
    data = simulate(12, BOX, noise=0.5)
    how = plan(first=2, shells=(8, 12, 14), shifts=ShiftGrid(0.5, 3.0))
    found = run(data, how, phantom().volume(BOX), noise=0.25)
    trace = np.einsum("nij,nij->n", found.poses.rotation, data.rotation)
    angle = np.rad2deg(np.arccos(np.clip((trace - 1) / 2, -1, 1)))
    # Rotations lie 3.75° apart.
    assert np.median(angle) < 4
    assert np.sort(angle)[-2] < 9
    assert np.median(np.linalg.norm(found.poses.shift - data.shift, axis=1)) < 0.4 * PIXEL


def test_search_near_the_last_pose_finds_it_and_stays_there():
    data = simulate(8, BOX, noise=0.5)
    how = plan(first=3, shells=(12, 14), sigma=4.0, shifts=ShiftGrid(0.5, 3.0))
    step = expectation(data, how, phantom().volume(BOX), noise=0.25)
    blocks = make_blocks(data.particles, np.zeros(8, int), 8)
    start = Poses.start(data.particles)
    start.rotation[:] = rotation_about((1, 0, 0), 5.0) @ data.rotation
    found = step.run(start, blocks)
    moved, error = (
        np.rad2deg(np.arccos(np.clip((np.einsum("nij,nij->n", found.poses.rotation, other) - 1) / 2, -1, 1)))
        for other in (start.rotation, data.rotation)
    )
    assert moved.max() < 12.5
    assert np.median(error) < 3.75


def test_search_near_leaves_no_particle_without_a_pose():
    data = simulate(30, BOX, noise=0.5)
    # The rotations tried lie 7.5° and 3.75° apart: hardly a particle has one within three sigma.
    how = plan(first=3, shells=(12, 14), sigma=0.05, shifts=ShiftGrid(0.5, 1.0))
    step = expectation(data, how, phantom().volume(BOX), noise=0.25)
    start = Poses.start(data.particles)
    start.rotation[:] = data.rotation
    found = step.run(start, make_blocks(data.particles, np.zeros(30, int), 8))
    trace = np.einsum("nij,nij->n", found.poses.rotation, data.rotation)
    assert np.rad2deg(np.arccos(np.clip((trace - 1) / 2, -1, 1))).max() < 7.5
    assert (found.poses.significant > 0).all()


def test_groups_of_the_same_pixels_share_their_slices(monkeypatch: pytest.MonkeyPatch):
    data = simulate(9, BOX)
    one = data.particles.optics[0]
    tilted, larger = replace(one, name="b", beam_tilt=(1.0, 0.0)), replace(one, name="c", pixel_size=1.02 * PIXEL)
    data = replace(data, particles=replace(data.particles, optics=(one, tilted, larger), group=np.arange(9) % 3))
    model = NoiseModel(np.ones((3, BOX // 2)), np.ones(2), np.ones(9), 10.0)
    step = replace(expectation(data, plan(), phantom().volume(BOX)), model=model)
    cut, calls = References.slices, []

    def count(self: References, *given: object) -> DenseSlices:
        calls.append(given)
        return cut(self, *given)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(References, "slices", count)
    step.run(Poses.start(data.particles), make_blocks(data.particles, np.zeros(9, int), 8))
    assert len(calls) == 2


def test_search_near_the_last_pose_looks_at_its_mates_too():
    data = simulate(8, BOX, noise=0.5)
    mates = symmetry_rotations("D2")
    blocks = make_blocks(data.particles, np.zeros(8, int), 8)
    start = Poses.start(data.particles)
    # Each particle was mistaken for one turned by an axis that it lacks.
    start.rotation[:] = data.rotation @ mates[np.arange(8) % 4]
    error: list[np.ndarray] = []
    for known in (STILL, mates):
        how = plan(first=3, shells=(12, 14), sigma=4.0, shifts=ShiftGrid(0.5, 3.0), mates=known)
        found = expectation(data, how, phantom().volume(BOX), noise=0.25).run(start, blocks)
        trace = np.einsum("nij,nij->n", found.poses.rotation, data.rotation)
        error.append(np.rad2deg(np.arccos(np.clip((trace - 1) / 2, -1, 1))))
    mistaken = np.arange(8) % 4 > 0
    assert error[0][mistaken].min() > 160
    assert np.sort(error[1])[-2] < 9


def test_maximisation_gives_the_map_back():
    data = simulate(200, BOX, noise=0.5)
    how = plan(first=2, shells=(8, 12, 14), shifts=ShiftGrid(0.5, 3.0))
    volume = phantom().volume(BOX)
    found = run(data, how, volume, noise=0.25)
    sums = found.sums[0].of_class(0, STILL)
    made = sums.reconstruct(BOX, sums.mean_weight() * 0.05)
    curve = fourier_shell_correlation(made.double(), torch.from_numpy(volume), PIXEL).correlation
    assert curve[1:6].min() > 0.98  # the balls are smooth: finer shells hold hardly anything
    ratio = float((made * torch.from_numpy(volume)).sum() / np.square(volume).sum())
    assert 0.9 < ratio < 1.1


def test_noise_is_estimated():
    data = simulate(100, BOX, noise=3.0)
    first = first_noise(data.particles, data, BOX * PIXEL, BOX // 2, 200.0)
    # A mask takes a part of the noise away: what is left of it is its mean square.
    kept = float(particle_mask(BOX, 200.0 / PIXEL, 2).square().mean())
    assert np.abs(first.noise[0, 6:] / (9 * kept) - 1).max() < 0.1
    found = run(data, plan(first=2, shells=(10, 12), shifts=ShiftGrid(0.5, 3.0)), phantom().volume(BOX), noise=9.0)
    model = NoiseModel(np.full((1, BOX // 2), 9.0), np.ones(2), np.ones(100), 10.0)
    new = update_noise(model, data.particles, found, BOX * PIXEL, SHELLS)
    kept = float(particle_mask(BOX, 100.0 / PIXEL, 2).square().mean())
    assert np.abs(new.noise[0, 2:11] / (9 * kept) - 1).max() < 0.15
    assert abs(new.norm.mean() - 1) < 1e-9
    assert 2**0.5 <= new.offset_sigma < 10


def test_norms_are_relative_to_the_own_optics_group():
    generator = np.random.default_rng(0)
    data = simulate(200, BOX, noise=1.0)
    group = np.arange(200) % 2
    # The grey values of one group have half the noise of the other's, and those of each vary by a tenth.
    norm = generator.normal(1, 0.1, 200)
    optics = tuple(replace(data.particles.optics[0], name=name) for name in "ab")
    particles = replace(data.particles, optics=optics, group=group)
    noise = generator.normal(0, 1, data.images.shape) * (norm / (1 + group))[:, None, None]
    seen = replace(data, particles=particles, images=noise.astype(np.float32))
    model = first_noise(particles, seen, BOX * PIXEL, BOX // 2, 100.0)
    references = [References(to_spectrum(torch.zeros(1, BOX, BOX, BOX), BOX // 2), torch.zeros(1))]
    how = plan(shifts=ShiftGrid(0.5, 0.0))
    step = Expectation(particles, seen, references, how, model, BOX * PIXEL, SHELLS, 100.0)
    found = step.run(Poses.start(particles), make_blocks(particles, np.zeros(200, int), 100))
    new = update_noise(model, particles, found, BOX * PIXEL, SHELLS)
    for one in range(2):
        mine = group == one
        assert new.norm[mine].mean() == pytest.approx(1, abs=1e-9)
        assert np.corrcoef(new.norm[mine], norm[mine])[0, 1] > 0.9
    assert np.median(new.noise[0] / new.noise[1]) == pytest.approx(4, rel=0.1)


@pytest.mark.parametrize("factor", [1e-3, 1e3])
def test_images_that_are_not_normalised_are_refused(factor: float):
    data = simulate(4, BOX)
    with pytest.raises(InputError, match="optics group 'one' are not normalised"):
        first_noise(data.particles, replace(data, images=data.images * factor), BOX * PIXEL, BOX // 2, 100.0)


def test_results_are_the_same_bits_with_more_threads():
    data = simulate(24, BOX, noise=2.0)
    how = plan(first=2, shells=(8, 12))
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(run(data, how, phantom().volume(BOX), noise=4.0))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0].sums[0].values, found[1].sums[0].values)
    assert found[0].sums[0].values.any()
    for name in Poses.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(found[0].poses, name), getattr(found[1].poses, name))


def test_pixels_of_another_sampling_lie_at_the_same_frequencies():
    # 48 px of 2 Å see the field of 24 px of 4 Å; a reference of 32 × 3 Å has the same extent.
    coarse, fine = FourierPixels(24, 4.0, 96.0, 9), FourierPixels(48, 2.0, 96.0, 9)
    np.testing.assert_allclose(coarse.places, fine.places)
    other = FourierPixels(40, 3.0, 96.0, 9)
    np.testing.assert_allclose(other.places / 96.0, other.frequency, atol=1e-12)
    assert other.shell.max() == 8


def test_magnification_takes_true_to_recorded_frequencies():
    matrix = ((1.03, 0.01), (0.0, 0.98))
    pixels = FourierPixels(32, 4.0, 128.0, 10, matrix)
    np.testing.assert_allclose(pixels.frequency, pixels.places / 128.0 @ np.array(matrix).T, atol=1e-12)


@pytest.mark.parametrize("symmetry", [1, 2])
def test_unique_rotations_cover_all_but_for_symmetry(symmetry: int):
    operators = np.stack([rotation_about((1, 0, 0), 360 * k / symmetry) for k in range(symmetry)])
    grid = RotationGrid(3, operators, np.eye(3))
    kept = grid.matrices(2, grid.unique(2))
    assert len(kept) < grid.count(2) * (0.75 if symmetry == 2 else 1.01)
    generator = np.random.default_rng(0)
    from thon.ops.rotation import rotation_from_quaternion  # noqa: PLC0415

    quaternion = generator.normal(size=(200, 4))
    random = rotation_from_quaternion(quaternion / np.linalg.norm(quaternion, axis=1, keepdims=True))
    trace = np.einsum("aij,sjk,bik->abs", random, operators, kept).max((1, 2))
    assert np.rad2deg(np.arccos((trace - 1) / 2)).max() < 14


def test_tilted_beam_is_undone():
    data = simulate(2, BOX, noise=0.0)
    tilt = (1.5, -2.0)
    s = np.fft.fftfreq(BOX, PIXEL)
    frequency = torch.from_numpy(np.stack(np.meshgrid(s, s, indexing="ij"), -1))
    optics = data.particles.optics[0]
    coma = coma_phase(frequency, tilt, wavelength=electron_wavelength(300.0), cs=2.7).numpy()
    coma[BOX // 2] = coma[:, BOX // 2] = 0
    seen = np.fft.ifft2(np.fft.fft2(data.images) * np.exp(1j * coma)).real.astype(np.float32)
    pixels = FourierPixels.of(optics, BOX * PIXEL, 12)
    still = np.zeros((2, 2), np.int64)
    rest = (torch.ones(12), pixels, None)
    seen_flat = BlockOptics(torch.ones(2, len(pixels.index)), torch.ones(2))
    turn = straightening(replace(optics, beam_tilt=tilt), pixels)
    plain = prepare_block(torch.from_numpy(data.images), still, seen_flat, *rest)
    straight = prepare_block(torch.from_numpy(seen), still, replace(seen_flat, turn=turn), *rest)
    crooked = prepare_block(torch.from_numpy(seen), still, seen_flat, *rest)
    torch.testing.assert_close(straight.summed, plain.summed, atol=2e-4, rtol=0)
    assert (crooked.summed - plain.summed).abs().max() > 0.01
