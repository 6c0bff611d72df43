"""The contrast transfer function against its textbook formula."""

from __future__ import annotations

import math

import pytest
import torch

from thon.ops.ctf import (
    amplitude_phase,
    astigmatic_defocus,
    contrast_transfer,
    electron_wavelength,
    phase_aberration,
)


@pytest.mark.parametrize(("voltage", "wavelength"), [(100.0, 0.0370144), (200.0, 0.0250793), (300.0, 0.0196875)])
def test_wavelengths_of_the_tables(voltage: float, wavelength: float) -> None:
    assert electron_wavelength(voltage) == pytest.approx(wavelength, rel=2e-5)


def test_the_phase_of_a_defocused_lens_with_spherical_aberration() -> None:
    k, wavelength, defocus, cs = 0.2, 0.0196875, 15_000.0, 2.7
    expected = math.pi * wavelength * defocus * k**2 - math.pi / 2 * cs * 1e7 * wavelength**3 * k**4
    found = phase_aberration(
        torch.tensor([k], dtype=torch.float64), torch.tensor([defocus]), wavelength=wavelength, cs=cs
    )
    assert float(found) == pytest.approx(expected, rel=1e-7)


def test_astigmatism_has_its_larger_defocus_along_its_angle() -> None:
    azimuth = torch.deg2rad(torch.tensor([30.0, 120.0, 75.0, 210.0], dtype=torch.float64))
    u, v, angle = (torch.tensor(x, dtype=torch.float64) for x in (20_000.0, 18_000.0, math.radians(30)))
    expected = torch.tensor([20_000.0, 18_000.0, 19_000.0, 20_000.0], dtype=torch.float64)
    torch.testing.assert_close(astigmatic_defocus(azimuth, u, v, angle), expected)


def test_at_zero_frequency_there_is_the_amplitude_contrast_and_a_phase_plate_gives_it_all() -> None:
    zero = torch.zeros(1, dtype=torch.float64)
    assert float(contrast_transfer(zero, amplitude_contrast=0.07)) == pytest.approx(0.07)
    rest = math.pi / 2 - amplitude_phase(0.07)
    assert float(contrast_transfer(zero, amplitude_contrast=0.07, phase_shift=rest)) == pytest.approx(1.0)


def test_the_first_zero_lies_where_the_phase_makes_up_half_a_turn() -> None:
    wavelength, defocus = 0.0196875, 20_000.0
    k = math.sqrt((math.pi - amplitude_phase(0.1)) / (math.pi * wavelength * defocus))
    phase = phase_aberration(
        torch.tensor([k], dtype=torch.float64), torch.tensor([defocus]), wavelength=wavelength, cs=0.0
    )
    assert float(contrast_transfer(phase, amplitude_contrast=0.1)) == pytest.approx(0.0, abs=1e-6)
