"""Aberrations beyond defocus and spherical aberration."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.algorithms.aberrated_phantom import zernike
from thon.ops.aberration import coma_phase, zernike_phase, zernike_polynomial
from thon.ops.ctf import electron_wavelength

PLACES = torch.from_numpy(np.random.default_rng(4).normal(size=(5, 7, 2)))


def test_coma_grows_with_the_third_power_along_the_tilt():
    frequency = torch.tensor([[0.05, 0.1], [-0.05, -0.1], [0.0, 0.2]], dtype=torch.float64)
    wavelength = electron_wavelength(300.0)
    found = coma_phase(frequency, (0.3, -0.2), wavelength=wavelength, cs=2.7)
    assert found[0] == -found[1]
    # Along x: 2π Cs λ² k³ β = 2π · 2.7e7 · λ² · 0.008 · 0.2e-3, and positive for a negative tilt.
    expected = 2 * torch.pi * 2.7e7 * wavelength**2 * 0.008 * 0.2e-3
    torch.testing.assert_close(found[2], torch.tensor(expected, dtype=torch.float64))
    assert not coma_phase(frequency, (0.0, 0.0), wavelength=wavelength, cs=2.7).any()


@pytest.mark.parametrize("n", range(8))
def test_polynomials_are_those_of_their_definition(n: int):
    y, x = PLACES.numpy().transpose(2, 0, 1)
    for m in range(-n, n + 1, 2):
        np.testing.assert_allclose(zernike_polynomial(n, m, PLACES), zernike(n, m, y, x), rtol=1e-9, atol=1e-9)


def test_some_polynomials_written_out():
    y, x = PLACES.unbind(-1)
    square = x**2 + y**2
    torch.testing.assert_close(zernike_polynomial(3, -3, PLACES), 3 * x**2 * y - y**3)
    torch.testing.assert_close(zernike_polynomial(3, 1, PLACES), (3 * square - 2) * x)
    torch.testing.assert_close(zernike_polynomial(4, 0, PLACES), 6 * square**2 - 6 * square + 1)


@pytest.mark.parametrize(("odd", "orders"), [(True, [(1, -1), (1, 1), (3, -3), (3, -1)]), (False, [(0, 0), (2, -2)])])
def test_coefficients_are_in_relions_order(odd: bool, orders: list[tuple[int, int]]):
    for k, order in enumerate(orders):
        coefficients = [0.0] * k + [2.0]
        expected = 2 * zernike_polynomial(*order, PLACES)
        torch.testing.assert_close(zernike_phase(PLACES, coefficients, odd=odd), expected)


def test_no_coefficients_are_no_phase():
    assert not zernike_phase(PLACES, (), odd=True).any()
