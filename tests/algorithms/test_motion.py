"""Motion correction as a whole: known motion comes back, and the sums are what they say."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.algorithms.motion_movie import MovieOfKnownMotion, make_movie, track_error
from thon.algorithms.motion import MotionCorrected, correct_motion, motion_memory
from thon.algorithms.motion_frames import Exposure, plan_frames
from thon.algorithms.motion_model import PatchMeasurement, fit_local, polynomial_basis
from thon.algorithms.motion_options import LocalOptions, MotionOptions, SumOptions, TrackOptions
from thon.algorithms.motion_sum import stretch
from thon.base.errors import InputError
from thon.data.motion import PolynomialMotion, SplineMotion

AXIS = np.linspace(-0.42, 0.42, 7)
PLACES = np.stack(np.meshgrid(AXIS, AXIS, indexing="ij"), -1).reshape(-1, 2)
WHOLE = {"local": LocalOptions(patches=(1, 1)), "track": TrackOptions(group_exposure=0)}


def correct(movie: MovieOfKnownMotion, options: MotionOptions) -> MotionCorrected:
    return correct_motion(movie, movie.pixel_size, options, exposure=movie.exposure)


@pytest.fixture(scope="module")
def bent() -> MovieOfKnownMotion:
    return make_movie((420, 480), 12, local=5.0, drift=15.0)


@pytest.mark.parametrize(("model", "kind"), [("spline", SplineMotion), ("polynomial", PolynomialMotion)])
def test_local_motion_comes_back(bent: MovieOfKnownMotion, model: str, kind: type):
    local = LocalOptions.model_validate({"patches": (4, 4), "model": model})
    found = correct(bent, MotionOptions(local=local, track=TrackOptions(group_exposure=0)))
    assert isinstance(found.motion.local, kind)
    assert track_error(found.motion.at(PLACES), bent.truth(PLACES)) < 0.25 * bent.pixel_size
    assert not found.motion.at(PLACES)[0].any() or np.abs(found.motion.at(PLACES)[0]).max() < 1e-6
    assert found.motion.patches is not None
    assert found.motion.patches.displacement.shape == (16, 12, 2)
    assert "explains" in found.note


def test_local_motion_that_is_not_there_is_dropped():
    movie = make_movie((330, 384), 10, drift=10.0, contrast=0.1)
    found = correct(movie, MotionOptions(local=LocalOptions(patches=(3, 4))))
    assert found.motion.local is None
    assert "dropped" in found.note
    assert track_error(found.motion.displacement, movie.whole) < 0.15 * movie.pixel_size


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_frames_that_show_nothing_are_not_moved_about(seed: int):
    movie = make_movie((500, 440), 4, contrast=0.002, drift=10.0, seed=seed)
    found = correct(movie, MotionOptions(**WHOLE))
    assert np.abs(found.motion.displacement).max() < 20


def test_a_patch_that_moves_by_itself_is_left_out(bent: MovieOfKnownMotion):
    # One corner slides the other way, as a torn edge may.
    frames = bent.frames.copy()
    other = make_movie((420, 480), 12, local=0.0, drift=-40.0, seed=9, contrast=0.4).frames
    frames[:, :115, :130] = other[:, :115, :130]
    movie = MovieOfKnownMotion(frames, bent.specimen, bent.pixel_size, bent.exposure, bent.whole, bent.local)
    found = correct(movie, MotionOptions(local=LocalOptions(patches=(4, 4)), track=TrackOptions(group_exposure=0)))
    assert found.motion.patches is not None
    assert 0 in found.motion.patches.rejected
    assert "unlike its neighbours" in found.motion.patches.rejected[0]
    away = PLACES[(PLACES > -0.2).any(1)]
    assert track_error(found.motion.at(away), movie.truth(away)) < 0.35 * movie.pixel_size


@pytest.mark.parametrize(("local", "limit"), [(0.0, 0.06), (5.0, 0.15)])
def test_micrograph_shows_the_specimen_as_the_first_frame_does(local: float, limit: float):
    movie = make_movie((330, 384), 10, local=local, noise=False)
    sums = SumOptions(dose_weight=False)
    patched = LocalOptions(patches=(4, 4) if local else (1, 1))
    track = TrackOptions(group_exposure=0)
    image = correct(movie, MotionOptions(local=patched, track=track, sums=sums)).weighted.numpy() / (10 * 2.0 * 4) - 1
    inner = (slice(30, -30), slice(30, -30))
    off = image[inner] - movie.specimen[inner]
    assert off.std() < limit * movie.specimen.std()
    assert abs(off.mean()) < 0.01 * movie.specimen.std()
    if local:
        whole = correct(movie, MotionOptions(**WHOLE, sums=sums)).weighted.numpy() / (10 * 2.0 * 4) - 1
        assert off.std() < 0.4 * (whole[inner] - movie.specimen[inner]).std()


def test_sums_are_the_parts_they_say():
    movie = make_movie((330, 384), 14, contrast=0.02)
    found = correct(movie, MotionOptions(**WHOLE, sums=SumOptions(halves=True, unweighted=True)))
    assert found.even is not None
    assert found.odd is not None
    assert found.unweighted is not None
    mean = movie.frames.mean()
    # Low frequencies outlive the movie, so that their weights are those of a plain sum over √frames.
    assert float(found.unweighted.mean()) == pytest.approx(14 * mean, rel=1e-3)
    assert float(found.weighted.mean()) == pytest.approx(14**0.5 * mean, rel=1e-3)
    assert float(found.even.mean()) == pytest.approx(7**0.5 * mean, rel=1e-3)
    # All have the noise of one frame, and the halves' is independent.
    noise = {k: v - torch.nn.functional.avg_pool2d(v[None], 7, 1, 3)[0] for k, v in
             {"weighted": found.weighted, "even": found.even, "odd": found.odd}.items()}  # fmt: skip
    inner = (slice(40, -40), slice(40, -40))
    spread = {k: float(v[inner].std()) for k, v in noise.items()}
    assert spread["even"] == pytest.approx(mean**0.5, rel=0.08)
    assert spread["weighted"] == pytest.approx(spread["odd"], rel=0.08)
    alike = np.corrcoef(noise["even"][inner].reshape(-1), noise["odd"][inner].reshape(-1))[0, 1]
    assert abs(alike) < 0.05
    apart = correct(movie, MotionOptions(**WHOLE, sums=SumOptions()))
    torch.testing.assert_close(apart.weighted, found.weighted, atol=2e-3, rtol=1e-4)


def test_binned_micrograph_is_the_cropped_one():
    movie = make_movie((330, 384), 8)
    fine = correct(movie, MotionOptions(**WHOLE, sums=SumOptions()))
    coarse = correct(movie, MotionOptions(**WHOLE, sums=SumOptions(bin=1.6)))
    assert tuple(coarse.weighted.shape) == (206, 240)
    assert coarse.pixel_size == pytest.approx(3.2, rel=2e-3)
    whole = torch.fft.rfft2(fine.weighted)[:40, :40] / fine.weighted.numel()
    cropped = torch.fft.rfft2(coarse.weighted)[:40, :40] / coarse.weighted.numel()
    drift = torch.arange(40)[:, None] * (103 / 206 - 165 / 330) + torch.arange(40) * (120 / 240 - 192 / 384)
    turned = whole * torch.exp(-2j * torch.pi * drift)
    error = (cropped - turned).abs()[1:, 1:].square().mean().sqrt() / turned.abs()[1:, 1:].square().mean().sqrt()
    assert float(error) < 0.02


def test_spectrum_shows_the_power_of_frames():
    sums = SumOptions(spectrum=True, spectrum_size=128, spectrum_pixel=4.0, spectrum_exposure=4.0)
    q = np.hypot(np.fft.fftfreq(128)[:, None], np.fft.rfftfreq(128)) / 4.0
    ring = (q > 0.02) & (q < 0.05)
    level: dict[float, float] = {}
    for contrast in (0.002, 0.2):
        movie = make_movie((500, 440), 4, contrast=contrast, drift=0.0)
        found = correct(movie, MotionOptions(**WHOLE, sums=sums))
        assert found.spectrum is not None
        assert tuple(found.spectrum.shape) == (128, 65)
        assert found.spectrum_pixel_size == pytest.approx(4.0, rel=5e-3)
        level[contrast] = float(found.spectrum.numpy()[ring].mean())
    # Eight counts a pixel, of which cropping leaves a quarter of the variance; two frames in a group.
    assert level[0.002] == pytest.approx(2.0, rel=0.05)
    power = np.abs(np.fft.rfft2(movie.specimen * 8)) ** 2 / movie.specimen.size
    fine = np.hypot(np.fft.fftfreq(500)[:, None], np.fft.rfftfreq(440)) / 2.0
    specimen = power[(fine > 0.02) & (fine < 0.05)].mean() / 4
    assert level[0.2] == pytest.approx(2.0 + 2 * specimen, rel=0.15)


def test_stretched_movie_is_relaxed():
    matrix = stretch((1.02, 0.99, 30.0))
    np.testing.assert_allclose(matrix @ [0.5, 3**0.5 / 2], 1.02 * np.array([0.5, 3**0.5 / 2]))
    movie = make_movie((330, 384), 2, drift=0.0, noise=False)
    options = MotionOptions(magnification=(1.02, 0.99, 30.0), sums=SumOptions(dose_weight=False),
                            local=LocalOptions(patches=(1, 1)))  # fmt: skip
    image = correct(movie, options).weighted.numpy() / 16 - 1
    import scipy.ndimage  # noqa: PLC0415

    centre = np.array([165, 192])
    grid = np.stack(np.meshgrid(np.arange(330), np.arange(384), indexing="ij"), -1) - centre
    truth = scipy.ndimage.map_coordinates(movie.specimen, (grid @ matrix.T + centre).transpose(2, 0, 1), order=5)
    inner = (slice(20, -20), slice(20, -20))
    assert (image - truth)[inner].std() < 0.05 * truth.std()


def test_frames_can_be_left_out_and_threads_change_nothing():
    movie = make_movie((330, 384), 9)
    first = correct(movie, MotionOptions(**WHOLE, first=2, last=7))
    again = correct(movie, MotionOptions(**WHOLE, first=2, last=7, threads=2))
    assert len(first.motion) == 6
    assert first.motion.first == 2
    assert track_error(first.motion.displacement, movie.whole[2:8]) < 0.3
    torch.testing.assert_close(first.weighted, again.weighted, atol=0, rtol=0)


def test_reading_frames_twice_gives_the_same():
    movie = make_movie((330, 384), 9)
    held = plan_frames((330, 384), 9, 2.0, 2.0, MotionOptions(**WHOLE))
    tight = MotionOptions(**WHOLE, memory=0.362)
    assert held.held
    assert not plan_frames((330, 384), 9, 2.0, 2.0, tight).held
    torch.testing.assert_close(correct(movie, tight).weighted, correct(movie, MotionOptions(**WHOLE)).weighted)


def test_large_movies_keep_within_two_gigabytes():
    options = MotionOptions(sums=SumOptions(bin=2.0), memory=2.0)
    assert motion_memory((8184, 11520), 60, 0.42, 1.0, options)[0] <= 2.0e9
    assert motion_memory((4096, 4096), 1000, 0.85, 0.05, options)[0] <= 2.0e9
    many = options.model_copy(update={"threads": 16})
    assert plan_frames((8184, 11520), 60, 0.42, 1.0, many).threads == 1
    assert plan_frames((1024, 1024), 60, 0.42, 1.0, many).threads == 16
    assert motion_memory((8184, 11520), 60, 0.42, 1.0, many)[0] <= 2.0e9
    with pytest.raises(InputError, match="does not fit"):
        plan_frames((8184, 11520), 60, 0.42, 1.0, MotionOptions(memory=0.5))


def test_what_cannot_be_corrected_is_said():
    movie = make_movie((64, 80), 3)
    with pytest.raises(InputError, match="exposure"):
        correct_motion(movie, 2.0, MotionOptions(), exposure=Exposure(300.0, float("nan")))
    with pytest.raises(InputError, match="no frame"):
        correct(movie, MotionOptions(first=5))
    movie.frames[1, 3, 4] = np.nan
    with pytest.raises(InputError, match="not finite"):
        correct(movie, MotionOptions())


def test_single_frame_passes_through():
    movie = make_movie((64, 80), 1)
    found = correct(movie, MotionOptions(sums=SumOptions(dose_weight=False)))
    np.testing.assert_array_equal(found.motion.displacement, np.zeros((1, 2)))
    inner = found.weighted.numpy()
    assert np.corrcoef(inner.reshape(-1), movie.frames[0].reshape(-1))[0, 1] > 0.95


def test_fit_finds_a_polynomial_exactly():
    generator = np.random.default_rng(0)
    place = generator.uniform(-0.5, 0.5, (20, 2))
    truth = PolynomialMotion(generator.normal(size=(2, 6, 3)) * [1e-1, 1e-2, 1e-3])
    frame = np.arange(12.0)
    shown = truth(place, frame).transpose(1, 0, 2)
    measured = PatchMeasurement(place, frame, shown + 7.0, np.full((20, 2), 1e6), np.ones(12))
    basis = polynomial_basis(measured, 12)
    fit = fit_local(measured, basis)
    off = measured.centred(fit.at(basis) - shown)
    assert np.abs(off).max() < 0.02 * np.abs(measured.centred(shown)).max()
