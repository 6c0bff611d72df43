"""The joint CTF fit on simulated tilt series: values, hand, inclination, uncertainties, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
import torch

from tests.algorithms.tilt_ctf_phantom import OPTICS, CtfPhantom, dose_symmetric, drifting
from thon.algorithms.tilt_ctf import (
    TiltCtfOptions,
    TiltCtfResult,
    fit_tilt_ctf,
    fit_tilt_rings,
    measure_tilt,
    vote_hand,
)
from thon.algorithms.tilt_ctf_model import Lens
from thon.base.errors import InputError
from thon.data.geometry import TiltGeometry

TILT = np.array([-58.0, -43.0, -28.0, -12.0, 0.0, 14.0, 27.0, 42.0, 56.0])
ORDER = dose_symmetric(TILT)


@lru_cache
def phantom(hand: int = 1, **settings: float) -> CtfPhantom:
    """Clear rings on images that are not square; the tilt axis stands askew."""
    geometry = TiltGeometry(tilt=TILT, shift=np.zeros((len(TILT), 2)), rotation=np.full(len(TILT), -84.0))
    known = {
        "astigmatism": 600.0,
        "angle": 35.0,
        "inclination": (4.0, -3.0),
        "strength": 0.3,
        "decay": 60.0,
    }
    return CtfPhantom((480, 544), 3.1, geometry, drifting(ORDER, 32_000, 250), hand=hand, **(known | settings))


@lru_cache
def images(hand: int = 1) -> np.ndarray:
    return np.stack(list(phantom(hand).images()))


@lru_cache
def fitted(hand: int) -> TiltCtfResult:
    return fit_tilt_ctf(images(hand), phantom(hand).geometry, 3.1, OPTICS, order=ORDER)


@pytest.mark.parametrize("hand", [1, -1])
def test_defocus_astigmatism_hand_and_inclination_are_found(hand):
    found, truth = fitted(hand), phantom(hand)
    error = found.ctf.defocus - truth.defocus
    assert np.abs(error).max() < 250
    assert np.median(np.abs(error)) < 80
    assert found.ctf.defocus_u - found.ctf.defocus_v == pytest.approx(600, abs=150)
    assert np.median(found.ctf.angle) == pytest.approx(35, abs=4)
    assert (np.abs(found.ctf.angle - 35) < 3.5 * found.ctf.sigma[:, 2]).all()
    assert found.ctf.sigma[:, 2].max() < 5
    assert found.ctf.phase_shift == pytest.approx(0, abs=0.01)
    assert found.hand == hand
    assert found.hand_evidence * hand > 20
    assert found.hand_confidence > 0.99
    assert found.ctf.hand_confidence == pytest.approx(hand * found.hand_confidence)
    for value, sigma, true in zip(found.inclination, found.inclination_sigma, (4.0, -3.0), strict=True):
        assert sigma < 4
        assert abs(value - true) < 3 * sigma
    assert not found.ctf.borrowed


def test_uncertainties_are_those_of_the_errors():
    away = np.concatenate(
        [
            (fitted(hand).ctf.defocus - phantom(hand).defocus) / np.hypot(*fitted(hand).ctf.sigma[:, :2].T) * np.sqrt(2)
            for hand in (1, -1)
        ]
    )
    assert 0.5 < np.sqrt(np.mean(away**2)) < 1.6
    assert fitted(1).ctf.sigma.shape == (len(TILT), 4)
    assert (fitted(1).ctf.sigma[:, :3] > 0).all()


def test_rings_fit_far_and_curves_show_it():
    found = fitted(1)
    assert found.ctf.score.min() > 0.7
    assert found.ctf.resolution.max() < 12
    for curve in found.curves:
        assert curve is not None
        assert np.corrcoef(curve.measured[:60], curve.model[:60])[0, 1] > 0.7
        assert 0.3 < curve.measured.mean() < 0.7
    steep = found.tiles[0]
    assert steep is not None
    assert np.ptp(steep.expected) > 1000
    assert np.sqrt(np.mean(((steep.defocus - steep.expected) / steep.sigma) ** 2)) < 2
    good = steep.sigma < np.median(steep.sigma)
    assert np.corrcoef(steep.defocus[good], steep.expected[good])[0, 1] > 0.7


def test_an_image_without_rings_borrows_and_an_excluded_one_has_no_values():
    series = images(1).copy()
    series[6] = np.random.default_rng(1).normal(100, 1, series[6].shape)
    series[8] = np.nan
    found = fit_tilt_ctf(series, phantom().geometry, 3.1, OPTICS, order=ORDER, excluded={2: "dark"}, hand=1).ctf
    assert set(found.borrowed) == {6}
    assert "neighbours" in found.borrowed[6]
    for gone in (2, 8):
        assert np.isnan(found.defocus[gone])
        assert np.isnan(found.score[gone])
    assert found.sigma[6, 0] > 3 * found.sigma[4, 0]
    assert abs(found.defocus[6] - phantom().defocus[6]) < 3 * found.sigma[6, 0]
    assert np.abs(found.defocus - phantom().defocus)[[0, 1, 3, 4, 5, 7]].max() < 250
    assert np.isnan(found.hand_confidence)


def test_images_can_be_measured_as_they_come_and_an_earlier_fit_carried_on():
    truth = phantom()
    rings = [measure_tilt(torch.from_numpy(image), 3.1, OPTICS) for image in images(1)]
    early = [ring if k in (3, 4, 5) else None for k, ring in enumerate(rings)]
    first = fit_tilt_rings(early, truth.geometry, OPTICS, order=ORDER, hand=1)
    assert np.isfinite(first.ctf.defocus).sum() == 3
    full = fit_tilt_rings(rings, truth.geometry, OPTICS, order=ORDER, start=first.ctf)
    assert full.ctf.defocus == pytest.approx(fitted(1).ctf.defocus, abs=60)
    wrong = replace(first.ctf, defocus_u=first.ctf.defocus_u + 30_000, defocus_v=first.ctf.defocus_v + 30_000)
    led = fit_tilt_rings(rings, truth.geometry, OPTICS, order=ORDER, start=wrong, hand=1)
    assert led.ctf.defocus == pytest.approx(full.ctf.defocus, abs=60), "clear rings outweigh a wrong start"


def test_a_start_tells_where_the_rings_do_not():
    rings = [measure_tilt(torch.from_numpy(image), 3.1, OPTICS) for image in images(1)]
    noise = np.random.default_rng(1).normal(100, 1, images(1)[6].shape)
    rings[6] = measure_tilt(torch.from_numpy(noise.astype(np.float32)), 3.1, OPTICS)
    options = TiltCtfOptions(defocus_step=2000)

    def found(start):
        return fit_tilt_rings(rings, phantom().geometry, OPTICS, options, order=ORDER, start=start, hand=1).ctf

    moved = replace(fitted(1).ctf, defocus_u=fitted(1).ctf.defocus_u + 3000, defocus_v=fitted(1).ctf.defocus_v + 3000)
    change = found(moved).defocus - found(None).defocus
    assert change[6] > 500
    assert np.abs(np.delete(change, 6)).max() < 60


def test_phase_shifts_are_fitted():
    truth = phantom(phase_shift=70.0)
    series = np.stack(list(truth.images()))
    options = TiltCtfOptions(phase_plate=True)
    found = fit_tilt_ctf(series, truth.geometry, 3.1, OPTICS, options, order=ORDER, hand=1).ctf
    assert np.median(np.abs(found.phase_shift - 70)) < 8
    assert np.median(np.abs(found.defocus - truth.defocus)) < 200
    known = TiltCtfOptions(phase_shift=70.0)
    held = fit_tilt_ctf(series, truth.geometry, 3.1, OPTICS, known, order=ORDER, hand=1).ctf
    assert held.phase_shift == pytest.approx(70, abs=0.01)
    assert np.median(np.abs(held.defocus - truth.defocus)) < 80


def test_the_vote_counts_evidence_and_no_series_decides_alone():
    clear, mute = fitted(1).hand_evidence, float("nan")
    assert vote_hand([clear, -6.0, mute])[0] == 1
    hand, confidence = vote_hand([500.0, -6.0, -6.0])
    assert hand == -1
    assert confidence == pytest.approx(np.tanh(1))
    assert vote_hand([mute]) == (None, 0.0)


def test_what_cannot_be_seen_is_refused():
    flat = np.random.default_rng(0).normal(size=(3, 160, 160))
    geometry = TiltGeometry.nominal(np.array([-30.0, 0.0, 30.0]))
    with pytest.raises(InputError, match="no image shows rings"):
        fit_tilt_ctf(flat, geometry, 10.0, OPTICS)
    with pytest.raises(InputError, match="optics of the series are incomplete"):
        fit_tilt_ctf(flat, geometry, 2.0, replace(OPTICS, cs=None))
    for size in (0.0, -2.0, np.nan):
        with pytest.raises(InputError, match="pixel size"):
            fit_tilt_ctf(flat, geometry, size, OPTICS)
    with pytest.raises(InputError, match="voltage"):
        fit_tilt_ctf(flat, geometry, 2.0, replace(OPTICS, voltage=0.0))
    with pytest.raises(InputError, match="no image of the series shows anything"):
        fit_tilt_ctf(np.full((3, 160, 160), np.nan), geometry, 2.0, OPTICS)
    with pytest.raises(InputError, match="pixels are too large"):
        fit_tilt_ctf(flat, geometry, 20.0, OPTICS)
    with pytest.raises(InputError, match="no image of the series shows anything"):
        fit_tilt_ctf(np.zeros((3, 160, 160)), geometry, 2.0, OPTICS)


def test_noise_of_overlapping_tiles_is_that_of_many_images():
    """Sums of white noise against rings scatter as much as is said, also where the rings are fine."""
    lens, random, found = Lens.of(OPTICS), np.random.default_rng(0), []
    for _ in range(30):
        image = torch.from_numpy(random.standard_normal((400, 460)).astype(np.float32))
        rings = measure_tilt(image, 3.1, OPTICS)
        turn = 2 * (40_000 * lens.rate(rings.grid) + np.arange(4)[:, None] * np.pi / 4)
        pixels = rings.count.sum(0) * len(rings.center) * np.cos(turn) ** 2
        parts = [slice(None, 100), slice(100, None)]
        total = rings.deviation().sum((0, 1)) * np.cos(turn)
        found.append([total[:, part].sum(1) / np.sqrt(pixels[:, part].sum(1)) for part in parts])
    noise = rings.noise(2 * lens.wavelength * 40_000 * np.sqrt(rings.grid.squared))
    expected = np.array([noise[part].mean() for part in parts])
    assert expected[0] > 1.3 * expected[1]
    assert np.var(found, axis=(0, 2)) == pytest.approx(expected, rel=0.3)
