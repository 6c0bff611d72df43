"""Tracks of whole frames: the slope is exact, the precision is what it says, and nothing pulls the track to zero."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.algorithms.motion_movie import MovieOfKnownMotion, make_movie, track_error
from thon.algorithms.motion_frames import FrameSpectra, load_spectra, plan_frames
from thon.algorithms.motion_likelihood import SignalModel, fit_signal, score
from thon.algorithms.motion_options import MotionOptions, TrackOptions
from thon.algorithms.motion_smooth import early_profile, smooth_track
from thon.algorithms.motion_tracks import find_track, newton_step, search_track

OPTIONS = MotionOptions(track=TrackOptions(group_exposure=0))


def spectra_of(movie: MovieOfKnownMotion, options: MotionOptions = OPTIONS) -> FrameSpectra:
    shape = (movie.frames.shape[1], movie.frames.shape[2])
    plan = plan_frames(shape, len(movie), movie.pixel_size, movie.exposure.frame, options)
    return load_spectra(movie, plan, movie.pixel_size, movie.exposure, options, torch.device("cpu"))[0]


@pytest.fixture(scope="module")
def movie() -> MovieOfKnownMotion:
    return make_movie()


@pytest.fixture(scope="module")
def spectra(movie: MovieOfKnownMotion) -> FrameSpectra:
    return spectra_of(movie)


@pytest.mark.parametrize("pattern", [0.0, 0.02])
def test_slope_is_the_derivative_of_the_likelihood(movie: MovieOfKnownMotion, spectra: FrameSpectra, pattern: float):
    place = movie.whole + np.random.default_rng(1).normal(size=movie.whole.shape)
    model = replace(fit_signal(spectra, place, fixed_pattern=False), pattern=pattern)
    found = score(spectra, place, model).slope
    for frame, axis in ((2, 0), (7, 1)):
        sides: list[float] = []
        for step in (-0.05, 0.05):
            moved = place.copy()
            moved[frame, axis] += step
            sides.append(score(spectra, moved, model).likelihood)
        assert found[frame, axis] == pytest.approx((sides[1] - sides[0]) / 0.1, rel=0.03, abs=1.0)


def test_newton_steps_at_the_truth_are_as_large_as_they_say(movie: MovieOfKnownMotion, spectra: FrameSpectra):
    model = fit_signal(spectra, movie.whole, fixed_pattern=False)
    step, variance = newton_step(score(spectra, movie.whole, model))
    chi2 = float((step**2 / variance).mean())
    assert 0.5 < chi2 < 1.7


def test_track_is_found_to_its_stated_precision(movie: MovieOfKnownMotion, spectra: FrameSpectra):
    track = find_track(spectra, OPTIONS.track)
    assert track.converged
    assert track_error(track.place, movie.whole) < 0.1 * movie.pixel_size
    assert 0.3 < track_error(track.place, movie.whole) / track.sigma < 2


def test_search_finds_a_large_jump():
    movie = make_movie(drift=60.0, frames=8)
    spectra = spectra_of(movie)
    place = search_track(spectra, np.zeros((8, 2)), 3000.0, 200.0, rounds=4)
    assert track_error(place, movie.whole) < 4.0
    assert track_error(find_track(spectra, OPTIONS.track).place, movie.whole) < 0.2 * movie.pixel_size


def test_fixed_pattern_does_not_hold_the_track():
    movie = make_movie(gain=0.12, drift=6.0, contrast=0.06)
    spectra = spectra_of(movie)
    track = find_track(spectra, OPTIONS.track)
    # The gain's variance of 0.12² times the square of eight counts over their Poisson variance.
    assert track.model.pattern == pytest.approx(0.12**2 * 8, rel=0.2)
    assert track_error(track.place, movie.whole) < 0.08 * movie.pixel_size
    deaf = find_track(spectra, OPTIONS.track.model_copy(update={"fixed_pattern": False}))
    assert track_error(deaf.place, movie.whole) > 5 * track_error(track.place, movie.whole)


def test_variances_are_those_of_the_movie(movie: MovieOfKnownMotion, spectra: FrameSpectra):
    model = fit_signal(spectra, movie.whole, fixed_pattern=True)
    assert isinstance(model, SignalModel)
    assert model.pattern < 0.01
    noise = model.noise[-20:-1]
    assert float((noise - 1).abs().mean()) < 0.2
    ratio = model.signal / model.noise
    assert 0.05 < float(ratio.max()) < 20
    assert float(ratio[-10:].mean()) < 0.1 * float(ratio.max())


def test_grouped_frames_give_the_track_in_the_middle_of_groups(movie: MovieOfKnownMotion):
    options = MotionOptions(track=TrackOptions(group_exposure=6.0))
    spectra = spectra_of(movie, options)
    assert len(spectra) == 4
    np.testing.assert_allclose(spectra.frame, [1, 4, 7, 10])
    whole = np.stack([np.interp(spectra.frame, np.arange(12), movie.whole[:, axis]) for axis in (0, 1)], -1)
    assert track_error(find_track(spectra, options.track).place, whole) < 0.4


def test_smoothing_follows_the_noise_and_beats_it():
    generator = np.random.default_rng(4)
    t = np.linspace(0, 1, 60)
    truth = np.stack([5 * t**2, np.sin(3 * t)], -1)
    profile = early_profile(40 * t)
    noisy = truth + 0.3 * generator.normal(size=truth.shape)
    smooth = smooth_track(noisy, np.full_like(truth, 0.09), profile)
    assert np.sqrt(((smooth.place - truth) ** 2).mean()) < 0.15
    assert np.sqrt(((smooth.place - truth) ** 2).mean()) < 1.5 * np.sqrt(smooth.variance.mean())
    exact = smooth_track(truth, np.full_like(truth, 1e-8), profile)
    assert np.abs(exact.place - truth).max() < 1e-3
    restless = smooth_track(noisy, np.full_like(truth, 1e-4), profile)
    assert np.abs(restless.place - noisy).max() < 0.05
