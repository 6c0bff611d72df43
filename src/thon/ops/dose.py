"""Radiation damage: how long each spatial frequency survives, and how frames are weighted for it.

Source: Grant & Grigorieff 2015, eq. 3 to 8, with their factors for other voltages than 300 kV.
"""

from __future__ import annotations

import itertools
import math

import torch
from jaxtyping import Float

_AT_VOLTAGE = ((100.0, 0.64), (200.0, 0.8), (300.0, 1.0))


def voltage_factor(voltage: float) -> float:
    """Critical exposure at a voltage (kV) over that at 300 kV: 0.64 at 100 kV and 0.8 at 200 kV, linear between."""
    voltage = min(max(voltage, _AT_VOLTAGE[0][0]), _AT_VOLTAGE[-1][0])
    for (low, factor), (high, next_factor) in itertools.pairwise(_AT_VOLTAGE):
        if voltage <= high:
            return factor + (next_factor - factor) * (voltage - low) / (high - low)
    return 1.0


def critical_exposure(frequency: Float[torch.Tensor, "*grid"], voltage: float) -> Float[torch.Tensor, "*grid"]:
    """Exposure after which the signal at a frequency (1/Å) has fallen to 1/e in power, e/Å²; infinite at zero."""
    curve = 0.24499 * frequency.clamp(min=1e-12) ** -1.6649 + 2.8141
    return torch.where(frequency > 0, curve, math.inf) * voltage_factor(voltage)


def exposure_weight(
    frequency: Float[torch.Tensor, "*#grid"], exposure: float | Float[torch.Tensor, "*#grid"], voltage: float
) -> Float[torch.Tensor, "*grid"]:
    """Share of the signal's amplitude that is left after an exposure (e/Å²), 0 to 1."""
    return torch.exp(-0.5 * exposure / critical_exposure(frequency, voltage))
