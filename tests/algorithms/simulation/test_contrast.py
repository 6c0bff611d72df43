"""What the lens makes of a specimen, against the analytical CTF."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.algorithms.simulation.test_potential import projected
from thon.algorithms.simulate import SimulatedMovie, simulate_spa, simulate_tomo
from thon.algorithms.simulation.ice import ice_power
from thon.algorithms.simulation.optics import MicroscopeOptions
from thon.algorithms.simulation.options import SimulateSpaOptions, SimulateTomoOptions
from thon.algorithms.simulation.potential import Scatterers
from thon.data.atoms import AtomicModel
from thon.ops.ctf import amplitude_phase, electron_wavelength

PIXEL_SIZE = 1.5
STILL = MicroscopeOptions(bfactor=0.0, focal_spread=0.0, convergence=0.0, defocus=(9000.0, 9000.0), astigmatism=900.0)


def contrast_transfer(movie: SimulatedMovie, shape: tuple[int, int], rise: float = 0.0) -> np.ndarray:
    """sin of the aberration, written out in double precision: positive where matter would be bright."""
    microscope, ctf = movie.lens.options, movie.lens.ctf
    ky, kx = np.fft.fftfreq(shape[0], PIXEL_SIZE)[:, None], np.fft.rfftfreq(shape[1], PIXEL_SIZE)[None]
    k2, azimuth = ky**2 + kx**2, np.arctan2(ky, kx)
    spread = ctf.astigmatism / 2 * np.cos(2 * (azimuth - math.radians(ctf.angle)))
    wavelength = electron_wavelength(microscope.voltage)
    gamma = math.pi * wavelength * k2 * (ctf.defocus + rise + spread)
    gamma -= 0.5 * math.pi * microscope.cs * 1e7 * wavelength**3 * k2**2
    return np.sin(gamma + math.radians(ctf.phase_shift) + amplitude_phase(microscope.amplitude_contrast))


def first_movie(scatterers: Scatterers, **options: object) -> SimulatedMovie:
    given = {"size": 240, "columns": 300, "pixel_size": PIXEL_SIZE, "frames": 4, "microscope": STILL} | options
    return next(simulate_spa(scatterers, SimulateSpaOptions(**given), 3))


@pytest.mark.parametrize("wave", [False, True])
def test_the_patch_of_a_particle_is_its_model_in_its_pose_seen_through_the_lens(
    model: AtomicModel, scatterers: Scatterers, wave: bool
) -> None:
    movie = first_movie(scatterers, ice=False, density=4000.0, microscope=STILL.model_copy(update={"wave": wave}))
    image = movie.micrograph().numpy()
    assert image.shape == (240, 300)
    side, inner, compared = 192, slice(72, 120), 0
    for k in movie.seen.tolist():
        row, column = (int(n) for n in movie.pixel[k])
        near = np.linalg.norm(movie.pixel - movie.pixel[k], axis=1) < 75
        if near.sum() > 1 or not (24 <= row < 216 and 24 <= column < 276):
            continue
        phase = projected(model, scatterers.centre, movie.view.rotation[k], movie.pixel[k] % 1, side, PIXEL_SIZE)
        transfer = contrast_transfer(movie, (side, side), float(movie.view.height[k]))
        expected = np.fft.irfft2(np.fft.rfft2(phase) * -2 * transfer, s=(side, side))[inner, inner]
        seen = image[row - 24 : row + 24, column - 24 : column + 24]
        assert np.corrcoef(seen.ravel(), expected.ravel())[0, 1] > 0.99
        assert seen.std() == pytest.approx(expected.std(), rel=0.05)
        compared += 1
    assert compared >= 2


@pytest.mark.parametrize("phase_shift", [0.0, 90.0])
def test_thon_rings_lie_where_the_ctf_says(scatterers: Scatterers, phase_shift: float) -> None:
    microscope = STILL.model_copy(update={"phase_shift": phase_shift})
    movie = first_movie(
        scatterers, carbon=100.0, thickness=10.0, density=1e-3, microscope=microscope, size=500, columns=500
    )
    image = movie.micrograph().numpy()
    power = np.abs(np.fft.rfft2(image * np.hanning(500)[:, None] * np.hanning(500))) ** 2
    squared = contrast_transfer(movie, image.shape) ** 2
    frequency = np.hypot(np.fft.fftfreq(500, PIXEL_SIZE)[:, None], np.fft.rfftfreq(500, PIXEL_SIZE)[None])
    # Cells of CTF² and frequency: averages beat the speckle; astigmatism mixes all directions in each.
    band = (frequency > 0.05) & (frequency < 0.28)
    level = np.array([power[band & (np.abs(squared - at) < 0.05)].mean() for at in np.linspace(0.05, 0.95, 10)])
    assert np.corrcoef(level, np.linspace(0.05, 0.95, 10))[0, 1] > 0.99
    dark = power[band & (squared < 0.005)].mean() / power[band & (squared > 0.9)].mean()
    assert dark < 0.03
    # A CTF without astigmatism, or of another defocus, does not fit.
    other = replace(movie, lens=replace(movie.lens, ctf=replace(movie.lens.ctf, angle=movie.lens.ctf.angle + 90)))
    wrong = contrast_transfer(other, image.shape) ** 2
    assert np.corrcoef(power[band], squared[band])[0, 1] > np.corrcoef(power[band], wrong[band])[0, 1] + 0.1


def test_ice_has_the_power_that_its_molecules_scatter(scatterers: Scatterers) -> None:
    movie = first_movie(scatterers, density=1e-3, thickness=300.0, size=400, columns=420)
    image = movie.micrograph().numpy()
    power = np.abs(np.fft.rfft2(image)) ** 2 * PIXEL_SIZE**2 / image.size
    frequency = np.hypot(np.fft.fftfreq(400, PIXEL_SIZE)[:, None], np.fft.rfftfreq(420, PIXEL_SIZE)[None])
    # Layers add up: the defocus differs by 300 Å at most, which blurs rings beyond 4 Å only.
    band = (frequency > 0.08) & (frequency < 0.2)
    expected = 4 * contrast_transfer(movie, image.shape) ** 2 * 300
    expected = expected * ice_power(torch.from_numpy(frequency), 300.0).numpy()
    assert power[band].sum() / expected[band].sum() == pytest.approx(1, abs=0.03)


def test_the_envelope_is_that_of_the_known_formulas(scatterers: Scatterers) -> None:
    lossy = STILL.model_copy(update={"bfactor": 50.0, "focal_spread": 80.0, "convergence": 0.1})
    with_loss, without = (first_movie(scatterers, ice=False, microscope=m) for m in (lossy, STILL))
    ratio = with_loss.contrast.fading / without.contrast.fading
    k, wavelength = 12 / (with_loss.lens.shape[1] * PIXEL_SIZE), electron_wavelength(300.0)
    gradient = 2.7e7 * wavelength**3 * k**3 - with_loss.lens.ctf.defocus * wavelength * k
    spread = math.exp(-50 * k**2 / 4 - 0.5 * (math.pi * wavelength * 80) ** 2 * k**4)
    assert abs(complex(ratio[0, 12])) == pytest.approx(
        spread * math.exp(-((math.pi * 1e-4 / wavelength * gradient) ** 2)), rel=1e-3
    )


def test_a_tilted_beam_moves_frequencies_by_the_cube(scatterers: Scatterers) -> None:
    """With RELION's sign: relion_ctf_refine 3.1.3 finds such a tilt as rlnBeamTiltX, Y within 0.03 mrad of 1."""
    tilted = STILL.model_copy(update={"beam_tilt": (0.0, 2.0)})
    coma, straight = (first_movie(scatterers, ice=False, microscope=m) for m in (tilted, STILL))
    ratio = coma.contrast.fading / straight.contrast.fading
    k = 20 / (coma.lens.shape[1] * PIXEL_SIZE)
    expected = -2 * math.pi * 2.7e7 * electron_wavelength(300.0) ** 2 * k**3 * 2e-3
    assert np.angle(complex(ratio[0, 20])) == pytest.approx(expected, abs=1e-3)
    assert np.angle(complex(ratio[20, 0])) == pytest.approx(0, abs=1e-3)


