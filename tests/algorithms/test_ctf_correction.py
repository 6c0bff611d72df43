"""CTF correction and dose weighting of tilted images, against the CTF of every pixel computed by itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.algorithms.simulation.conftest import random_model
from tests.algorithms.tilt_ctf_phantom import OPTICS, WAVELENGTH, CtfPhantom
from thon.algorithms.ctf_correction import (
    CtfCorrectionOptions,
    ImageRestoration,
    LocalCtf,
    SpectrumFilter,
    TiltImaging,
    correct_image,
    weight_exposure,
)
from thon.algorithms.ctf_correction_snr import SignalToNoise, measure_signal_to_noise
from thon.algorithms.motion_frames import Exposure, plan_frames
from thon.algorithms.motion_options import MotionOptions
from thon.algorithms.motion_sum import FrameSummation
from thon.algorithms.simulate import simulate_tomo
from thon.algorithms.simulation.layers import cut_layers
from thon.algorithms.simulation.motion import MotionOptions as SpecimenMotion
from thon.algorithms.simulation.optics import MicroscopeOptions
from thon.algorithms.simulation.options import SimulateTomoOptions
from thon.algorithms.simulation.potential import scatterers_from_atoms
from thon.algorithms.tilt_ctf_geometry import height_slope
from thon.base.errors import InputError
from thon.data.ctf import Ctf, TiltCtf
from thon.data.geometry import TiltGeometry
from thon.data.motion import FrameMotion
from thon.data.tilt_series import ImageRef, TiltSeries
from thon.ops.dose import exposure_weight

CTF = Ctf(25_300.0, 24_700.0, 40.0)


def tilted(tilt: float = 55.0, shape: tuple[int, int] = (150, 210), pixel_size: float = 3.0, **more) -> CtfPhantom:
    geometry = TiltGeometry(tilt=np.array([tilt]), shift=np.zeros((1, 2)), rotation=np.array([20.0]), x_tilt=4.0)
    return CtfPhantom(shape, pixel_size, geometry, np.array([25_000.0]), astigmatism=600, angle=40, hand=-1, **more)


def local_ctf(phantom: CtfPhantom, hand: int = -1) -> LocalCtf:
    y, x = hand * height_slope(phantom.geometry)[0]
    return LocalCtf(CTF, (float(y), float(x)), OPTICS)


def specimen(phantom: CtfPhantom, seed: int = 0) -> np.ndarray:
    """Half spectrum of something smooth, that ends before the image does."""
    random = np.random.default_rng(seed)
    rows = np.fft.fftfreq(phantom.shape[0], phantom.pixel_size)[:, None]
    columns = np.fft.rfftfreq(phantom.shape[1], phantom.pixel_size)[None]
    white = random.standard_normal(phantom.shape)
    y, x = (np.abs(np.arange(n) - n // 2) < 0.33 * n for n in phantom.shape)
    inside = white * y[:, None] * x
    return np.fft.rfft2(inside) * np.exp(-60 * (rows**2 + columns**2))


def test_factors_are_those_of_the_textbook():
    aberration = torch.tensor([[0.3, 2.0, 4.0, 5.5, 7.0]], dtype=torch.float64)
    frequency = torch.linspace(0, 0.1, 5, dtype=torch.float64)[None]
    transfer = aberration.sin()
    flipped = SpectrumFilter("phase-flip")(aberration, frequency)
    assert flipped.tolist() == [[1, 1, -1, -1, 1]]
    assert SpectrumFilter("none")(aberration, frequency).tolist() == [[1, 1, 1, 1, 1]]
    assert torch.allclose(SpectrumFilter("multiply", restore_low=True)(aberration, frequency), transfer)
    sure = SpectrumFilter("wiener", 1e9, restore_low=True)(aberration, frequency)
    assert torch.allclose(sure * transfer, torch.ones_like(transfer), atol=1e-6)
    doubtful = SpectrumFilter("wiener", 1e-9, restore_low=True)(aberration, frequency)
    assert torch.allclose(doubtful, transfer, atol=1e-6)
    for snr in (0.05, 0.8):
        found = SpectrumFilter("wiener", snr, restore_low=True)(aberration, frequency)
        assert torch.allclose(found, transfer * (1 + 1 / snr) / (transfer**2 + 1 / snr))
        kept = SpectrumFilter("wiener", snr)(aberration, frequency)
        assert kept[0, 0] == 1
        assert torch.equal(kept[0, 1:], found[0, 1:])
    curve = SignalToNoise(np.array([0.0, 0.005, 0.01]), np.array([4.0, 2.0, 1.0]))
    varied = SpectrumFilter("wiener", curve, restore_low=True)(aberration, frequency)
    noise = 1 / torch.tensor([4.0, 3.75, 3.0, 1.875, 1.0], dtype=torch.float64)
    assert torch.allclose(varied, transfer * (1 + noise) / (transfer**2 + noise))


def test_an_image_without_slope_is_flipped_exactly():
    phantom = tilted(0.0, (330, 300))
    flat = LocalCtf(CTF, (0.0, 0.0), OPTICS)
    spectrum = specimen(phantom)
    transfer = phantom.transfer(25_000)
    image = torch.from_numpy(np.fft.irfft2(spectrum * transfer, phantom.shape))
    before = image.clone()
    found = correct_image(image, 3.0, flat, SpectrumFilter("phase-flip"))
    assert torch.equal(image, before)
    expected = np.fft.irfft2(spectrum * np.abs(transfer), phantom.shape)
    inner = (slice(30, -30), slice(30, -30))
    assert np.std((found.numpy() - expected)[inner]) < 0.05 * expected[inner].std()
    assert np.std((image.numpy() - expected)[inner]) > 0.5 * expected[inner].std()
    assert np.corrcoef(image.numpy()[inner].ravel(), expected[inner].ravel())[0, 1] < 0.5


@pytest.mark.parametrize("mode", ["multiply", "wiener"])
def test_every_pixel_is_filtered_with_its_own_defocus(mode):
    phantom = tilted()
    chosen = SpectrumFilter(mode, 0.5, restore_low=True)
    image = np.fft.irfft2(specimen(phantom), phantom.shape)
    found = correct_image(torch.from_numpy(image), 3.0, local_ctf(phantom), chosen, 20.0).numpy()
    defocus = phantom.defocus[0] - phantom.height(0)
    spectrum, error = np.fft.rfft2(image), []
    assert np.ptp(defocus) > 900
    for y, x in np.random.default_rng(3).integers((40, 60), (110, 150), (12, 2)):
        transfer = phantom.transfer(float(defocus[y, x])).astype(np.float64)
        factor = {"multiply": transfer, "wiener": transfer * 3 / (transfer**2 + 2)}[mode]
        error.append(found[y, x] - np.fft.irfft2(spectrum * factor, phantom.shape)[y, x])
    assert np.sqrt(np.mean(np.square(error))) < 0.03 * found.std()


def test_the_right_hand_restores_what_the_wrong_one_does_not():
    phantom = tilted(60.0, (130, 600))
    spectrum = specimen(phantom)
    truth = np.fft.irfft2(spectrum, phantom.shape)
    image = torch.from_numpy(phantom.blur(spectrum, 0, 50.0).astype(np.float32))
    rows = np.fft.fftfreq(130, 3.0)[:, None]
    fine = np.hypot(rows, np.fft.rfftfreq(600, 3.0)[None]) > 1 / 14

    def agreement(restored):
        both = (np.fft.rfft2(one) * fine for one in (np.asarray(restored), truth))
        both = [np.fft.irfft2(one, phantom.shape) for one in both]
        sides = [np.concatenate([one[:, 110:180], one[:, -180:-110]], 1).ravel() for one in both]
        return np.corrcoef(*sides)[0, 1]

    found = {
        hand: agreement(correct_image(image, 3.0, local_ctf(phantom, hand), SpectrumFilter("phase-flip")))
        for hand in (-1, 0, 1)
    }
    assert found[-1] > 0.85
    assert found[-1] > found[0] + 0.05 > found[1] + 0.1
    assert agreement(image) < 0.5


@pytest.mark.parametrize("hand", ["+", "-"])
def test_a_thick_specimen_of_the_simulator_needs_its_own_hand(hand):
    """Molecules at all heights of 900 Å of ice at 60°, seen by code that shares nothing with the correction."""
    options = SimulateTomoOptions(
        size=200, columns=260, pixel_size=4.0, frames=1, max_tilt=60.0, step=60.0, ice=False, damage=False, beads=0.0,
        thickness=900.0, density=4e4, tracking=0.0, hand=hand, tilt_axis=9.0,
        motion=SpecimenMotion(drift=0.0, local=0.0),
        microscope=MicroscopeOptions(defocus=(30e3, 30e3), bfactor=0.0, focal_spread=0.0, convergence=0.0),
    )  # fmt: skip
    series = next(simulate_tomo(scatterers_from_atoms(random_model(), 4.0), options, 3))
    movie, sign = series.movies[2], 1 if hand == "+" else -1
    field = movie.exposure.field
    layers = cut_layers(movie.view, field, movie.scene.projector, 100.0, None)
    phase = sum(layer.phase for layer in layers if layer.phase is not None)
    truth = phase[field.start[0] :, field.start[1] :][:200, :260]
    frequency = np.hypot(np.fft.fftfreq(200, 4.0)[:, None], np.fft.rfftfreq(260, 4.0))
    fine = torch.from_numpy((frequency > 1 / 10) & (frequency < 1 / 8.5))

    def agreement(trial: int | None) -> float:
        imaging = TiltImaging((movie.lens.ctf,), options.optics, trial, np.array([np.nan]))
        restore = ImageRestoration(imaging, series.geometry.select([2]), CtfCorrectionOptions(mode="phase-flip"))
        found, true = (torch.fft.rfft2(one)[fine] for one in (restore(0, -movie.micrograph(), 4.0), truth))
        return float((found * true.conj()).real.sum() / (found.norm() * true.norm()))

    right, none, wrong = (agreement(trial) for trial in (sign, None, -sign))
    assert right > 0.6
    assert right > none + 0.04 > wrong + 0.08


def test_weighting_by_exposure_is_that_of_each_frequency():
    image = torch.from_numpy(np.fft.irfft2(specimen(tilted()), (150, 210)))
    found = weight_exposure(image + 5, 3.0, 60.0, 300.0)
    rows, columns = torch.fft.fftfreq(150, 3.0).double()[:, None], torch.fft.rfftfreq(210, 3.0).double()[None]
    weight = exposure_weight(torch.sqrt(rows**2 + columns**2), 60.0, 300.0)
    expected = torch.fft.irfft2(torch.fft.rfft2(image) * weight, s=(150, 210)) + 5
    assert torch.allclose(found, expected, atol=0.01 * float(image.std()))
    assert float((found - 5).std()) < 0.8 * float(image.std())
    assert torch.allclose(weight_exposure(image, 3.0, 0.0, 300.0), image, atol=1e-9)


def test_tilts_of_weighted_frames_add_up_like_all_frames_weighted_at_once():
    prior, shape = np.array([24.0, 0.0, 12.0]), (150, 162)
    frames = torch.from_numpy(np.random.default_rng(5).normal(size=(3, 4, *shape)).astype(np.float32))
    plan = plan_frames(shape, 4, 3.0, 1.5, MotionOptions())
    still = FrameMotion(np.zeros((4, 2)), frame_exposure=1.5)
    tilts = series(exposure=np.full(3, 6.0), prior_exposure=prior)
    restore = ImageRestoration(TiltImaging.of(tilts, np.arange(3)), tilts.geometry, CtfCorrectionOptions())
    frequency = torch.from_numpy(np.hypot(np.fft.fftfreq(150, 3.0)[:, None], np.fft.rfftfreq(162, 3.0)))
    total, expected = torch.zeros(shape), torch.zeros(150, 82, dtype=torch.complex64)
    for k in range(3):
        exposure = Exposure(300.0, 1.5, float(prior[k]))
        sums = FrameSummation(plan, still, 3.0, exposure, MotionOptions(), torch.device("cpu"))
        sums.add_all(frames[k].numpy(), list(frames[k]))
        total += restore(k, sums.finish().weighted, 3.0)
        for f, received in enumerate(exposure.before(np.arange(4)).tolist()):
            expected += torch.fft.rfft2(frames[k, f]) * exposure_weight(frequency, received, 300.0).float() / 2
    difference = (torch.fft.rfft2(total) - expected)[frequency > 0.03]
    assert float(difference.abs().mean()) < 0.05 * float(expected[frequency > 0.03].abs().mean())


@pytest.mark.parametrize("strength", [0.1, 0.6])
def test_signal_over_noise_is_measured(strength):
    phantom = tilted(40.0, (640, 700), strength=strength, decay=40.0, dose=1.0)
    image = torch.from_numpy(phantom.image(0).astype(np.float32))
    local = local_ctf(phantom)
    found = measure_signal_to_noise(image, 3.0, CTF, local.slope, OPTICS)
    assert found is not None
    for frequency in (1 / 22, 1 / 14, 1 / 10):
        truth = strength * np.exp(-40 * frequency**2)
        assert float(found(torch.tensor(frequency))) == pytest.approx(truth, rel=0.35)
    noise = torch.from_numpy(np.random.default_rng(0).normal(size=(300, 300)).astype(np.float32))
    assert measure_signal_to_noise(noise, 3.0, CTF, (0.0, 0.0), OPTICS) is None
    assert measure_signal_to_noise(image, 16.0, CTF, (0.0, 0.0), OPTICS) is None


def series(**settings) -> TiltSeries:
    tilt = np.array([-30.0, 0.0, 30.0])
    known = {"exposure": np.full(3, 4.0), "prior_exposure": np.array([8.0, 0.0, 4.0]), "optics": OPTICS}
    return TiltSeries(
        name="a",
        images=tuple(ImageRef("a.mrc", k) for k in range(3)),
        image_shape=(40, 60),
        pixel_size=3.0,
        geometry=TiltGeometry.nominal(tilt, 5.0),
        order=np.array([2, 0, 1]),
        **(known | settings),
    )


def tilt_ctf() -> TiltCtf:
    columns = [np.array([25e3, np.nan, 26e3]), np.array([24e3, np.nan, 25e3]), *[np.zeros(3)] * 2]
    return TiltCtf(*columns, sigma=np.zeros((3, 4)), score=np.zeros(3), resolution=np.zeros(3))


def test_what_is_known_of_a_series_decides_what_is_done():
    index = np.array([0, 1, 2])
    bare = TiltImaging.of(series(), index)
    assert bare.exposure.tolist() == [10, 2, 6]
    assert not bare.knows_ctf
    unknown = series(exposure=np.full(3, np.nan), prior_exposure=np.full(3, np.nan))
    assert not TiltImaging.of(unknown, index).knows_exposure
    assert ImageRestoration(TiltImaging.of(unknown, index), series().geometry, CtfCorrectionOptions()).is_idle
    full = TiltImaging.of(series(ctf=tilt_ctf(), hand=-1), np.array([2, 1]))
    assert full.ctf == (Ctf(26e3, 25e3, 0.0), None)
    restore = ImageRestoration(full, series().geometry.select([2, 1]), CtfCorrectionOptions())
    assert restore.mode == "wiener"
    assert restore.dose_weight
    assert restore.slope == pytest.approx(-height_slope(series().geometry)[[2, 1]])
    with pytest.raises(InputError, match="needs a CTF"):
        ImageRestoration(bare, series().geometry, CtfCorrectionOptions(mode="multiply"))
    with pytest.raises(InputError, match="differ in number"):
        ImageRestoration(full, series().geometry, CtfCorrectionOptions())


def test_half_images_are_corrected_as_the_full_ones():
    phantom = tilted(40.0, (640, 700), strength=0.6, decay=40.0)
    imaging = TiltImaging((CTF,), OPTICS, -1, np.array([30.0]))
    image = torch.from_numpy(phantom.image(0).astype(np.float32))
    noise = torch.from_numpy(np.random.default_rng(1).normal(0, 3, (640, 700)).astype(np.float32))
    restore = ImageRestoration(imaging, phantom.geometry, CtfCorrectionOptions())
    restore.observe(0, image, 3.0)
    first = restore.measured[0]
    assert isinstance(first, SignalToNoise)
    restore.observe(0, image + noise, 3.0)
    assert restore.measured[0] is first
    whole, halves = restore(0, image, 3.0), [restore(0, image / 2 + sign * noise, 3.0) for sign in (1, -1)]
    assert torch.allclose(halves[0] + halves[1], whole, atol=1e-3 * float(whole.std()))
    assert float((whole - image).std()) > 0.1 * float(image.std())
    given = ImageRestoration(imaging, phantom.geometry, CtfCorrectionOptions(snr=2.0))
    given.observe(0, image, 3.0)
    assert not given.measured
    assert pytest.approx(0.0197, abs=1e-4) == WAVELENGTH


def test_an_image_without_a_fit_is_left_alone():
    restore = ImageRestoration(
        TiltImaging((None, CTF), OPTICS, 1, np.array([np.nan, np.nan])),
        TiltGeometry.nominal(np.array([0.0, 10.0])),
        CtfCorrectionOptions(mode="phase-flip"),
    )
    image = torch.from_numpy(np.random.default_rng(0).normal(size=(50, 61)))
    assert torch.equal(restore(0, image, 3.0), image)
    assert not torch.allclose(restore(1, image, 3.0), image)
    assert restore(1, image, 3.0).shape == image.shape
    assert replace(restore.imaging, hand=None).hand is None
