"""Radiation damage as Grant and Grigorieff measured it."""

from __future__ import annotations

import math

import pytest
import torch

from thon.ops.dose import critical_exposure, exposure_weight, voltage_factor


def test_the_published_curve_at_300_kv() -> None:
    frequency = torch.tensor([0.0, 0.05, 0.1, 1 / 3], dtype=torch.float64)
    found = critical_exposure(frequency, 300.0)
    assert found[0] == math.inf
    for k, f in ((1, 0.05), (2, 0.1), (3, 1 / 3)):
        assert float(found[k]) == pytest.approx(0.24499 * f**-1.6649 + 2.8141, rel=1e-12)


def test_lower_voltages_damage_more() -> None:
    assert [voltage_factor(v) for v in (100.0, 200.0, 300.0)] == [0.64, 0.8, 1.0]
    assert voltage_factor(120.0) == pytest.approx(0.672)
    assert (voltage_factor(80.0), voltage_factor(400.0)) == (0.64, 1.0)


def test_amplitude_falls_to_one_over_the_root_of_e_at_the_critical_exposure() -> None:
    frequency = torch.tensor([[0.1, 0.25]], dtype=torch.float64)
    critical = critical_exposure(frequency, 200.0)
    torch.testing.assert_close(exposure_weight(frequency, critical, 200.0), torch.full_like(frequency, math.exp(-0.5)))
    assert float(exposure_weight(torch.zeros(1), 50.0, 300.0)) == 1.0


def test_exposures_and_frequencies_are_crossed() -> None:
    weight = exposure_weight(torch.tensor([[0.1, 0.2, 0.3]]), torch.tensor([[0.0], [10.0]]), 300.0)
    assert weight.shape == (2, 3)
    assert (weight[0] == 1).all()
    assert (weight[1].diff() < 0).all()
