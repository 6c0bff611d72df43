"""Scattering factors against the printed table and constants of nature."""

from __future__ import annotations

import math

import pytest
import torch

from thon.ops.scattering import (
    WATER_DENSITY,
    electron_scattering,
    phase_per_scattering,
    solvated_scattering,
    water_scattering,
)


@pytest.mark.parametrize(("element", "forward"), [("C", 2.5088), ("O", 1.9834), ("H", 0.5288), ("AU", 10.5714)])
def test_forward_scattering_is_that_of_the_international_tables(element: str, forward: float) -> None:
    assert float(electron_scattering(element, torch.zeros(1, dtype=torch.float64))) == pytest.approx(forward, abs=1e-3)


def test_far_out_an_atom_scatters_as_its_nucleus() -> None:
    # Mott and Bethe: f = m e² / (8 π ε₀ h²) · (Z − fₓ) / s², and 3 electrons of gold's 79 are left at 2.0 1/Å of s.
    k = torch.tensor([4.0], dtype=torch.float64)
    expected = 0.023934 * (6 - 0.83) / 2.0**2
    assert float(electron_scattering("C", k)) == pytest.approx(expected, rel=0.15)


def test_phase_is_the_interaction_constant_times_the_potential() -> None:
    # σ = 2π m e λ / h² in SI units, and 47.878 V Å² = h² / (2π m₀ e).
    h, e, rest, c = 6.62607015e-34, 1.602176634e-19, 9.1093837e-31, 2.99792458e8
    for voltage in (100e3, 200e3, 300e3):
        gamma = 1 + e * voltage / (rest * c**2)
        wavelength = h / math.sqrt(2 * rest * e * voltage * (1 + e * voltage / (2 * rest * c**2)))
        sigma = 2 * math.pi * gamma * rest * e * wavelength / h**2 * 1e-10
        assert phase_per_scattering(voltage / 1e3) == pytest.approx(sigma * 47.87801, rel=1e-4)


def test_water_in_water_is_nothing_and_protein_is_denser() -> None:
    zero = torch.zeros(1, dtype=torch.float64)
    mean_potential = 47.878 * WATER_DENSITY * float(water_scattering(zero))
    assert mean_potential == pytest.approx(4.57, abs=0.05)
    # An average residue, C₅H₈N₁.₃₅O₁.₅, scatters more than the ice in its place.
    atoms = (("C", 5.0, 1.5), ("N", 1.35, 0.3), ("O", 1.5, 0.1))
    inside = sum(n * float(solvated_scattering(e, zero, hydrogens=h)) for e, n, h in atoms)
    assert 47.878 * inside / 134 == pytest.approx(3.3, abs=0.7)


def test_heat_blurs_the_atom() -> None:
    k = torch.tensor([0.3], dtype=torch.float64)
    sharp, blunt = (solvated_scattering("C", k, bfactor=b) for b in (0.0, 50.0))
    lost = electron_scattering("C", k) * (1 - math.exp(-50 * 0.09 / 4))
    torch.testing.assert_close(sharp - blunt, lost)


def test_what_has_no_table_is_refused() -> None:
    with pytest.raises(ValueError, match="XX"):
        electron_scattering("XX", torch.zeros(1))
