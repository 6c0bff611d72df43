"""Coma of a tilted beam."""

from __future__ import annotations

import torch

from thon.ops.aberration import coma_phase
from thon.ops.ctf import electron_wavelength


def test_coma_grows_with_the_third_power_along_the_tilt():
    frequency = torch.tensor([[0.05, 0.1], [-0.05, -0.1], [0.0, 0.2]], dtype=torch.float64)
    wavelength = electron_wavelength(300.0)
    found = coma_phase(frequency, (0.3, -0.2), wavelength=wavelength, cs=2.7)
    assert found[0] == -found[1]
    # Along x: 2π Cs λ² k³ β = 2π · 2.7e7 · λ² · 0.008 · 0.2e-3, and positive for a negative tilt.
    expected = 2 * torch.pi * 2.7e7 * wavelength**2 * 0.008 * 0.2e-3
    torch.testing.assert_close(found[2], torch.tensor(expected, dtype=torch.float64))
    assert not coma_phase(frequency, (0.0, 0.0), wavelength=wavelength, cs=2.7).any()