def test_a_wave_has_the_same_coma(scatterers: Scatterers) -> None:
    tilted = STILL.model_copy(update={"beam_tilt": (1.5, -2.0)})
    weak, wave, straight = (
        first_movie(scatterers, ice=False, microscope=m).micrograph().numpy()
        for m in (tilted, tilted.model_copy(update={"wave": True}), STILL.model_copy(update={"wave": True}))
    )
    spectra = [np.fft.rfft2(one) for one in (weak, wave, straight)]
    rows, columns = np.fft.fftfreq(weak.shape[0], PIXEL_SIZE)[:, None], np.fft.rfftfreq(weak.shape[1], PIXEL_SIZE)
    fine = (np.hypot(rows, columns) > 0.12) & (np.hypot(rows, columns) < 0.25)

    def agreement(one: np.ndarray, other: np.ndarray) -> float:
        cross = (one * other.conj())[fine].real.sum()
        return float(cross / np.sqrt((np.abs(one[fine]) ** 2).sum() * (np.abs(other[fine]) ** 2).sum()))

    assert agreement(spectra[0], spectra[1]) > 0.9
    assert agreement(spectra[0], spectra[2]) < 0.6


@pytest.mark.parametrize("hand", ["+", "-"])
def test_defocus_grows_with_height_times_the_hand(model: AtomicModel, scatterers: Scatterers, hand: str) -> None:
    options = SimulateTomoOptions(
        size=300, columns=360, pixel_size=PIXEL_SIZE, frames=2, max_tilt=50.0, step=50.0, ice=False, damage=False,
        beads=0.0, density=4e4, thickness=300.0, hand=hand, microscope=STILL,
    )  # fmt: skip
    series = next(simulate_tomo(scatterers, options, 4))
    movie = series.movies[2]
    image, side, found = movie.micrograph().numpy(), 96, {1: [], -1: []}
    for k in movie.seen.tolist():
        row, column = (int(n) for n in movie.pixel[k])
        near = np.abs(movie.pixel - movie.pixel[k]).max(1) < 42
        if near.sum() > 1 or not (48 <= row < 252 and 48 <= column < 312) or abs(movie.view.height[k]) < 60:
            continue
        phase = projected(model, scatterers.centre, movie.view.rotation[k], movie.pixel[k] % 1, side, PIXEL_SIZE)
        seen = image[row - 48 : row + 48, column - 48 : column + 48][24:72, 24:72]
        for sign, scores in found.items():
            transfer = contrast_transfer(movie, (side, side), sign * float(movie.view.height[k]))
            expected = np.fft.irfft2(np.fft.rfft2(phase) * -2 * transfer, s=(side, side))[24:72, 24:72]
            scores.append(np.corrcoef(seen.ravel(), expected.ravel())[0, 1])
    right, wrong = (np.array(found[sign if hand == "+" else -sign]) for sign in (1, -1))
    assert len(right) >= 1
    assert (right > 0.985).all()
    assert (wrong < right - 0.02).all()
