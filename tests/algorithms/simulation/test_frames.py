"""Frames: motion, damage, counting, against what was put in."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch

from thon.algorithms.simulate import SimulatedMovie, simulate_spa
from thon.algorithms.simulation.camera import Camera, CameraOptions, make_camera, modulation_transfer
from thon.algorithms.simulation.frames import EVENT_GRID, count_events, count_frames, noise_free_frames
from thon.algorithms.simulation.motion import MotionOptions
from thon.algorithms.simulation.options import SimulateSpaOptions
from thon.algorithms.simulation.potential import Scatterers
from thon.data.motion import FrameMotion
from thon.ops.dose import exposure_weight
from thon.ops.fourier import fourier_shift

PIXEL_SIZE = 1.5
PERFECT = CameraOptions(
    efficiency=1.0, mtf=(0.9998, 0.9996), gain_spread=0.0, dead_pixels=0.0, dead_columns=0, hot_pixels=0.0
)
STILL = MotionOptions(drift=0.0, local=0.0)


def first_movie(scatterers: Scatterers, **options: object) -> SimulatedMovie:
    given = {"size": 200, "columns": 260, "pixel_size": PIXEL_SIZE, "frames": 6, "density": 4000.0} | options
    return next(simulate_spa(scatterers, SimulateSpaOptions(**given), 7))


def camera_of(movie: SimulatedMovie, options: CameraOptions = PERFECT) -> Camera:
    return make_camera(movie.exposure.field.image_shape, options, np.random.default_rng(1))


def shift_between(image: np.ndarray, moved: np.ndarray) -> np.ndarray:
    """Where `moved` shows what `image` has, (y, x) px: the peak of their correlation, found by a parabola."""
    window = np.hanning(image.shape[0])[:, None] * np.hanning(image.shape[1])
    spectra = [np.fft.fft2((one - one.mean()) * window) for one in (moved, image)]
    surface = np.fft.ifft2(spectra[0] * spectra[1].conj()).real
    peak = np.array(np.unravel_index(surface.argmax(), surface.shape))
    found = peak.astype(float)
    for axis, n in enumerate(surface.shape):
        step = np.eye(2, dtype=int)[axis]
        low, mid, high = (surface[tuple((peak + d * step) % surface.shape)] for d in (-1, 0, 1))
        found[axis] += 0.5 * (low - high) / (low - 2 * mid + high)
        found[axis] -= n * (found[axis] > n / 2)
    return found


def test_frames_show_the_specimen_where_the_motion_says(scatterers: Scatterers) -> None:
    movie = first_movie(scatterers, damage=False, motion=MotionOptions(drift=15.0, local=0.0))
    micrograph = movie.micrograph().numpy()
    assert np.abs(movie.motion.displacement[-1]).max() > 5
    for k, frame in enumerate(noise_free_frames(movie.contrast, movie.exposure, camera_of(movie))):
        expected = movie.motion.displacement[k] / PIXEL_SIZE
        np.testing.assert_allclose(shift_between(micrograph, frame.numpy()), expected, atol=0.1)
        # micrograph(p) = frame(p + displacement), pixel by pixel.
        back = fourier_shift(frame.double(), torch.tensor(-expected))[30:-30, 30:-30]
        assert np.corrcoef(back.numpy().ravel(), micrograph[30:-30, 30:-30].ravel())[0, 1] > 0.99


def test_parts_of_a_frame_move_by_the_local_motion(scatterers: Scatterers) -> None:
    movie = first_movie(
        scatterers, size=420, columns=380, frames=3, damage=False, motion=MotionOptions(drift=6.0, local=12.0)
    )
    micrograph = movie.micrograph().numpy()
    *_, frame = noise_free_frames(movie.contrast, movie.exposure, camera_of(movie))
    corners = np.array([[80, 80], [80, 300], [340, 80], [340, 300], [210, 190]])
    places = corners / np.array([420, 380]) - 0.5
    truth = movie.motion.at(places)[-1] / PIXEL_SIZE
    assert np.ptp(truth, axis=0).max() > 3
    found = [
        shift_between(*(one[r - 80 : r + 80, c - 80 : c + 80] for one in (micrograph, frame.numpy())))
        for r, c in corners
    ]
    # A patch sees the mean over its area, in which the motion bends.
    assert np.sqrt(((np.array(found) - truth) ** 2).mean()) < 0.35


def test_damage_takes_from_each_frequency_what_the_formula_says(scatterers: Scatterers) -> None:
    movie = first_movie(scatterers, frames=10, dose=60.0, motion=STILL)
    field = movie.exposure.field
    whole = replace(movie.exposure, field=replace(field, start=(0, 0), image_shape=field.shape))
    camera = make_camera(field.shape, PERFECT, np.random.default_rng(1))
    frames = list(noise_free_frames(movie.contrast, whole, camera))
    early, late = torch.fft.rfft2(frames[0]), torch.fft.rfft2(frames[-1])
    frequency = torch.hypot(torch.fft.rfftfreq(field.shape[1]), torch.tensor(3 / field.shape[0])) / PIXEL_SIZE
    expected = exposure_weight(frequency, 57.0, 300.0) / exposure_weight(frequency, 3.0, 300.0)
    measured = (late[3] / early[3]).abs()
    inside = slice(2, 60)
    torch.testing.assert_close(measured[inside], expected[inside], atol=0.01, rtol=0.01)
    assert expected[59] < 0.5 * expected[3]


def test_counts_are_what_the_dose_sends_and_noise_is_white(scatterers: Scatterers) -> None:
    movie = first_movie(scatterers, frames=8, dose=16.0, ice=False, density=1e-3, motion=STILL)
    camera = camera_of(movie, PERFECT.model_copy(update={"efficiency": 0.8, "mtf": (0.7, 0.4)}))
    frames = np.stack(list(count_frames(movie.contrast, movie.exposure, camera))).astype(float)
    expected = 2.0 * PIXEL_SIZE**2 * 0.8 * np.exp(-350 / 4000)
    assert frames.mean() == pytest.approx(expected, rel=4e-3)
    assert frames.var() == pytest.approx(expected, rel=0.01)
    power = (np.abs(np.fft.rfft2(frames - expected)) ** 2).mean(0) / frames[0].size
    fine, coarse = power[60:140, 80:120].mean(), power[3:40, 3:40].mean()
    assert fine / coarse == pytest.approx(1, abs=0.05)
    correlation = np.corrcoef(frames[0].ravel(), frames[1].ravel())[0, 1]
    assert abs(correlation) < 0.02


def test_the_camera_blurs_by_its_mtf(scatterers: Scatterers) -> None:
    movie = first_movie(scatterers, frames=1, damage=False, motion=STILL)
    blurred = PERFECT.model_copy(update={"mtf": (0.8, 0.5)})
    sharp, blunt = (
        next(noise_free_frames(movie.contrast, movie.exposure, camera_of(movie, options)))
        for options in (PERFECT, blurred)
    )
    window = torch.hann_window(200)[:, None] * torch.hann_window(260)[None]
    spectra = [torch.fft.rfft2(image * window) for image in (blunt, sharp)]
    radius = torch.hypot(torch.fft.fftfreq(200)[:, None], torch.fft.rfftfreq(260)[None])
    for at, value in ((0.25, 0.8), (0.45, float(modulation_transfer(torch.tensor(0.45), blurred)))):
        ring = (radius - at).abs() < 0.01
        ratio = (spectra[0] * spectra[1].conj())[ring].real.sum() / spectra[1].abs().square()[ring].sum()
        assert float(ratio) == pytest.approx(value, abs=0.01)


def test_averages_correlate_as_dose_and_dqe_foretell(scatterers: Scatterers) -> None:
    """Two averages of K pictures of the same things: FSC = SNR / (1 + SNR), SNR = K · |contrast|² · electrons · DQE."""
    movie = first_movie(
        scatterers, size=400, columns=440, frames=1, dose=60.0, density=15000.0, ice=False, damage=False, motion=STILL
    )
    options = PERFECT.model_copy(update={"efficiency": 0.85, "mtf": (0.8, 0.5)})
    camera, pictures = camera_of(movie, options), 20
    halves = [np.zeros(camera.shape), np.zeros(camera.shape)]
    for k in range(2 * pictures):
        counts = next(count_frames(movie.contrast, replace(movie.exposure, seed=1000 + k), camera))
        halves[k % 2] += counts / pictures
    window = np.hanning(400)[:, None] * np.hanning(440)
    first, second = (np.fft.rfft2((half - half.mean()) * window) for half in halves)
    ideal = np.fft.rfft2(movie.micrograph().numpy() * window)
    radius = np.hypot(np.fft.fftfreq(400)[:, None], np.fft.rfftfreq(440)[None])
    electrons = 60 * PIXEL_SIZE**2 * movie.exposure.transmission
    transfer = modulation_transfer(torch.from_numpy(radius), options).numpy()
    found: list[float] = []
    for low, high in ((0.03, 0.08), (0.08, 0.14), (0.14, 0.2), (0.2, 0.28)):
        ring = (radius >= low) & (radius < high)
        seen = (first * second.conj())[ring].real.sum()
        seen /= np.sqrt((np.abs(first[ring]) ** 2).sum() * (np.abs(second[ring]) ** 2).sum())
        dqe = 0.85 * transfer[ring] ** 2
        signal = (np.abs(ideal[ring]) ** 2 * dqe).sum() * pictures * electrons
        snr = signal / ((window**2).sum() * ring.sum())
        assert seen == pytest.approx(snr / (1 + snr), abs=0.04)
        found.append(snr)
    assert found[0] > 1.5
    assert found[2] > 0.05


def test_gain_defects_and_hot_pixels_are_in_the_counts(scatterers: Scatterers) -> None:
    movie = first_movie(scatterers, frames=300, dose=1200.0, ice=False, density=1e-3, motion=STILL)
    options = CameraOptions(gain_spread=0.05, dead_pixels=300.0, dead_columns=1, hot_pixels=100.0)
    camera = camera_of(movie, options)
    mean = movie.exposure.mean_counts(camera)
    total = np.zeros(camera.shape)
    for frame in islice(count_frames(movie.contrast, movie.exposure, camera), 60):
        total += frame / 60
    dead = camera.gain == 0
    marked = np.zeros(camera.shape, bool)
    for column, row, wide, high in camera.defects:
        marked[row : row + high, column : column + wide] = True
    np.testing.assert_array_equal(dead, marked)
    assert 60 < dead.sum() < 400
    assert total[dead].max() == 0
    assert camera.hot.sum() >= 1
    assert total[camera.hot].min() > 10 * mean
    good = ~dead & ~camera.hot
    corrected = total * camera.gain
    assert corrected[good].mean() == pytest.approx(mean, rel=2e-3)
    assert corrected[good].std() < 1.1 * np.sqrt(mean / 60)
    assert total[good].std() > 1.25 * corrected[good].std()


def test_electrons_on_the_fine_grid_are_the_same_picture(scatterers: Scatterers) -> None:
    motion = MotionOptions(drift=12.0, local=4.0)
    movie = first_movie(scatterers, frames=3, dose=60.0, damage=False, motion=motion, density=6000.0)
    camera = camera_of(movie, PERFECT.model_copy(update={"mtf": (0.8, 0.5), "gain_spread": 0.03}))
    expected = list(noise_free_frames(movie.contrast, movie.exposure, camera))
    for k, events in enumerate(count_events(movie.contrast, movie.exposure, camera)):
        if k == 1:
            continue
        assert events.min() >= 0
        assert (events.max(0) < np.array(camera.shape) * EVENT_GRID).all()
        assert len(np.unique(events[:, 0] % EVENT_GRID)) == EVENT_GRID
        pixel = events // EVENT_GRID
        counts = np.zeros(camera.shape)
        np.add.at(counts, tuple(pixel.T), 1)
        mean = movie.exposure.mean_counts(camera)
        assert counts.mean() == pytest.approx(mean, rel=4e-3)
        contrast, ideal = counts * camera.gain / mean - 1, expected[k].numpy()
        # The best multiple of the ideal frame is that frame itself; what is left is Poisson noise.
        assert (contrast * ideal).sum() / (ideal**2).sum() == pytest.approx(1, abs=0.05)
        assert (contrast - ideal).var() == pytest.approx(1 / mean, rel=0.05)


def test_the_same_seed_counts_the_same_and_another_does_not(scatterers: Scatterers) -> None:
    movie = first_movie(scatterers, frames=2)
    camera = camera_of(movie)
    first, second = (list(count_frames(movie.contrast, movie.exposure, camera)) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    other = next(count_frames(movie.contrast, replace(movie.exposure, seed=1), camera))
    assert (other != first[0]).mean() > 0.3
    assert (first[0] != first[1]).mean() > 0.3


def test_a_motion_of_one_frame_is_none(scatterers: Scatterers) -> None:
    movie = first_movie(scatterers, frames=1)
    assert isinstance(movie.motion, FrameMotion)
    np.testing.assert_array_equal(movie.motion.displacement, 0)
    assert movie.motion.local is None
