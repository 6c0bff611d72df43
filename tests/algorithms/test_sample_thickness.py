"""Thickness and inclination of simulated slabs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.algorithms.tilt_phantom import TiltPhantom, simulate_series
from thon.algorithms.alignment_images import standardise
from thon.algorithms.alignment_outcome import place_sample
from thon.algorithms.sample_thickness import ThicknessOptions, measure_thickness
from thon.data.alignment import ThicknessProfile
from thon.data.geometry import TiltGeometry

OPTIONS = ThicknessOptions(max_thickness=3000.0)


def slab(inclination: tuple[float, float] = (0.0, 0.0), thickness: float = 60.0) -> TiltPhantom:
    return simulate_series(
        (141, 150), step=5.0, span=60, thickness=thickness, inclination=inclination, number=600, noise=0.7, seed=1,
        pixel_size=20.0,
    )  # fmt: skip


def measure(phantom: TiltPhantom, geometry: TiltGeometry | None = None) -> ThicknessProfile:
    images = standardise(torch.from_numpy(phantom.images))
    return measure_thickness(images, geometry or phantom.truth, phantom.pixel_size, OPTIONS)


@pytest.mark.parametrize("thickness", [30.0, 80.0])
def test_thickness_is_that_of_the_slab(thickness: float) -> None:
    """Within 250 Å, blobs and voxels being 100 and 40 Å wide."""
    profile = measure(slab(thickness=thickness))
    assert profile.thickness == pytest.approx(20 * thickness, abs=250)
    assert (profile.lower + profile.upper) / 2 == pytest.approx(0, abs=120)
    assert profile.signal.max() == pytest.approx(1)
    inside = (profile.z > profile.lower) & (profile.z < profile.upper)
    assert profile.signal[inside].mean() > 2.5 * profile.signal[~inside].mean()


@pytest.mark.parametrize("inclination", [(8.0, 0.0), (0.0, -8.0), (-5.0, 6.0)])
def test_inclination_is_that_of_the_slab_and_levelling_takes_it_off(inclination: tuple[float, float]) -> None:
    """Against the same blobs in a flat slab, which scatter in height: within 1.5 degrees (measured: 0.6)."""
    flat, phantom = measure(slab()).inclination, slab(inclination)
    profile = measure(phantom)
    np.testing.assert_allclose(np.subtract(profile.inclination, flat), inclination, atol=1.5)
    level, _ = place_sample(phantom.truth, profile, level=True, center=True)
    left = np.hypot(*measure(phantom, level).inclination)
    assert left < 0.35 * np.hypot(*profile.inclination)


def test_few_features_tell_no_inclination() -> None:
    """A dozen blobs of a flat slab lie somewhere in it, which is no slope."""
    phantom = simulate_series(
        (141, 150), step=5.0, span=60, thickness=60.0, number=12, noise=0.1, seed=2, pixel_size=20.0
    )
    profile = measure(phantom)
    assert profile.inclination[0] > 10
    assert profile.certain_inclination == (0.0, 0.0)
    clear = measure(slab((-20.0, 0.0)))
    assert clear.certain_inclination == (pytest.approx(-20, abs=3), 0.0)
    assert 0.3 < clear.inclination_sigma[0] < 7


def test_a_slab_that_lies_high_is_found_there_and_centred() -> None:
    phantom = slab()
    lift = TiltGeometry(
        phantom.tilt,
        phantom.truth.shift - phantom.truth.project(np.array([[300.0, 0, 0]]))[:, 0] + phantom.truth.shift,
        phantom.truth.rotation,
    )
    profile = measure(phantom, lift)
    assert (profile.lower + profile.upper) / 2 == pytest.approx(300, abs=120)
    centred, told = place_sample(lift, profile, level=False, center=True)
    again = measure(phantom, centred)
    assert (again.lower + again.upper) / 2 == pytest.approx(0, abs=60)
    assert told.thickness == pytest.approx(profile.thickness)


def test_without_any_signal_the_profile_is_still_finite() -> None:
    noise = torch.randn(9, 100, 110, generator=torch.Generator().manual_seed(0))
    profile = measure_thickness(noise, TiltGeometry.nominal(np.linspace(-40, 40, 9)), 20.0, OPTIONS)
    assert np.isfinite([profile.lower, profile.upper, *profile.inclination]).all()
    assert profile.lower <= profile.upper
